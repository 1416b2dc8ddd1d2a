"""Breakpoints of debuggers outside the guest, which it cannot see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.cpu import RunEnd
from paravane.cpu.debugger import Watched
from paravane.cpu.moving_breakpoints import MOST
from paravane.x86 import Vector
from tests.support.cpu_bench import CODE, DATA, USER
from tests.support.cpu_debugger import END, Recorder, absolute, until_end

if TYPE_CHECKING:
    from tests.support.cpu_bench import Bench, Trap

pytestmark = pytest.mark.usefixtures("either_state")

CF, ZF = 0x1, 0x40


def test_a_breakpoint_stops_before_its_instruction_each_time_it_is_reached(
    bench: Bench, debugger: Recorder
) -> None:
    until_end(bench)
    debugger.breakpoints = {CODE + 5}
    bench.cpu.debuggers.update()
    # mov $3,%ecx; 1: inc %eax; dec %ecx; jnz 1b
    bench.code(b"\xb9\x03\x00\x00\x00\x40\x49\x75\xfc" + END)
    for times in range(3):
        assert bench.cpu.run() is RunEnd.STOPPED
        assert (bench.cpu.eip, bench.cpu.eax, bench.cpu.ecx) == (CODE + 5, times, 3 - times)
        bench.cpu.debuggers.step(debugger)
        bench.cpu.run()
        assert bench.cpu.eax == times + 1
    bench.cpu.run()
    assert [trap.vector for trap in bench.traps] == [0x20]
    assert debugger.seen == [("breakpoint", CODE + 5), ("step", CODE + 6)] * 3


def test_a_breakpoint_that_does_not_stop_changes_nothing(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.stops = False
    debugger.breakpoints = {CODE + 5, CODE + 6, CODE + 7}
    bench.cpu.debuggers.update()
    bench.run(b"\xb9\x03\x00\x00\x00\x40\x49\x75\xfc" + END)
    assert (bench.cpu.eax, bench.cpu.ecx) == (3, 0)
    assert len(debugger.seen) == 9
    # after `dec` ZF tells whether that was the last
    assert [flags >> 6 & 1 for flags in debugger.flags[2::3]] == [0, 0, 1]


@pytest.mark.parametrize("watched", [False, True])
def test_a_stop_at_a_breakpoint_tells_of_it_once(bench: Bench, debugger: Recorder, watched: bool) -> None:
    class Stopper(Recorder):
        def at_breakpoint(self, address: int) -> bool:
            self.cpu.stop()
            return super().at_breakpoint(address)

    until_end(bench)
    bench.cpu.debuggers.detach(debugger)
    stopper = Stopper(bench)
    stopper.stops = False
    stopper.breakpoints = {CODE + 1, CODE + 4}
    stopper.watched = [Watched(DATA, 4, reads=False, writes=True)] if watched else []
    bench.cpu.debuggers.attach(stopper)
    bench.code(b"\x40\x40\xeb\x00\x40" + END)  # inc %eax; inc %eax; jmp 1f; 1: inc %eax
    runs = 0
    while not bench.traps and runs < 10:
        assert bench.cpu.run() is RunEnd.STOPPED
        runs += 1
    assert stopper.seen == [("breakpoint", CODE + 1), ("breakpoint", CODE + 4)]
    assert bench.cpu.eax == 3


def test_a_breakpoint_right_after_a_watched_store_is_told_of(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.stops = False
    store = absolute("a3")  # mov %eax,DATA

    def seen(watched: list[Watched], breakpoints: set[int]) -> list[tuple[str, int]]:
        debugger.watched, debugger.breakpoints = watched, breakpoints
        bench.cpu.debuggers.update()
        bench.cpu.eip = CODE
        debugger.seen.clear()
        bench.run(store + b"\x40" + END)
        return list(debugger.seen)

    data, after = [Watched(DATA, 4, reads=False, writes=True)], {CODE + len(store)}
    told, touched = ("breakpoint", CODE + len(store)), ("access", DATA)
    assert seen([], after) == [told]
    assert seen(data, after) == [touched, told]  # the hook of the breakpoint is the older one
    assert seen(data, set()) == [touched]
    assert seen(data, after) == [touched, told]


def test_the_guests_breakpoint_right_after_a_watched_store_fires(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.stops = False
    store = absolute("a3")  # mov %eax,DATA
    bench.cpu.set_dr(0, CODE + len(store))
    bench.cpu.set_dr(7, 1)
    debugger.watched = [Watched(DATA, 4, reads=False, writes=True)]
    bench.cpu.debuggers.update()
    bench.run(store + b"\x40" + END)
    assert [trap.vector for trap in bench.traps] == [Vector.DB, 0x20]
    assert debugger.seen == [("access", DATA)]
    assert bench.cpu.eax == 1


def test_flags_survive_a_stop_that_is_asked_for_where_they_were_read(bench: Bench) -> None:
    class Follower:
        within = range(1 << 32)

        def __init__(self) -> None:
            self.seen: list[tuple[int, int]] = []

        def at_instruction(self, address: int) -> None:
            self.seen.append((address - CODE, bench.cpu.eflags & (CF | ZF)))
            bench.cpu.stop()

    until_end(bench)
    follower = Follower()
    bench.cpu.debuggers.follow(follower)
    bench.cpu.eax = 5
    # sub $1,%eax; cmp $9,%eax; jb 1f; ud2; 1: cmp $4,%eax; je 2f; ud2; 2:
    bench.code(bytes.fromhex("83e801 83f809 7202 0f0b 83f804 7402 0f0b") + END)
    runs = 0
    while not bench.traps and runs < 20:
        assert bench.cpu.run() is RunEnd.STOPPED
        runs += 1
    assert [trap.vector for trap in bench.traps] == [0x20]
    assert [step for step in follower.seen if step[0]] == [(3, 0), (6, CF), (10, CF), (13, ZF), (17, ZF)]


def test_a_breakpoint_is_not_in_memory_and_not_in_the_debug_registers(
    bench: Bench, debugger: Recorder
) -> None:
    until_end(bench)
    debugger.breakpoints = {CODE + 6}
    bench.cpu.debuggers.update()
    # mov CODE+6,%eax; nop; int $0x20
    code = absolute("8b05", CODE + 6) + b"\x90\x90" + END
    bench.run(code)
    assert bench.cpu.eip == CODE + 6
    assert bench.cpu.eax == int.from_bytes(code[6:10], "little")
    assert [bench.cpu.get_dr(index) for index in (0, 1, 2, 3)] == [0, 0, 0, 0]
    assert bench.cpu.get_dr(7) & 0xFF == 0


def test_a_breakpoint_set_later_is_hit_in_code_that_ran_already(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    code = b"\x40\x40\x40" + END
    bench.run(code)
    bench.kernel()
    debugger.breakpoints = {CODE + 2}
    bench.cpu.debuggers.update()
    bench.cpu.run()
    assert bench.cpu.eip == CODE + 2
    debugger.breakpoints = set()
    bench.cpu.debuggers.update()
    bench.cpu.run()
    assert bench.traps[-1].vector == 0x20
    assert len(debugger.seen) == 1


def test_a_breakpoint_in_ring_3(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.breakpoints = {USER + 1}
    bench.cpu.debuggers.update()
    bench.user()
    bench.run(b"\x40\x40" + END, USER)
    assert (bench.cpu.eip, bench.cpu.cpl) == (USER + 1, 3)


def test_the_guests_own_breakpoint_at_the_same_place_fires_as_well(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    bench.cpu.set_dr(0, CODE + 1)
    bench.cpu.set_dr(7, 1)
    debugger.breakpoints = {CODE + 1}
    bench.cpu.debuggers.update()
    bench.run(b"\x40\x40" + END)
    assert (debugger.seen, bench.traps) == ([("breakpoint", CODE + 1)], [])
    debugger.breakpoints = set()
    bench.cpu.debuggers.update()
    bench.cpu.run()
    assert (bench.cpu.eip, bench.cpu.eax) == (CODE + 4, 2)
    assert [trap.vector for trap in bench.traps] == [1, 0x20]


def test_many_breakpoints_move_and_those_that_are_gone_cost_nothing(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    bench.code(b"\x40" * 3000 + END)
    for first in range(0, 3000, 500):
        debugger.breakpoints = {CODE + first + at for at in range(MOST)}
        bench.cpu.debuggers.update()
        bench.cpu.run()
        assert bench.cpu.eip == CODE + first
    assert all(not bench.cpu._hooks.debug.hooked(CODE + at) for at in range(MOST))
    bench.cpu.debuggers.detach(debugger)
    assert all(not bench.cpu._hooks.debug.hooked(CODE + 2500 + at) for at in range(MOST))
    bench.cpu.run()
    assert bench.traps[-1].vector == 0x20


def test_too_many_breakpoints_are_refused(bench: Bench, debugger: Recorder) -> None:
    debugger.breakpoints = set(range(MOST + 1))
    with pytest.raises(ValueError, match="256 breakpoints at a time, not 257"):
        bench.cpu.debuggers.update()


def test_flags_are_right_after_an_instruction_with_a_breakpoint_has_faulted(
    bench: Bench, debugger: Recorder
) -> None:
    """A hook makes the engine compute the flags, and a fault makes it forget that."""
    flags: list[int] = []

    def note(trap: Trap) -> None:
        flags.append(bench.cpu.eflags & 0x8D5)
        bench.cpu.stop()

    until_end(bench, note)
    debugger.stops = False
    debugger.breakpoints = {CODE + 2}
    bench.cpu.debuggers.update()
    # sub %eax,%eax; mov 0x400000,%eax: no such page
    bench.run(b"\x29\xc0" + absolute("a1", 0x400000))
    assert (bench.traps[-1].vector, flags) == (Vector.PF, [0x44])


def test_what_a_debugger_raises_comes_out_of_the_run(bench: Bench, debugger: Recorder) -> None:
    def fail(address: int) -> bool:
        raise LookupError("gone")

    debugger.at_breakpoint = fail  # type: ignore[method-assign]
    debugger.breakpoints = {CODE + 1}
    bench.cpu.debuggers.update()
    with pytest.raises(LookupError, match="gone"):
        bench.run(b"\x40\x40" + END)
