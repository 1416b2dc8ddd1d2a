"""Loops of PAUSE: who wants to hear of them does, and may stop the run between two instructions."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paravane.cpu.debugger import Watched
from paravane.cpu.spins import LOOPS
from tests.support.cpu_bench import CODE, DATA, DATA_MFN, Bench, Trap
from tests.support.cpu_debugger import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

INT20 = b"\xcd\x20"
# 1: incl DATA; pause; decl %ecx; jnz 1b
LOOP = b"\xff\x05" + struct.pack("<I", DATA) + b"\xf3\x90\x49\x75\xf5"
PAUSES = {"pause": b"\xf3\x90", "66": b"\xf3\x66\x90", "nop": b"\x90", "xchg": b"\xf2\x90"}


class Waiter(Bench):
    def __init__(self) -> None:
        self.told = 0
        self.stops = False
        super().__init__(spins=self.spins)

    def spins(self) -> None:
        self.told += 1
        if self.stops:
            self.cpu.stop()


@pytest.fixture
def waiter() -> Iterator[Waiter]:
    bench = Waiter()
    yield bench
    bench.close()


@pytest.mark.parametrize("name", PAUSES)
def test_a_loop_of_pauses_is_told_of(waiter: Waiter, name: str) -> None:
    """Only what waits: NOP does not, whatever other prefix it has."""
    body = PAUSES[name]
    loop = body + b"\x49" + b"\x75" + bytes((-3 - len(body) & 0xFF,))
    waiter.cpu.ecx = 3 * LOOPS
    waiter.run(loop + INT20)
    assert waiter.told == (3 if name in {"pause", "66"} else 0)


def test_a_run_that_is_stopped_there_goes_on_after_the_pause(waiter: Waiter) -> None:
    """Nothing is executed twice, and nothing left out, whatever follows in the code."""
    waiter.stops = True
    waiter.cpu.ecx = 4 * LOOPS
    waiter.code(LOOP + INT20)
    eips = []
    while not waiter.traps:
        waiter.cpu.run()
        eips.append(waiter.cpu.eip)
    assert eips == [CODE + 8] * 4 + [CODE + len(LOOP) + 2]
    assert waiter.ram.words[DATA_MFN << 10] == 4 * LOOPS
    assert waiter.traps == [Trap("interrupt", 0x20, 0, CODE + len(LOOP) + 2, 1)]


def test_a_counted_run_is_stopped_at_the_same_places_whoever_watches() -> None:
    """Or a debugger would be in a run that can be repeated."""
    courses = []
    for watched in ([], [Watched(DATA + 0x800, 4, True, True)]):
        waiter = Waiter()
        waiter.stops = True
        waiter.cpu.ecx = 4 * LOOPS
        waiter.code(LOOP + INT20)
        debugger = Recorder(waiter)
        debugger.watched = watched
        waiter.cpu.debuggers.attach(debugger)
        course = []
        while not waiter.traps:
            waiter.cpu.run(instructions=1000)
            course.append((waiter.cpu.eip, waiter.cpu.executed))
        assert waiter.ram.words[DATA_MFN << 10] == 4 * LOOPS
        assert debugger.seen == []
        waiter.close()
        courses.append(course)
    assert courses[1] == courses[0]
    assert CODE + 6 in dict(courses[0])


def test_an_undefined_instruction_after_a_pause_keeps_its_hook(waiter: Waiter) -> None:
    waiter.stops = True
    waiter.cpu.ecx = LOOPS
    waiter.code(b"\xf3\x90\x49\x75\xfb\xf0\x0f\xa3\xc0")  # 1: pause; decl %ecx; jnz 1b; lock bt %eax, %eax
    waiter.cpu.run()
    assert waiter.run() == [Trap("exception", 6, 0, CODE + 5, 1)]


def test_code_that_is_no_pause_any_more_is_not_taken_for_one(waiter: Waiter) -> None:
    waiter.cpu.ecx = LOOPS
    waiter.run(LOOP + INT20)
    waiter.kernel()
    waiter.cpu.ecx = LOOPS
    waiter.run(LOOP.replace(b"\xf3\x90", b"\x90\x90") + INT20)
    assert waiter.told == 1


def test_a_guest_that_has_pauses_everywhere_is_not_slowed_down_by_hooks(waiter: Waiter) -> None:
    """Those beyond the first ones are not noticed: they run as they did."""
    waiter.code(b"\xf3\x90\x90" * 400 + INT20)
    waiter.cpu.run()
    assert waiter.traps[0].eip == CODE + 1202
    assert not waiter.cpu._hooks.debug.takes_stops


def test_nobody_is_told_where_nobody_asked(bench: Bench) -> None:
    bench.cpu.ecx = 4 * LOOPS
    bench.run(LOOP + INT20)
    assert not bench.cpu._hooks.code_hooked
