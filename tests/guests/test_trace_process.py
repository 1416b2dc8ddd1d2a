"""The process that writes a trace file: it is not in the guest's way, and outlives whoever started it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane.hypercalls import table
from paravane.place import Place
from paravane.tools.trace_output import DirectSink, open_sink
from paravane.tools.trace_process import TraceProcess
from paravane.trace import Entry, Header
from paravane.trace.jsonl import JsonLines
from paravane.trace.unpacker import Unpacker
from tests.support.boot import HOST_TIMEOUT
from tests.support.holdable import HeldMachine
from tests.support.patience import open_files, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.trace.stream import Tell
    from paravane.trace.writer import Writer

WORDS = (0, 0xC0002000, 7, 8, 9, 10)


class Origin:
    domid, vcpu_id = 1, 0

    def place(self, address: int) -> Place:
        return Place(address, "main")


def tell(call: Tell, time: int) -> None:
    call(0xC0001000, time, time + 1000, 17, WORDS, 2, 7)


def expected(times: range | list[int]) -> bytes:
    """What is written of such calls."""
    writer = JsonLines()
    data = {"number": 17, "words": list(WORDS), "arguments": {"arg": WORDS[1]}, "result": 7}
    place = Place(0xC0001000, "main")
    entries = [
        Entry(time, time + 1000, 1, 0, "hypercall", "xen_version.version", place, data) for time in times
    ]
    return writer.begin(Header()) + b"".join(map(writer.entry, entries))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., TraceProcess]]:
    """What starts a process that writes to a file; afterwards there is none of them."""
    opened: list[tuple[TraceProcess, int]] = []

    def start(path: Path = tmp_path / "trace.jsonl", writer: Writer | None = None) -> TraceProcess:
        fileno = os.open(path, os.O_WRONLY | os.O_CREAT)
        process = TraceProcess(fileno, Unpacker(writer or JsonLines(), table), Header())
        opened.append((process, fileno))
        return process

    yield start
    for process, fileno in opened:
        if not process._ended:
            os.kill(process.pid, signal.SIGKILL)
            assert process.drain(None, never) == 0
        process.close()
        os.close(fileno)


def never() -> bool:
    return False


def finished(process: TraceProcess) -> None:
    process.finish()
    assert process.drain(None, never) == 0


def stopped(process: TraceProcess, path: Path) -> None:
    """Let the writer, which is at work, write nothing for a while."""
    while not path.exists() or not path.stat().st_size:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def test_what_is_packed_is_written_in_order(started: Callable[..., TraceProcess], tmp_path: Path) -> None:
    process = started()
    call = process.recorder.caller(Origin())
    for at in range(50_000):
        tell(call, at)
    finished(process)
    assert process.failure is None
    assert (tmp_path / "trace.jsonl").read_bytes() == expected(range(50_000))


def test_a_file_is_completed_after_its_machine_was_killed(tmp_path: Path) -> None:
    """The writer sleeps while all that happens is put into the ring: nothing of it is in the file yet."""
    path = tmp_path / "trace.jsonl"
    program = f"""if True:
        import os, signal
        from pathlib import Path
        from paravane.hypercalls import table
        from paravane.tools.trace_process import TraceProcess
        from paravane.trace import Header
        from paravane.trace.jsonl import JsonLines
        from paravane.trace.unpacker import Unpacker
        from tests.guests.test_trace_process import Origin, stopped, tell
        fileno = os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT)
        process = TraceProcess(fileno, Unpacker(JsonLines(), table), Header())
        call = process.recorder.caller(Origin())
        stopped(process, Path({str(path)!r}))
        for at in range(2000):
            tell(call, at)
        print(process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=HOST_TIMEOUT, check=False, cwd=root
    )
    assert done.returncode == -signal.SIGKILL
    whole = expected(range(2000))
    assert path.read_bytes() != whole
    os.kill(int(done.stdout), signal.SIGCONT)
    until(lambda: path.read_bytes() == whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signals_do_not_end_it(started: Callable[..., TraceProcess], tmp_path: Path, number: int) -> None:
    process = started()
    call = process.recorder.caller(Origin())
    tell(call, 0)
    os.kill(process.pid, number)
    tell(call, 1)
    finished(process)
    assert process.failure is None
    assert (tmp_path / "trace.jsonl").read_bytes() == expected(range(2))


def test_keys_on_the_terminal_do_not_reach_it(started: Callable[..., TraceProcess]) -> None:
    process = started()
    tell(process.recorder.caller(Origin()), 0)
    while os.getsid(process.pid) != process.pid:
        time.sleep(0.001)


def test_a_slow_writer_holds_the_machine_and_nothing_is_lost(
    started: Callable[..., TraceProcess], tmp_path: Path
) -> None:
    process, machine = started(), HeldMachine()
    process.join(machine)
    stopped(process, tmp_path / "trace.jsonl")
    call = process.recorder.caller(Origin())
    for at in count():
        tell(call, at)
        if machine.holds:
            break
    for more in range(at + 1, at + 1000):
        # What a hypercall does that is not over yet.
        tell(call, more)
    assert machine.holds == 1
    assert machine.posted.empty()
    os.kill(process.pid, signal.SIGCONT)
    machine.posted.get(timeout=HOST_TIMEOUT)()
    assert machine.holds == 0
    finished(process)
    assert (tmp_path / "trace.jsonl").read_bytes() == expected(range(at + 1000))


def test_that_the_writer_was_killed_is_told_and_holds_nobody(
    started: Callable[..., TraceProcess],
) -> None:
    process, machine = started(), HeldMachine()
    process.join(machine)
    os.kill(process.pid, signal.SIGKILL)
    call = process.recorder.caller(Origin())
    for at in range(100_000):
        tell(call, at)
    while machine.holds:
        machine.posted.get(timeout=HOST_TIMEOUT)()
    finished(process)
    assert process.failure is not None
    assert process.failure.strerror == "the process that writes it was ended by signal 9"


def test_a_full_disk_is_told_and_holds_nobody(started: Callable[..., TraceProcess]) -> None:
    process = started(Path("/dev/full"))
    call = process.recorder.caller(Origin())
    for at in range(100_000):
        tell(call, at)
    finished(process)
    assert process.failure is not None
    assert process.failure.strerror == "No space left on device"


def test_a_mistake_of_the_writer_is_told(started: Callable[..., TraceProcess]) -> None:
    class Mistaken(JsonLines):
        def entry(self, entry: Entry) -> bytes:
            raise ZeroDivisionError("no entry is good enough")

    process = started(writer=Mistaken())
    tell(process.recorder.caller(Origin()), 0)
    finished(process)
    assert process.failure is not None
    assert process.failure.strerror == "ZeroDivisionError: no entry is good enough"


def test_it_keeps_nothing_open_that_is_not_its_own(started: Callable[..., TraceProcess]) -> None:
    """Who reads our output until its end must not wait for a writer that has something to do yet."""
    theirs, ours = os.pipe()
    process = started()
    os.close(ours)
    assert select.select([theirs], [], [], HOST_TIMEOUT)[0]
    assert os.read(theirs, 1) == b""
    os.close(theirs)
    assert not process._has_ended(0)


def test_who_gives_up_leaves_it_to_itself(started: Callable[..., TraceProcess], tmp_path: Path) -> None:
    process = started()
    stopped(process, tmp_path / "trace.jsonl")
    tell(process.recorder.caller(Origin()), 0)
    process.finish()
    assert process.drain(None, lambda: True) == 0
    assert process.drain(time.monotonic(), never) == 0
    os.kill(process.pid, signal.SIGCONT)
    assert process.drain(None, never) == 0
    assert (tmp_path / "trace.jsonl").read_bytes() == expected(range(1))


@pytest.mark.parametrize("reason", ["no fork", "threads"])
def test_where_there_can_be_no_process_it_is_written_in_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str
) -> None:
    def refuse() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr(threading, "active_count", lambda: 1 + (reason == "threads"))
    path = tmp_path / "trace.jsonl"
    fileno = os.open(path, os.O_WRONLY | os.O_CREAT)
    before = open_files()
    sink = open_sink(fileno, JsonLines(), Header())
    assert isinstance(sink, DirectSink)
    assert open_files() == before
    tell(sink.recorder.caller(Origin()), 0)
    assert path.read_bytes() == expected(range(1))
    sink.finish()
    os.close(fileno)


def test_what_is_no_file_is_written_in_place() -> None:
    theirs, ours = os.pipe()
    assert isinstance(open_sink(ours, JsonLines(), Header()), DirectSink)
    assert os.read(theirs, 4096) == expected([])
    os.close(theirs)
    os.close(ours)
