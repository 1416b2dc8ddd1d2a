"""A stop in the middle of a block: what has a hook in the rest of it keeps that."""

from __future__ import annotations

import struct
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import processor
from paravane.cpu.engine import exits, live
from paravane.x86 import Vector
from tests.support.cpu_bench import CODE, STACK, Bench
from tests.support.cpu_debugger import END, Recorder, until_end

if TYPE_CHECKING:
    from collections.abc import Callable

INCREMENTS = b"\x40\x40"
VIRTUAL_8086 = 0x20202


class Stopper(Recorder):
    """A debugger that lets its guest go on everywhere, but has it stopped by `stop` at CODE."""

    def __init__(self, bench: Bench, stop: Callable[[], None]) -> None:
        super().__init__(bench)
        self.stops = False
        self.breakpoints = {CODE}
        self._stop = stop

    def at_breakpoint(self, address: int) -> bool:
        if address == CODE:
            self._stop()
        return super().at_breakpoint(address)


@pytest.fixture(params=["another thread", "this thread"])
def stopper(bench: Bench, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Stopper:
    def in_another_thread() -> None:
        other = threading.Thread(target=bench.cpu.stop)
        other.start()
        other.join()

    monkeypatch.setattr(processor, "_STOP_TRIES", 0)  # the thread that runs the guest waits for the other one
    debugger = Stopper(bench, in_another_thread if request.param == "another thread" else bench.cpu.stop)
    bench.cpu.debuggers.attach(debugger)
    until_end(bench)
    return debugger


def run_to_the_end(bench: Bench, code: bytes) -> int:
    """From CODE on until a trap; how many runs that took."""
    bench.code(code)
    runs = 0
    while not bench.traps and runs < 10:
        bench.cpu.run()
        runs += 1
    return runs


def test_a_debuggers_breakpoint_is_told_of(bench: Bench, stopper: Stopper) -> None:
    stopper.breakpoints |= {CODE + 1, CODE + 2}
    bench.cpu.debuggers.update()
    # the stop takes effect where the block ends
    assert run_to_the_end(bench, INCREMENTS + b"\xeb\x00" + END) == 2
    assert [address - CODE for _, address in stopper.seen] == [0, 1, 2]
    assert bench.cpu.eax == 2


def test_a_debuggers_breakpoint_stops_there(bench: Bench, stopper: Stopper) -> None:
    second = Recorder(bench)
    second.breakpoints = {CODE + 1}
    bench.cpu.debuggers.attach(second)
    bench.code(INCREMENTS + END)
    bench.cpu.run()
    assert (bench.cpu.eip, bench.cpu.eax) == (CODE + 1, 1)
    assert second.seen == [("breakpoint", CODE + 1)]


def test_the_guests_breakpoint_fires(bench: Bench, stopper: Stopper) -> None:
    bench.cpu.set_dr(0, CODE + 1)
    bench.cpu.set_dr(7, 1)
    run_to_the_end(bench, INCREMENTS + END)
    assert [(trap.vector, trap.eip - CODE) for trap in bench.traps] == [(Vector.DB, 1)]


def test_an_undefined_instruction_is_undefined(bench: Bench, stopper: Stopper) -> None:
    run_to_the_end(bench, b"\x40\x8f\xc8" + END)  # the engine alone takes 8F /1 for a pop
    assert [(trap.vector, trap.eip - CODE) for trap in bench.traps] == [(Vector.UD, 1)]


def test_an_iret_does_not_enter_virtual_8086_mode(bench: Bench, stopper: Stopper) -> None:
    """It is known by a copy of the state before it: of this iret, not of an earlier one."""
    frame = struct.pack("<3I", CODE + 0x100, bench.cpu.cs, VIRTUAL_8086)
    bench.ram.write(0x12100, frame)
    bench.code(END, CODE + 0x100)
    bench.cpu.esp = STACK + 0x100
    run_to_the_end(bench, b"\x40\xcf")
    assert [(trap.vector, trap.eip - CODE, trap.cpl) for trap in bench.traps] == [(0x20, 0x102, 1)]
    assert bench.cpu.esp == STACK + 0x10C


def test_an_engine_that_does_not_leave_so_is_stopped_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    place = live.find()
    assert place is not None
    assert exits.pointer_place(place) is not None
    monkeypatch.setattr(exits.BlockExit, "ask", lambda out: out._engine.stop())
    assert exits.pointer_place.__wrapped__(place) is None


def test_a_block_that_a_stop_comes_before_is_told_of_once(bench: Bench) -> None:
    """A loop of one block, stopped by another thread as often as that can."""
    times, told = 20_000, 0
    loop = CODE + 5

    def entered(address: int, _size: int) -> None:
        nonlocal told
        told += address == loop

    until_end(bench)
    # mov $times, %ecx; 1: dec %ecx; jnz 1b
    bench.code(b"\xb9" + struct.pack("<I", times) + b"\x49\x75\xfd" + END)
    bench.cpu.debuggers.watch_blocks(entered)
    over = threading.Event()

    def stop_it() -> None:
        while not over.is_set():
            bench.cpu.stop()

    other, interval = threading.Thread(target=stop_it), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    other.start()
    try:
        stops = 0
        while not bench.traps:
            bench.cpu.run()
            stops += 1
    finally:
        over.set()
        other.join()
        sys.setswitchinterval(interval)
    # The first round belongs to the block that begins before the loop.
    assert (told, bench.cpu.ecx) == (times - 1, 0)
    assert stops > 1
