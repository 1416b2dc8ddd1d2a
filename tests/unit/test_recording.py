"""Recordings as files and as journals: what is read back is what was kept, and nothing else is believed."""

from __future__ import annotations

import json
import os
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from paravane.recording import (
    End,
    Input,
    Made,
    Recorder,
    RecordingError,
    Replayer,
    begin,
    finish,
    load,
    readings,
)
from paravane.recording import recorder as recorders
from paravane.recording.readings import Following, Repeating
from paravane.time.clock import FollowingClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INPUTS = (
    Input(0, 0, b"hello\r\x00\xff"),
    Input(3, 500, came=True),
    Input(3, 500, b"w", came=True),
    Input(4, 500, expecting=False),
)
ARRIVED = (
    Input(5, 600, b"\x00\xff frame", source="tap0 on br0"),
    Input(5, 600, source="tap0 on br0", ended=True),
)
MADE = Made("guest", 4 << 20, 1, "a b", False, 7, "bvt", True, 1000, 0, 50, -1, 10**18, "memory,disk", 3)
DIGEST = sha256(b"out").hexdigest()
END = End("INTERRUPTED", "SIGINT came", True, 9, 700, 3, DIGEST, 0, sha256().hexdigest())


class Console:
    """What is fed here is kept."""

    def __init__(self) -> None:
        self.room = 100
        self.fed: list[bytes] = []

    def feed(self, data: bytes) -> int:
        self.fed.append(data)
        return min(self.room, len(data))

    def when_room(self, callback: Callable[[], None]) -> None:
        callback()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole recording."""
    begin(tmp_path / "rec", b"an image", b"a ramdisk")
    finish(tmp_path / "rec", MADE, END, INPUTS + ARRIVED, {"unicorn": "2"}, b"\x00\x05")
    return tmp_path / "rec"


def test_what_was_kept_is_read_back(folder: Path) -> None:
    found = load(folder)
    assert (found.image, found.ramdisk, found.inputs) == (b"an image", b"a ramdisk", INPUTS + ARRIVED)
    assert found.clock == b"\x00\x05"
    assert (found.manifest.made, found.manifest.end) == (MADE, END)
    assert found.manifest.versions == {"unicorn": "2"}


def test_a_folder_that_is_there_is_taken_if_it_is_empty(tmp_path: Path) -> None:
    begin(tmp_path, b"an image", None)
    with pytest.raises(RecordingError, match="it is not empty"):
        begin(tmp_path, b"another", None)
    with pytest.raises(RecordingError, match="it is no folder"):
        begin(tmp_path / "image", b"another", None)
    with pytest.raises(RecordingError, match=r"it has no manifest\.json, which is written when"):
        load(tmp_path)
    with pytest.raises(RecordingError, match="it is no folder"):
        load(tmp_path / "image")


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda all_: all_.update(format="other"), "its manifest is not that of a recording"),
        (lambda all_: all_.update(version=1), "it is of another version of the format than 2"),
        (lambda all_: all_.pop("made"), "its manifest does not say what belongs to 'made'"),
        (lambda all_: all_["made"].update(more=1), "its manifest does not say what belongs to 'made'"),
        (lambda all_: all_["made"].update(memory="4"), "its manifest has a 'memory' that cannot be"),
        (lambda all_: all_["made"].update(vcpus=True), "its manifest has a 'vcpus' that cannot be"),
        (lambda all_: all_["made"].update(seed=1 << 80), "its manifest has a 'seed' that cannot be"),
        (lambda all_: all_["made"].update(cmdline="\ud800"), "its manifest has a 'cmdline' that cannot be"),
        (lambda all_: all_["devices"].append({"target": "\ud800"}), "does not say what belongs to 'devices'"),
        (lambda all_: all_["devices"].append({"size": 1 << 62}), "does not say what belongs to 'devices'"),
        (lambda all_: all_["end"].update(turn=1.5), "its manifest has a 'turn' that cannot be"),
        (lambda all_: all_.update(versions=[]), "its manifest does not say what belongs to 'versions'"),
        (lambda all_: all_["files"].pop("inputs"), "its manifest does not name the files of a recording"),
        (lambda all_: all_["files"].update({"../x": ""}), "its manifest does not name the files of a"),
        (lambda all_: all_["files"].update(image=DIGEST), "it is damaged: image is not what was recorded"),
    ],
)
def test_a_manifest_is_not_believed(
    change: Callable[[dict[str, Any]], object], sentence: str, folder: Path
) -> None:
    changed(folder, change)
    with pytest.raises(RecordingError, match=sentence):
        load(folder)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"[" * 100_000, b"9" * 5000, b'{"format": 1}'])
def test_a_manifest_that_is_none_is_refused(text: bytes, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(RecordingError, match="its manifest is"):
        load(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"{", "line 1 of its inputs is not one"),
        (b"[" * 100_000, "line 1 of its inputs is not one"),
        (b'{"turn": 0}', "line 1 of its inputs is not one"),
        (b'{"turn": 0, "time": 0, "more": 1}', "line 1 of its inputs is not one"),
        (b'{"turn": -1, "time": 0}', "line 1 of its inputs is not one"),
        (b'{"turn": true, "time": 0}', "line 1 of its inputs is not one"),
        (b'{"turn": 0, "time": 1e400}', "line 1 of its inputs is not one"),
        (b'{"turn": 0, "time": 0, "input": "\\u0100"}', "line 1 of its inputs is not one"),
        (b'{"turn": 2, "time": 0}\n{"turn": 1, "time": 0}', "line 2 of its inputs came before the one above"),
    ],
)
def test_inputs_are_not_believed(text: bytes, sentence: str, folder: Path) -> None:
    (folder / "inputs").write_bytes(text)
    changed(folder, lambda found: found["files"].update(inputs=sha256(text).hexdigest()))
    with pytest.raises(RecordingError, match=sentence):
        load(folder)


def test_only_plain_files_are_read(folder: Path) -> None:
    """A pipe would be waited for, a device never end."""
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()):
        (folder / "image").unlink()
        make(folder / "image")
        with pytest.raises(RecordingError, match="image is no plain file"):
            load(folder)
    (folder / "image").rmdir()
    with open(folder / "inputs", "wb") as stream:
        stream.truncate(257 << 20)
    changed(folder, lambda found: found.update(files={"inputs": "", "image": ""}))
    with pytest.raises(RecordingError, match="inputs is longer than 256 MiB"):
        load(folder)


def test_what_is_typed_reaches_the_guest_when_its_turn_is_over() -> None:
    console, recorder = Console(), Recorder()
    recorder.begin(console, lambda: 40)
    assert not recorder.passed(False)
    assert recorder.feed(b"ab") == 2
    assert recorder.feed(b"c" * 200) == 98, "as much as there is room for"
    assert console.fed == []
    assert recorder.passed(True)
    assert console.fed == [b"ab" + b"c" * 98]
    assert recorder.inputs == [Input(1, 40, b"ab" + b"c" * 98, came=True)]
    assert recorder.expecting(True)
    assert not recorder.expecting(False)
    assert not recorder.expecting(False)
    assert recorder.inputs[1:] == [Input(2, 40, expecting=False)]


def test_more_than_is_kept_is_not_given_to_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "MOST_INPUT", 3)
    console, recorder = Console(), Recorder()
    recorder.begin(console, lambda: 0)
    assert recorder.feed(b"abcd") == 3
    recorder.passed(True)
    assert (recorder.room, recorder.feed(b"d")) == (0, 0)
    assert console.fed == [b"abc"]


def test_what_there_is_no_room_for_any_more_waits() -> None:
    """The console that accepted it was that of before a way back."""
    console, recorder = Console(), Recorder()
    recorder.begin(console, lambda: 0)
    assert recorder.feed(b"abcde") == 5
    for console.room in (0, 3, 100):
        recorder.passed(False)
    assert console.fed == [b"abc", b"de"]
    assert recorder.inputs == [Input(1, 0, b"abc"), Input(2, 0, b"de")]


def test_the_same_things_come_at_the_same_turns() -> None:
    times = {0: 0, 3: 500, 4: 500}
    console, replayer = Console(), Replayer(INPUTS, END)
    replayer.begin(console, lambda: times.get(replayer.turn, 700))
    assert [replayer.passed(True) for _ in range(4)] == [False, False, False, True]
    assert console.fed == [b"hello\r\x00\xff", b"w"]
    assert not replayer.expecting(True)
    assert replayer.patience(None) == 0
    while not replayer.over:
        replayer.passed(False)
    replayer.put_out(b"out")
    assert (replayer.turn, replayer.difference()) == (9, "")


@pytest.mark.parametrize(
    ("room", "time", "out", "sentence"),
    [
        (100, 1, b"out", "turn 0 is at 1 ns, turn 0 was at 0 ns"),
        (1, 0, b"out", "at turn 0 its console does not take the 8 bytes that came"),
        (100, 0, b"oat", "its console is not that of the recorded run"),
        (100, 0, b"", "its console is not that of the recorded run"),
    ],
)
def test_a_run_that_is_another_one_is_found_out(room: int, time: int, out: bytes, sentence: str) -> None:
    console = Console()
    console.room = room
    replayer = Replayer(INPUTS[:1], END)
    replayer.begin(console, lambda: 700 if replayer.turn else time)
    replayer.put_out(out)
    while not replayer.over:
        replayer.passed(False)
    assert replayer.difference() == sentence


def test_one_that_ends_elsewhere_is_found_out() -> None:
    replayer = Replayer((), END)
    replayer.begin(Console(), lambda: 5)
    replayer.passed(False)
    assert replayer.difference() == "it ended at turn 1 and 5 ns, the recorded run at turn 9 and 700 ns"


def test_a_clock_is_set_to_what_the_hosts_was_then(monkeypatch: pytest.MonkeyPatch) -> None:
    host = iter([1000, 1000, 1007, 1007 + (1 << 40), 1020 + (1 << 40)])
    followed, times, waits = FollowingClock(), [], list[float]()
    monkeypatch.setattr(time, "sleep", waits.append)
    following = Following(followed, lambda: next(host))
    for ran in (0, 5, 0, 3_000_000):
        followed.ran(ran)
        following.take()
        times.append(followed.now())
    assert times[:3] == [0, 7, 7 + (1 << 40)]
    assert times[3] == times[2] + 3_000_000
    assert waits == [(3_000_000 - 13) / 1e9], "who is far ahead waits"
    clock = FollowingClock()
    repeating = Repeating(clock, bytes(following.kept))
    for ran, wanted in zip((0, 5, 0, 3_000_000), times, strict=True):
        clock.ran(ran)
        repeating.take()
        assert clock.now() == wanted
    assert not repeating.missing
    repeating.take()
    assert repeating.missing


@pytest.mark.parametrize("kept", [b"", b"\x80", b"\xff" * 8 + b"\x7f", b"\xff" * 100])
def test_readings_are_not_believed(kept: bytes) -> None:
    clock = FollowingClock()
    replayer = Replayer((), END)
    replayer.begin(Console(), clock.now)
    replayer.follow(clock, kept)
    replayer.passed(False)
    assert clock.now() == 0
    assert replayer.difference() == "the host's clock was not read any more at turn 0"


def test_a_run_ends_where_no_more_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "MOST_READINGS", 2)
    recorder, clock = Recorder(), FollowingClock()
    recorder.begin(Console(), clock.now)
    recorder.follow(clock)
    while not recorder.over:
        recorder.passed(False)
    assert len(recorder.readings) >= 2
    assert recorder.full == "64 MiB of readings of the clock are kept, and no more"
