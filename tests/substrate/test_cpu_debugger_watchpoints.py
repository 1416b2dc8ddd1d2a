"""Memory that debuggers outside the guest watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.cpu import RunEnd
from paravane.cpu.debugger import Watched
from paravane.x86 import Vector
from tests.support.cpu_bench import CODE, DATA, DATA_MFN, STACK
from tests.support.cpu_debugger import END, Recorder, absolute, until_end

if TYPE_CHECKING:
    from tests.support.cpu_bench import Bench, Trap

pytestmark = pytest.mark.usefixtures("either_state")


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


@pytest.mark.parametrize("guests", [False, True])
def test_a_stop_as_the_next_access_begins_is_no_trap_of_the_guests(
    bench: Bench, debugger: Recorder, monkeypatch: pytest.MonkeyPatch, guests: bool
) -> None:
    """It comes when the last access has been told of: the run ends with the next one still to be told."""
    until_end(bench)
    debugger.stops = False
    debugger.watched = [Watched(DATA, 16, reads=False, writes=True)]
    if guests:
        bench.cpu.set_dr(0, DATA + 4)
        bench.cpu.set_dr(7, 0xD0001)
    bench.cpu.debuggers.update()
    tell, told = bench.cpu.debuggers.at_instruction, 0

    def told_and_stopped(address: int) -> None:
        nonlocal told
        tell(address)
        told += 1
        if told == 1:
            bench.cpu.stop()

    monkeypatch.setattr(bench.cpu.debuggers, "at_instruction", told_and_stopped)
    bench.cpu.ecx, bench.cpu.edi = 4, DATA
    bench.code(b"\xf3\xab\x90" + END)  # rep stosl; nop
    for _ in range(4):
        bench.cpu.run()
        if bench.traps and bench.traps[-1].vector == 0x20:
            break
    assert [trap.vector for trap in bench.traps] == ([Vector.DB] if guests else []) + [0x20]
    assert debugger.seen == [("access", DATA)] * 4
