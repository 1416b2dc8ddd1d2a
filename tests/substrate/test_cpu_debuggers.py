"""Debuggers outside the guest: breakpoints, data breakpoints and steps that it cannot see."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import EngineError, RunEnd
from paravane.cpu.debugger import Watched
from paravane.cpu.engine import stepping
from paravane.cpu.moving_breakpoints import MOST
from paravane.x86 import Vector
from tests.support.cpu_bench import CODE, DATA, DATA_MFN, STACK, USER, Bench, Trap

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("either_state")

CF, ZF, TF = 0x1, 0x40, 0x100
END = b"\xcd\x20"


class Recorder:
    """A debugger that writes down what it is told, and stops the guest unless told otherwise."""

    def __init__(self, bench: Bench) -> None:
        self.cpu = bench.cpu
        self.breakpoints: set[int] = set()
        self.watched: list[Watched] = []
        self.stops = True
        self.seen: list[tuple[str, int]] = []
        self.flags: list[int] = []

    def at_breakpoint(self, address: int) -> bool:
        self.seen.append(("breakpoint", address))
        self.flags.append(self.cpu.eflags)
        return self.stops

    def accessed(self, watched: Watched) -> bool:
        self.seen.append(("access", watched.start))
        return self.stops

    def stepped(self) -> None:
        self.seen.append(("step", self.cpu.eip))


@pytest.fixture
def debugger(bench: Bench) -> Recorder:
    recorder = Recorder(bench)
    bench.cpu.debuggers.attach(recorder)
    return recorder


def until_end(bench: Bench, served: Callable[[Trap], None] = lambda trap: None) -> None:
    """Serve traps by `served`, and stop at `int $0x20`."""
    bench.handler.on_trap = lambda trap: bench.cpu.stop() if trap.vector == 0x20 else served(trap)


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


def absolute(opcode: str, address: int = DATA) -> bytes:
    return bytes.fromhex(opcode) + struct.pack("<I", address)


# Breakpoints


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


# Data breakpoints


def test_a_watched_word_stops_after_the_instruction(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.watched = [Watched(DATA, 4, reads=False, writes=True)]
    bench.cpu.debuggers.update()
    # mov DATA,%eax; mov %ecx,DATA; nop
    bench.cpu.ecx = 77
    bench.run(absolute("a1") + absolute("890d") + b"\x90" + END)
    assert (bench.cpu.eip, debugger.seen) == (CODE + 11, [("access", DATA)])
    assert bench.ram.words[(DATA_MFN << 12) >> 2] == 77
    bench.cpu.run()
    assert (bench.traps[-1].vector, len(debugger.seen)) == (0x20, 1)
    assert bench.cpu.get_dr(6) & 0xF == 0


@pytest.mark.parametrize(
    ("reads", "writes", "ends"), [(True, False, [5]), (True, True, [5, 11]), (False, True, [11])]
)
def test_reads_and_writes_are_told_apart(
    bench: Bench, debugger: Recorder, reads: bool, writes: bool, ends: list[int]
) -> None:
    until_end(bench)
    debugger.watched = [Watched(DATA + 1, 1, reads, writes)]
    bench.cpu.debuggers.update()
    bench.code(absolute("a1") + absolute("890d") + b"\x90" + END)
    found = []
    while not bench.traps:
        bench.cpu.run()
        found.append(bench.cpu.eip - CODE)
    assert found[:-1] == ends


def test_a_long_range_is_watched_in_each_of_its_pages(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.watched = [Watched(DATA - 4, 0x1008, reads=False, writes=True)]
    bench.cpu.debuggers.update()
    for address in (DATA - 4, DATA + 0x800, DATA + 0x1000):
        bench.kernel(CODE + 0x100)
        bench.run(absolute("a3", address) + b"\x90" + END, CODE + 0x100)
        assert bench.cpu.eip == CODE + 0x105
    assert debugger.seen == [("access", DATA - 4)] * 3


def test_the_guests_data_breakpoint_and_a_debuggers_both_fire(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    bench.cpu.set_dr(0, DATA)
    bench.cpu.set_dr(7, 0xD0001)
    debugger.watched = [Watched(DATA, 4, reads=False, writes=True)]
    bench.cpu.debuggers.update()
    bench.run(absolute("a3") + b"\x90" + END)
    assert [(trap.vector, trap.eip) for trap in bench.traps] == [(1, CODE + 5)]
    assert debugger.seen == [("access", DATA)]
    assert bench.cpu.get_dr(6) & 0xF == 1


def test_an_access_before_a_fault_of_the_next_instruction_stops_between_them(
    bench: Bench, debugger: Recorder
) -> None:
    """The next instruction cannot even be fetched; its fault comes when the guest goes on."""
    debugger.watched = [Watched(DATA, 4, reads=False, writes=True)]
    bench.cpu.debuggers.update()
    bench.code(absolute("a3"), CODE + 0x100)
    bench.cpu.eip = CODE + 0x100
    # jmp to nowhere by a pop of an address: pop DATA; then ret to 0x400000
    bench.code(absolute("8f05") + b"\xc3", CODE + 0x200)
    bench.cpu.eip, bench.cpu.esp = CODE + 0x200, STACK + 0x100
    bench.ram.words[(0x12100) >> 2] = 5
    bench.ram.words[(0x12104) >> 2] = 0x400000
    bench.cpu.run()
    assert (bench.cpu.eip, bench.traps, debugger.seen) == (CODE + 0x206, [], [("access", DATA)])
    bench.cpu.run()
    assert [trap.vector for trap in bench.traps] == [Vector.PF]


def test_what_the_hypervisor_stores_is_seen_when_the_trap_is_over(bench: Bench, debugger: Recorder) -> None:
    def serve(trap: Trap) -> None:
        bench.ram.write(DATA_MFN << 12, b"\x05")

    until_end(bench, serve)
    debugger.watched = [
        Watched(DATA, 4, reads=False, writes=True),
        Watched(DATA, 4, reads=True, writes=False),
    ]
    bench.cpu.debuggers.update()
    # int $0x80 twice: the second one changes nothing
    bench.run(b"\x40\xcd\x80\x40\xcd\x80\x40" + END)
    assert (bench.cpu.eip, debugger.seen) == (CODE + 3, [("access", DATA)])
    bench.cpu.run()
    assert (bench.traps[-1].vector, len(debugger.seen), bench.cpu.eax) == (0x20, 1, 3)


def test_what_is_stored_between_two_runs_is_seen_before_the_next_one(
    bench: Bench, debugger: Recorder
) -> None:
    until_end(bench)
    debugger.watched = [Watched(DATA, 4, reads=False, writes=True)]
    bench.cpu.debuggers.update()
    bench.ram.write(DATA_MFN << 12, b"\x05")
    bench.code(b"\x40" + END)
    assert bench.cpu.run() is RunEnd.STOPPED
    assert (bench.cpu.eip, debugger.seen) == (CODE, [("access", DATA)])
    bench.cpu.run()
    assert (bench.traps[-1].vector, len(debugger.seen)) == (0x20, 1)


def test_another_page_at_a_watched_address_is_no_store(bench: Bench, debugger: Recorder) -> None:
    def serve(trap: Trap) -> None:
        bench.map(DATA, 30, 3)
        bench.cpu.flush_tlb()

    until_end(bench, serve)
    bench.ram.write(30 << 12, b"\x07")
    debugger.watched = [Watched(DATA, 4, reads=False, writes=True)]
    bench.cpu.debuggers.update()
    bench.run(b"\xcd\x80\x40" + END)
    assert (debugger.seen, bench.cpu.eax) == ([], 1)


def test_once_nothing_is_watched_the_hooks_go(bench: Bench, debugger: Recorder) -> None:
    until_end(bench)
    debugger.watched = [Watched(DATA, 4, reads=True, writes=True)]
    bench.cpu.debuggers.update()
    bench.run(absolute("a3") + END)
    bench.cpu.debuggers.detach(debugger)
    bench.kernel()
    bench.cpu.run()
    assert not bench.cpu._hooks.debug._watchpoints.instrumented
    assert len(debugger.seen) == 1


# Steps


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
