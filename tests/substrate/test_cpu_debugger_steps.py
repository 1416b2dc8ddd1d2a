"""Single steps of debuggers outside the guest: one instruction each, and none that the guest sees."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import EngineError, RunEnd
from paravane.cpu.debugger import Watched
from paravane.cpu.engine import stepping
from paravane.x86 import Vector
from tests.support.cpu_bench import CODE, DATA, STACK, USER
from tests.support.cpu_debugger import END, Recorder, absolute, until_end

if TYPE_CHECKING:
    from tests.support.cpu_bench import Bench, Trap

pytestmark = pytest.mark.usefixtures("either_state")

TF = 0x100


def steps(bench: Bench, debugger: Recorder, code: bytes, most: int = 40) -> list[int]:
    """Step from CODE on until `int $0x20`: where each step ended, as offsets."""
    bench.code(code + END)
    at: list[int] = []
    while (not at or at[-1] != len(code) + 2) and len(at) < most:
        bench.cpu.debuggers.step(debugger)
        assert bench.cpu.run() is RunEnd.STOPPED
        assert debugger.seen == [("step", bench.cpu.eip)]
        debugger.seen.clear()
        at.append(bench.cpu.eip - CODE)
    return at


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        (b"\x40\x40", [1, 2, 4]),
        (b"\x9c\x9d\x40", [1, 2, 3, 5]),  # pushf; popf
        (b"\xeb\x02\x40\x40\x40", [4, 5, 7]),
        (b"\xe8\x00\x00\x00\x00\x58", [5, 6, 8]),  # call; pop
        # As on a processor, the instruction after one that loads SS comes with it (SDM volume 3, 6.8.3).
        (b"\x8c\xd0\x8e\xd0\x40", [2, 5, 7]),  # mov %ss,%eax; mov %eax,%ss
        (b"\x16\x17\x40", [1, 3, 5]),  # push %ss; pop %ss
        (b"\x0f\xa2\x40", [2, 3, 5]),  # cpuid
        (b"\xf3\x90\x40", [2, 3, 5]),  # pause
        (b"\xf3\x90\xf3\x90\x40", [2, 4, 5, 7]),
        (b"\xf0" + absolute("ff05") + b"\x40", [7, 8, 10]),
        (b"\xdb\xe3\x40", [2, 3, 5]),  # fninit
    ],
    ids=["inc", "pushf", "jmp", "call", "mov-ss", "pop-ss", "cpuid", "pause", "pauses", "lock", "fninit"],
)
def test_a_step_is_one_instruction(bench: Bench, debugger: Recorder, code: bytes, ends: list[int]) -> None:
    until_end(bench)
    assert steps(bench, debugger, code) == ends
    assert [trap.vector for trap in bench.traps] == [0x20]
    assert bench.cpu.get_dr(6) == 0xFFFF0FF0


def test_the_guest_does_not_see_the_steps(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    steps(bench, debugger, b"\x9c\x58\x9d\x40".replace(b"\x9d", b"\x90"))  # pushf; pop %eax
    assert bench.cpu.eax - 1 & TF == 0
    assert bench.cpu.eflags & TF == 0


def test_a_repeated_instruction_steps_by_its_iterations(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    bench.cpu.esi, bench.cpu.edi, bench.cpu.ecx = DATA, DATA + 64, 3
    assert steps(bench, debugger, b"\x40\xf3\xa4\x40") == [1, 1, 1, 3, 4, 6]
    assert bench.cpu.ecx == 0


def test_a_step_over_a_trap_ends_where_the_guest_goes_on(bench: Bench, debugger: Recorder) -> None:
    def serve(trap: Trap) -> None:
        if trap.vector == 0x80:
            bench.cpu.eip = CODE + 0x100

    until_end(bench, serve)
    bench.code(b"\x40\x40", CODE + 0x100)
    bench.code(b"\xcd\x80")
    for end in (0x100, 0x101, 0x102):
        bench.cpu.debuggers.step(debugger)
        bench.cpu.run()
        assert bench.cpu.eip == CODE + end


@pytest.mark.parametrize(
    "code", [b"\xec", b"\xee", b"\x6c", b"\x0f\x05", b"\x0f\x34", b"\x0f\x0b", b"\xfa", b"\xf4"]
)
def test_a_step_into_a_fault_ends_in_its_handler(bench: Bench, debugger: Recorder, code: bytes) -> None:
    def serve(trap: Trap) -> None:
        assert trap.eip == CODE
        bench.cpu.eip = CODE + 0x100

    until_end(bench, serve)
    bench.cpu.edi = DATA
    bench.code(b"\x40", CODE + 0x100)
    bench.code(code + b"\x40\x40")
    bench.cpu.debuggers.step(debugger)
    bench.cpu.run()
    assert (bench.cpu.eip, bench.cpu.eax, len(bench.traps)) == (CODE + 0x100, 0, 1)
    assert debugger.seen == [("step", CODE + 0x100)]


def test_an_instruction_that_is_executed_again_is_not_over(bench: Bench, debugger: Recorder) -> None:
    """A page fault that the hypervisor mends."""
    bench.map(0x1E000, 30, 0)

    def serve(trap: Trap) -> None:
        bench.map(0x1E000, 30, 3)
        bench.cpu.flush_tlb()

    until_end(bench, serve)
    assert steps(bench, debugger, absolute("a1", 0x1E000) + b"\x40") == [5, 6, 8]
    assert [trap.vector for trap in bench.traps] == [Vector.PF, 0x20]


def test_iret_to_ring_3_and_back(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    frame = struct.pack("<5I", USER, 0x1B, 0x202, USER + 0x1000, 0x23)
    bench.ram.write(0x12100, frame)
    bench.cpu.esp = STACK + 0x100
    bench.code(b"\x40" + END, USER)
    bench.code(b"\xcf")
    bench.cpu.debuggers.step(debugger)
    bench.cpu.run()
    assert (bench.cpu.eip, bench.cpu.cpl) == (USER, 3)
    bench.cpu.debuggers.step(debugger)
    bench.cpu.run()
    assert (bench.cpu.eip, bench.cpu.cpl, bench.cpu.eflags & TF) == (USER + 1, 3, 0)


def test_the_guests_own_steps_go_on_beside_a_debuggers(bench: Bench, debugger: Recorder) -> None:
    handled: list[tuple[int, int]] = []

    def serve(trap: Trap) -> None:
        handled.append((trap.vector, trap.eip - CODE))
        assert bench.cpu.get_dr(6) & 0x4000
        bench.cpu.set_dr(6, 0)

    until_end(bench, serve)
    bench.cpu.eflags = 0x302
    bench.code(b"\x40\x40\x40" + END)
    bench.cpu.debuggers.step(debugger)
    bench.cpu.run()
    assert (handled, bench.cpu.eip) == ([(1, 1)], CODE + 1)
    assert bench.cpu.eflags & TF
    bench.cpu.run()
    assert handled == [(1, 1), (1, 2), (1, 3)]


def test_dr6_stays_as_it_was(bench: Bench, debugger: Recorder) -> None:
    bench.cpu.set_dr(6, 0x4002)
    bench.code(b"\x40\x40")
    bench.cpu.debuggers.step(debugger)
    bench.cpu.run()
    assert (bench.cpu.get_dr(6), bench.traps) == (0xFFFF4FF2, [])


def test_a_step_passes_the_breakpoint_that_it_starts_at(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.breakpoints = {CODE, CODE + 1}
    bench.cpu.debuggers.update()
    bench.code(b"\x40\x40" + END)
    bench.cpu.debuggers.step(debugger)
    bench.cpu.run()
    assert debugger.seen == [("step", CODE + 1)]


def test_steps_within_a_range_go_on_until_they_leave_it(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    # mov $3,%ecx; 1: inc %eax; pause; dec %ecx; jnz 1b; inc %eax
    bench.code(b"\xb9\x03\x00\x00\x00\x40\xf3\x90\x49\x75\xfa\x40" + END)
    bench.cpu.debuggers.step(debugger, range(CODE, CODE + 11))
    bench.cpu.run()
    assert (bench.cpu.eip, bench.cpu.eax) == (CODE + 11, 3)
    assert debugger.seen == [("step", CODE + 11)]


def test_a_breakpoint_within_the_range_ends_it(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.breakpoints = {CODE + 5}
    bench.cpu.debuggers.update()
    bench.code(b"\xb9\x03\x00\x00\x00\x40\xf3\x90\x49\x75\xfa\x40" + END)
    bench.cpu.debuggers.step(debugger, range(CODE, CODE + 11))
    bench.cpu.run()
    assert (bench.cpu.eip, debugger.seen) == (CODE + 5, [("breakpoint", CODE + 5)])


def test_a_step_sees_what_is_watched(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.watched = [Watched(DATA, 4, reads=False, writes=True)]
    bench.cpu.debuggers.update()
    bench.code(absolute("a3") + b"\x40" + END)
    bench.cpu.debuggers.step(debugger)
    bench.cpu.run()
    assert bench.cpu.eip == CODE + 5
    assert sorted(debugger.seen) == [("access", DATA), ("step", CODE + 5)]
    assert bench.traps == []


def test_a_step_that_an_upcall_overtakes_ends_in_the_upcall(bench: Bench, debugger: Recorder) -> None:
    bench.code(b"\x40\x40" + END)
    bench.cpu.debuggers.step(debugger)
    bench.cpu.eip = CODE + 1
    assert bench.cpu.run() is RunEnd.STOPPED
    assert (debugger.seen, bench.cpu.eax) == ([("step", CODE + 1)], 0)


def test_after_a_debugger_is_gone_its_step_is_too(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    bench.cpu.debuggers.step(debugger)
    bench.cpu.debuggers.detach(debugger)
    bench.run(b"\x40\x40" + END)
    assert (debugger.seen, [trap.vector for trap in bench.traps]) == ([], [0x20])


def test_steps_and_budgets(bench: Bench, debugger: Recorder) -> None:
    """A processor that counts its instructions steps as exactly."""
    until_end(bench)
    bench.code(b"\x40" * 10 + END)
    assert bench.cpu.run(instructions=3) is RunEnd.BUDGET
    at = bench.cpu.eip
    bench.cpu.debuggers.step(debugger)
    assert bench.cpu.run(instructions=100) is RunEnd.STOPPED
    assert (bench.cpu.eip, bench.traps) == (at + 1, [])
    assert bench.cpu.run(instructions=2) is RunEnd.BUDGET
    assert bench.cpu.eip == at + 3


def test_an_engine_that_steps_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stepping.step_flag.cache_clear()
    monkeypatch.setattr(stepping, "_PROGRAM", b"\x90\xeb\xfd")
    with pytest.raises(EngineError, match="cannot be made to step unseen"):
        stepping.step_flag()
    stepping.step_flag.cache_clear()


@pytest.mark.parametrize("how", ["breakpoint", "access"])
def test_a_step_that_something_else_ended_is_given_up(bench: Bench, debugger: Recorder, how: str) -> None:
    until_end(bench)
    if how == "breakpoint":
        debugger.breakpoints = {CODE + 7}
    else:
        debugger.watched = [Watched(DATA, 4, reads=False, writes=True)]
    bench.cpu.debuggers.update()
    bench.code(b"\x40\x40" + absolute("a3") + b"\x40\x40" + END)
    bench.cpu.debuggers.step(debugger, range(CODE, CODE + 0x100))
    bench.cpu.run()
    assert bench.cpu.eip == CODE + 7
    assert [name for name, _ in debugger.seen] == [how]
    debugger.breakpoints, debugger.watched = set(), []
    bench.cpu.debuggers.update()
    bench.cpu.run()
    assert ([trap.vector for trap in bench.traps], len(debugger.seen)) == ([0x20], 1)


def test_a_step_is_taken_back(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    bench.cpu.debuggers.step(debugger)
    bench.cpu.debuggers.cancel(debugger)
    bench.run(b"\x40\x40" + END)
    assert ([trap.vector for trap in bench.traps], debugger.seen) == ([0x20], [])
