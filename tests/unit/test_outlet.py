"""Output that never waits for its reader, and what happens when nobody reads."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from paravane.tools import outlet as outlets
from paravane.tools.lines import Lines
from paravane.tools.outlet import CAPACITY, Backpressure, Outlet
from tests.support.boot import HOST_TIMEOUT
from tests.support.holdable import HeldMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read(fileno: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(fileno, size - len(data))
    return data


def test_everything_comes_out_in_order(pipe: tuple[int, int]) -> None:
    outlet, data = Outlet(pipe[1]), os.urandom(300_000)
    for at in range(0, len(data), 1000):
        outlet.put(data[at : at + 1000])
    assert outlet.congested
    assert read(pipe[0], len(data)) == data
    assert outlet.drain(None) == 0
    assert not outlet.congested


def test_draining_ends_when_it_is_told_to(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])
    outlet.put(bytes(500_000))
    assert outlet.drain(0.0) > 0, "the deadline has passed long ago"
    outlet.put(bytes(500_000))
    assert outlet.drain(None, lambda: True) > 0


def test_nothing_is_lost_because_the_host_lets_the_writing_thread_wait(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor if the reader's time is over by then: he would have taken it."""
    monkeypatch.setattr(outlets, "_LATE", HOST_TIMEOUT)
    may_write, looks, write = threading.Event(), 0, os.write

    def late(fileno: int, data: bytes) -> int:
        assert may_write.wait(HOST_TIMEOUT)
        return write(fileno, data)

    def look() -> bool:
        nonlocal looks
        looks += 1
        if looks == 3:
            may_write.set()
        return False

    monkeypatch.setattr(os, "write", late)
    outlet = Outlet(pipe[1])
    outlet.put(b"in the end")
    assert outlet.drain(0.0, look) == 0
    assert read(pipe[0], 10) == b"in the end"


def test_a_descriptor_that_does_not_wait_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    outlet, data = Outlet(pipe[1]), os.urandom(300_000)
    outlet.put(data)
    assert read(pipe[0], len(data)) == data
    assert outlet.drain(None) == 0


def test_a_failure_is_told_once_and_all_after_it_is_dropped() -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    told = threading.Semaphore(0)
    outlet = Outlet(ours, failed=told.release)
    outlet.put(b"x")
    assert told.acquire(timeout=HOST_TIMEOUT)
    assert isinstance(outlet.failure, BrokenPipeError)
    outlet.put(bytes(CAPACITY))
    assert not outlet.congested
    assert outlet.drain(None) == 0
    assert not told.acquire(blocking=False)
    os.close(ours)


def held(fileno: int, machine: HeldMachine) -> Callable[[bytes], None]:
    """What puts output that a slow reader of holds the machine."""
    outlet = Outlet(fileno)
    backpressure = Backpressure(outlet, machine)

    def put(data: bytes) -> None:
        outlet.put(data)
        backpressure.heed()

    return put


def test_a_slow_reader_holds_the_machine_until_it_has_caught_up(pipe: tuple[int, int]) -> None:
    machine = HeldMachine()
    put = held(pipe[1], machine)
    total = 4 * CAPACITY
    put(bytes(total - 1024))
    put(bytes(1024))
    assert machine.holds == 1, "it is held once"
    assert machine.posted.empty()
    read(pipe[0], total)
    machine.posted.get(timeout=HOST_TIMEOUT)()
    assert machine.holds == 0
    put(b"x")
    assert machine.holds == 0


def test_a_reader_that_goes_away_does_not_leave_the_machine_held() -> None:
    theirs, ours = os.pipe()
    machine = HeldMachine()
    held(ours, machine)(bytes(4 * CAPACITY))
    assert machine.holds == 1
    os.close(theirs)
    machine.posted.get(timeout=HOST_TIMEOUT)()
    assert machine.holds == 0
    os.close(ours)


def test_a_reader_that_goes_away_just_before_the_machine_is_held_does_not_leave_it_held() -> None:
    theirs, ours = os.pipe()
    others = set(threading.enumerate())

    class Unlucky(HeldMachine):
        def hold(self) -> None:
            super().hold()
            os.close(theirs)
            for writer in set(threading.enumerate()) - others:
                writer.join(HOST_TIMEOUT)

    machine = Unlucky()
    outlet = Outlet(ours)
    outlet.put(bytes(4 * CAPACITY))
    Backpressure(outlet, machine).heed()
    assert isinstance(outlet.failure, BrokenPipeError)
    machine.posted.get_nowait()()
    assert machine.holds == 0
    assert machine.posted.empty(), "it is told once"
    os.close(ours)


def test_lines_are_in_a_file_as_soon_as_they_are_written(tmp_path: Path) -> None:
    with (tmp_path / "trace").open("wb") as stream:
        lines = Lines(stream.fileno())
        lines.write("one")
        assert (tmp_path / "trace").read_text() == "one\n"
        lines.write("\udcff\u00e9")
        assert (tmp_path / "trace").read_bytes() == b"one\n\\udcff\xc3\xa9\n"


def test_lines_that_cannot_be_written_are_remembered() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        lines = Lines(full.fileno())
        lines.write("lost")
        lines.drain(None, lambda: lines.failure is not None)
        assert lines.failure is not None
        lines.write("as is this")
