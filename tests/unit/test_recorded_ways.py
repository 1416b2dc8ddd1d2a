"""What arrives by a way out of the machine, or from viewers, kept and repeated where its turn is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from paravane.devices.framebuffer import Vfb
from paravane.devices.framebuffer.display import Display
from paravane.devices.net import Frame, Offloads, Switch
from paravane.devices.net.way import RepeatedWay, Way
from paravane.inbox import Inbox
from paravane.recording import End, Input, Recorder, RecordingError, Replayer
from paravane.recording import recorder as recorders
from paravane.recording.devices import described, devices_of
from paravane.recording.inputs import decoded, encoded
from paravane.recording.outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.xenbus import DeviceConfig

FRAME = b"\xff" * 6 + bytes([2] * 6) + b"\x88\xb5 hello"
OTHER = b"\xff" * 6 + bytes([2] * 6) + b"\x88\xb5 there"
SOURCE = "out on br0"


class Guest:
    offloads = Offloads()

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def deliver(self, frame: Frame) -> bool:
        self.frames.append(frame.data)
        return True


class Out(Way):
    """A way whose other end is a list."""

    alive = True

    def __init__(self, inbox: Inbox, switch: Switch) -> None:
        self.sent: list[bytes] = []
        self.come: Callable[[bytes | None], None] = self._arrived
        super().__init__("out", inbox, switch)

    def close(self) -> None:
        self._leave()

    def _send_out(self, frame: Frame) -> bool:
        self.sent.append(frame.data)
        return True


def network(journal: Recorder | Replayer | None) -> tuple[Inbox, Guest, Switch]:
    inbox, guest, switch = Inbox(), Guest(), Switch("br0", lambda: 0)
    inbox.journal = journal
    switch.plug("vif", guest)
    return inbox, guest, switch


def end(of: Outputs, turn: int) -> End:
    return End(
        "DONE",
        "",
        False,
        turn,
        0,
        0,
        of.console.hexdigest(),
        of.sent_count,
        of.sent.hexdigest(),
    )


def test_without_a_journal_what_arrives_is_there_at_once() -> None:
    inbox, guest, switch = network(None)
    out = Out(inbox, switch)
    out.come(FRAME)
    assert guest.frames == [FRAME]
    out.come(None)
    assert [port.name for port in switch.ports] == ["vif"]


def test_what_arrives_waits_for_its_turn_and_comes_again_there() -> None:
    recorder = Recorder()
    inbox, guest, switch = network(recorder)
    out = Out(inbox, switch)
    inbox.passed()
    out.come(FRAME)
    out.come(OTHER)
    assert guest.frames == []
    inbox.passed()
    assert guest.frames == [FRAME, OTHER]
    switch.ports[0].send(Frame(FRAME))
    assert out.sent == [FRAME]
    out.come(None)
    assert len(switch.ports) == 2
    inbox.passed()
    assert len(switch.ports) == 1
    assert decoded(encoded(recorder.inputs)) == (
        Input(1, 0, FRAME, source=SOURCE),
        Input(1, 0, OTHER, source=SOURCE),
        Input(2, 0, source=SOURCE, ended=True),
    )

    replayer = Replayer(recorder.inputs, end(recorder, 3))
    inbox, guest, switch = network(replayer)
    assert inbox.repeats
    way = RepeatedWay("out", inbox, switch)
    inbox.passed()
    assert guest.frames == []
    inbox.passed()
    assert guest.frames == [FRAME, OTHER]
    assert way.alive
    switch.ports[0].send(Frame(FRAME))
    inbox.passed()
    assert (way.alive, len(switch.ports)) == (False, 1)
    assert replayer.difference() == ""


def test_who_sends_something_else_is_found_out() -> None:
    recorder = Recorder()
    recorder.left(SOURCE, FRAME)
    replayer = Replayer((), end(recorder, 0))
    replayer.left(SOURCE, OTHER)
    assert replayer.difference() == "what it sent out of the machine is not what the recorded run sent"


def test_nothing_is_there_for_what_arrives() -> None:
    replayer = Replayer((Input(0, 0, FRAME, source="x"),), end(Outputs(), 1))
    inbox, _, _ = network(replayer)
    inbox.passed()
    assert replayer.over
    assert replayer.difference() == "nothing is there to take what arrived from 'x'"


def test_neither_a_flood_nor_more_than_is_kept_is_given_to_guests(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorders, "MOST_WAITING", 2 * len(FRAME))
    monkeypatch.setattr(recorders, "MOST_INPUT", 5 * len(FRAME))
    recorder = Recorder()
    inbox, guest, switch = network(recorder)
    out = Out(inbox, switch)
    for frames in (2, 4, 5, 5):
        for _ in range(3):
            out.come(FRAME)
        inbox.passed()
        assert len(guest.frames) == frames
        assert len(recorder.inputs) == frames
    assert caplog.text.count("guests are given no more") == 1


VIF: dict[str, Any] = {
    "kind": "vif",
    "number": 1,
    "mac": "00:16:3e:00:00:01",
    "bridge": "br0",
    "rate": "62500,50000",
    "ip": "10.0.0.1/32 10.1.0.0/16",
    "mtu": 1400,
    "passt": False,
    "tap": "tap0",
}


def interfaces(*found: dict[str, Any]) -> tuple[DeviceConfig, ...]:
    def never(*_: object) -> Any:
        raise AssertionError("it has no disks")

    return devices_of(found, never, never)


def test_an_interface_is_described_whole() -> None:
    (vif,) = interfaces(VIF)
    assert described(vif) == VIF
    plain = {**VIF, "mac": "", "rate": "", "ip": "", "tap": ""}
    assert described(interfaces(plain)[0]) == plain


@pytest.mark.parametrize("change", [{"sector_size": 0}, {"sector_size": -512}, {"size": 0}, {"size": 513}])
def test_a_disk_of_no_whole_sectors_is_refused(change: dict[str, Any]) -> None:
    disk = {"kind": "disk", "vdev": "xvda", "size": 512, "read_only": False, "cdrom": False, "target": ""}
    with pytest.raises(RecordingError, match="^its manifest has a device of kind 'disk' that cannot be$"):
        interfaces({**disk, "sector_size": 512, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"number": "1"},
        {"number": -1},
        {"mac": "x"},
        {"bridge": "a b"},
        {"rate": "1"},
        {"rate": "\u0100"},
        {"ip": "300.0.0.1"},
        {"mtu": 1},
        {"tap": 7},
    ],
)
def test_a_description_is_not_believed(change: dict[str, Any]) -> None:
    with pytest.raises(RecordingError, match="its manifest has a device of kind 'vif' that cannot be"):
        interfaces({**VIF, **change})


def test_a_device_of_no_known_kind_is_refused() -> None:
    unknown: list[dict[str, Any]] = [{}, {"kind": "other"}, {"kind": 5}]
    for found in unknown:
        with pytest.raises(RecordingError, match="its manifest has a device of a kind that is not known"):
            interfaces(found)
    with pytest.raises(RecordingError, match="'vif' that cannot be"):
        interfaces({"kind": "vif"})


@pytest.mark.parametrize(
    "line",
    [
        b'{"turn": 0, "time": 0, "source": "x"}',
        b'{"turn": 0, "time": 0, "frame": "AAAA"}',
        b'{"turn": 0, "time": 0, "ended": true}',
        b'{"turn": 0, "time": 0, "source": "x", "frame": "A"}',
        b'{"turn": 0, "time": 0, "source": "x", "frame": "AAAA", "ended": true}',
        b'{"turn": 0, "time": 0, "source": "x", "frame": "AAAA", "came": true}',
        b'{"turn": 0, "time": 0, "source": "x", "frame": "' + b"A" * 200_000 + b'"}',
        b'{"turn": 0, "time": 0, "source": "' + b"x" * 65 + b'", "frame": "AAAA"}',
    ],
)
def test_what_arrived_is_not_believed(line: bytes) -> None:
    with pytest.raises(RecordingError, match="line 1 of its inputs is not one"):
        decoded(line)


def test_a_screen_is_described_with_its_keyboard() -> None:
    vfb, vkbd = Vfb(port=5901, width=64, height=32, number=1).devices
    found = [described(vfb), described(vkbd)]
    assert interfaces(*found) == (vfb, vkbd)
    with pytest.raises(RecordingError, match="its manifest has a keyboard of no framebuffer"):
        interfaces(found[1], found[0])
    for change in ({"port": 0}, {"width": 0}, {"listen": 5}, {"number": True}):
        with pytest.raises(RecordingError, match="its manifest has a device of kind 'vfb' that cannot be"):
            interfaces({**found[0], **change})


@pytest.mark.parametrize("data", [None, b"", b"\x00", b"\x01\x00", b"\x02" + bytes(30), b"\x07"])
def test_what_no_viewer_does_is_not_done(data: bytes | None) -> None:
    replayer = Replayer(
        (Input(0, 0, data or b"", source="display 0", ended=data is None),), end(Outputs(), 1)
    )
    inbox, _, _ = network(replayer)
    display = Display()
    inbox.source("display 0", display.take)
    inbox.passed()
    assert replayer.over
    assert replayer.difference().startswith("no viewer does ")
    assert not display.viewed


def test_what_viewers_do_is_there_at_once_or_in_its_turn() -> None:
    done: list[tuple[object, ...]] = []

    class Keyboard:
        def key(self, keycode: int, *, pressed: bool) -> None:
            done.append((keycode, pressed))

        def point(self, x: int, y: int, wheel: int) -> None:
            done.append((x, y, wheel))

    recorder = Recorder()
    inbox, _, _ = network(recorder)
    for display in (Display(), Display(lambda data: inbox.arrived("display 0", data))):
        inbox.source("display 0", display.take)
        display.keyboard = Keyboard()
        display.key(30, pressed=True)
        display.point(9999, 7, -1)
        inbox.passed()
        assert done == [(30, True), (639, 7, -1)]
        done.clear()
    assert len(recorder.inputs) == 2
