"""Data breakpoints in the debug registers: a trap after the instruction that accessed what they watch."""

import struct

import pytest

from paravane.cpu import PAE, TWO_LEVEL, EngineError, RunEnd, SliceTimer
from paravane.cpu.engine import bounds
from tests.support.cpu_bench import CODE, DATA, DATA_MFN, KERNEL_PAGE, NX, STACK, USER, Bench, Trap

pytestmark = pytest.mark.usefixtures("either_state")

WRITE, ACCESS = 1, 3
LENGTHS = {1: 0, 2: 1, 4: 3, 8: 2}
END = b"\xcd\x20"
# Two-level tables have no NX, so a fetch does not show in the error code.
FETCH = {PAE: 0x10, TWO_LEVEL: 0}
STACK_TOP = STACK + 0x1000


def watch(bench: Bench, address: int, size: int = 4, kind: int = WRITE, index: int = 0) -> None:
    """Arm one more data breakpoint."""
    bench.cpu.set_dr(index, address)
    control = kind | LENGTHS[size] << 2
    bench.cpu.set_dr(7, bench.cpu.get_dr(7) | 1 << 2 * index | control << 16 + 4 * index)


def until_interrupt(bench: Bench, hits: list[tuple[int, int]] | None = None) -> None:
    """Go on after each #DB, noting EIP and DR6; stop at any other trap."""

    def on_trap(trap: Trap) -> None:
        if trap.vector == 1 and hits is not None:
            hits.append((trap.eip, bench.cpu.get_dr(6) & 0x400F))
        elif trap.vector != 1:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap


def hits_of(bench: Bench, code: bytes, at: int = CODE) -> list[tuple[int, int]]:
    """Where #DB came (offset from `at`) and which breakpoints it named, until the end of `code`."""
    hits: list[tuple[int, int]] = []
    until_interrupt(bench, hits)
    traps = bench.run(code + END, at)
    assert traps[-1] == Trap("interrupt", 0x20, 0, at + len(code) + 2, bench.cpu.cpl)
    return [(eip - at, bits) for eip, bits in hits]


def absolute(opcode: str, address: int = DATA) -> bytes:
    return bytes.fromhex(opcode) + struct.pack("<I", address)


# name: instruction, whether it writes DATA (all read or write it)
ACCESSES: dict[str, tuple[bytes, bool]] = {
    "mov store": (absolute("a3"), True),
    "mov load": (absolute("a1"), False),
    "mov byte store": (absolute("a2"), True),
    "mov immediate": (absolute("c705") + bytes(4), True),
    "inc": (absolute("ff05"), True),
    "lock inc": (absolute("f0ff05"), True),
    "add to register": (absolute("0305"), False),
    "cmp": (absolute("3905"), False),
    "xchg": (absolute("8715"), True),
    "xadd": (absolute("0fc115"), True),
    "cmpxchg that fails": (absolute("0fb115"), True),
    "lock cmpxchg8b": (absolute("f00fc70d"), True),
    "push from memory": (absolute("ff35"), False),
    "pop to memory": (b"\x54" + absolute("8f05"), True),
    "bts": (absolute("0fba2d") + b"\x01", True),
    "bts of a bit 12 bytes above": (absolute("0fab05", DATA - 12), True),
    "setz": (absolute("0f9405"), True),
    "fstp": (absolute("d91d"), True),
    "fld": (absolute("d905"), False),
    "movups store": (absolute("0f1105"), True),
    "movups store from 12 below": (absolute("0f1105", DATA - 12), True),
    "fxsave": (absolute("0fae05", DATA & ~0xFFF), True),
    "sidt": (absolute("0f010d", DATA - 3), True),
    "rcl": (absolute("d115"), True),
    "moffs two below": (absolute("a3", DATA - 2), True),
}


@pytest.mark.parametrize("name", ACCESSES)
def test_an_access_is_reported_after_its_instruction(bench: Bench, name: str) -> None:
    code, writes = ACCESSES[name]
    bench.cpu.eax = 0x77
    watch(bench, DATA, kind=ACCESS, index=1)
    assert hits_of(bench, code + b"\x40\x40") == [(len(code), 2)]
    bench.cpu.set_dr(7, 0)
    watch(bench, DATA, kind=WRITE, index=2)
    bench.kernel()
    assert hits_of(bench, code + b"\x40\x40") == ([(len(code), 4)] if writes else [])


def test_effects_of_the_instruction_are_there_and_those_of_the_next_are_not(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []

    def on_trap(trap: Trap) -> None:
        if trap.vector == 1:
            seen.append((bench.cpu.eax, bench.ram.words[(DATA_MFN << 12) >> 2]))
        else:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.cpu.eax, bench.cpu.eflags = 7, 0x202
    watch(bench, DATA)
    trap = bench.run(absolute("a3") + b"\x40\x40" + absolute("a3") + END)[0]
    assert trap == Trap("exception", 1, 0, CODE + 5, 1)
    assert seen == [(7, 7), (9, 9)]
    assert bench.cpu.eax == 9


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_any_overlap_counts_and_nothing_else(bench: Bench, size: int, width: int) -> None:
    opcode = {1: "a2", 2: "66a3", 4: "a3"}[width]
    start = DATA + 0x40
    watch(bench, start, size)
    for address in range(start - 9, start + size + 9):
        bench.kernel()
        code = absolute(opcode, address)
        expected = [(len(code), 1)] if address < start + size and start < address + width else []
        assert hits_of(bench, code) == expected, hex(address)


def test_address_bits_below_the_length_are_ignored(bench: Bench) -> None:
    watch(bench, DATA + 3, 4)
    assert hits_of(bench, absolute("a2", DATA)) == [(5, 1)]


def test_two_at_once_and_both_of_one_access(bench: Bench) -> None:
    watch(bench, DATA, 2, index=0)
    watch(bench, DATA + 2, 1, index=3)
    watch(bench, DATA + 3, 1, ACCESS, index=1)
    code = absolute("a2", DATA) + absolute("a2", DATA + 2) + absolute("a0", DATA + 3) + absolute("a3")
    assert hits_of(bench, code) == [(5, 1), (10, 8), (15, 2), (20, 0xB)]


@pytest.mark.parametrize("watched", [STACK - 4, STACK, STACK + 1])
def test_a_store_across_two_pages_that_lie_apart(bench: Bench, watched: int) -> None:
    bench.map(STACK, 27, KERNEL_PAGE | NX)
    watch(bench, watched, 1 if watched & 1 else 4)
    assert hits_of(bench, absolute("a3", STACK - 2)) == [(5, 1)]
    assert bench.cpu.read(STACK - 2, 4) == struct.pack("<I", bench.cpu.eax)


def test_stack_accesses_of_calls_returns_and_pushes(bench: Bench) -> None:
    watch(bench, STACK_TOP - 4, kind=ACCESS)
    # push; pop; call 1f; nop; 1: ret $0 -> after the call
    code = b"\x50\x58" + b"\xe8\x03\x00\x00\x00" + b"\xeb\x04\x90" + b"\xc2\x00\x00" + b"\x90\x90"
    assert hits_of(bench, code) == [(1, 1), (2, 1), (10, 1), (7, 1)]


def test_a_jump_through_watched_memory_is_reported_at_its_target(bench: Bench) -> None:
    bench.ram.write(DATA, struct.pack("<I", CODE + 0x20))
    watch(bench, DATA, kind=ACCESS)
    assert hits_of(bench, absolute("ff25") + bytes(0x1A) + b"\x90") == [(0x20, 1)]


def test_at_the_last_instruction_of_a_block_and_of_a_page(bench: Bench) -> None:
    watch(bench, DATA)
    assert hits_of(bench, absolute("a3") + b"\xeb\x00" + absolute("a3")) == [(5, 1), (12, 1)]
    at = CODE + 0xFFB
    bench.map(DATA, 29, KERNEL_PAGE)
    bench.cpu.flush_tlb()
    bench.kernel(at)
    watch(bench, STACK)
    bench.ram.write(29 << 12, END)
    hits: list[tuple[int, int]] = []
    until_interrupt(bench, hits)
    assert bench.run(absolute("a3", STACK), at)[-1].vector == 0x20
    assert hits == [(DATA, 1)]


def test_reported_before_the_fault_of_fetching_the_next_instruction(any_bench: Bench) -> None:
    bench = any_bench
    bench.map(DATA, 0, 0)
    bench.cpu.flush_tlb()
    bench.cpu.write(STACK, struct.pack("<I", DATA))
    watch(bench, STACK, kind=ACCESS)
    bench.handler.on_trap = lambda trap: bench.cpu.stop() if trap.vector == 14 else None
    traps = bench.run(absolute("ff25", STACK))
    assert [(trap.vector, trap.eip) for trap in traps] == [(1, DATA), (14, DATA)]
    assert bench.cpu.cr2 == DATA


def test_reported_before_an_invalid_a_port_and_a_system_call_instruction(bench: Bench) -> None:
    watch(bench, DATA)
    for code, vector in ((b"\x0f\x0b", 6), (b"\xec", 13), (b"\x0f\x05", 6), (b"\x0f\x34", 13), (b"\xf4", 13)):
        bench.kernel()
        until_interrupt(bench)
        traps = bench.run(absolute("a3") + code)
        assert [(trap.vector, trap.eip) for trap in traps] == [(1, CODE + 5), (vector, CODE + 5)]


def test_an_instruction_that_faults_reports_no_access(bench: Bench) -> None:
    bench.map(STACK + 0x1000, 0, 0)
    bench.cpu.flush_tlb()
    until_interrupt(bench)
    watch(bench, STACK + 0xFFC, kind=ACCESS)
    watch(bench, DATA, kind=ACCESS, index=1)
    # A store over the edge of what is mapped; movs from watched to unmapped memory; div by a watched 0.
    assert [trap.vector for trap in bench.run(absolute("a3", STACK + 0xFFE))] == [14]
    bench.kernel()
    bench.cpu.esi, bench.cpu.edi = DATA, STACK + 0x1000
    assert [trap.vector for trap in bench.run(b"\xa5")] == [14]
    bench.kernel()
    assert [trap.vector for trap in bench.run(absolute("f735"))] == [0]
    assert bench.cpu.get_dr(6) & 0xF == 0
    # And it is forgotten: the next instruction that completes is not blamed.
    bench.kernel()
    assert hits_of(bench, b"\x40\x40") == []


def test_reported_once_the_handler_has_cured_the_fault(bench: Bench) -> None:
    bench.map(DATA, 0, 0)
    bench.cpu.flush_tlb()
    watch(bench, DATA)

    def cure(trap: Trap) -> None:
        if trap.vector == 14:
            bench.map(DATA, 30, KERNEL_PAGE)
        elif trap.vector == 0x20:
            bench.cpu.stop()

    bench.handler.on_trap = cure
    traps = bench.run(absolute("a3") + END)
    assert [(trap.vector, trap.eip) for trap in traps] == [(14, CODE), (1, CODE + 5), (0x20, CODE + 7)]


def test_a_repeated_store_is_reported_after_its_iteration(bench: Bench) -> None:
    watch(bench, DATA + 8, index=0)
    counts: list[tuple[int, int]] = []

    def on_trap(trap: Trap) -> None:
        if trap.vector == 1:
            counts.append((trap.eip - CODE, bench.cpu.ecx))
        else:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.cpu.edi, bench.cpu.ecx = DATA, 5
    bench.run(b"\xf3\xab" + END)
    assert counts == [(0, 2)]
    assert (bench.cpu.ecx, bench.cpu.edi) == (0, DATA + 20)


@pytest.mark.parametrize("code", [b"\xf3\xab", b"\xf3\xa5", b"\xf3\x66\xab", b"\xf3\xaa"])
def test_the_last_iteration_is_reported_after_the_instruction(bench: Bench, code: bytes) -> None:
    width = {b"\xf3\x66\xab": 2, b"\xf3\xaa": 1}.get(code, 4)
    bench.cpu.edi, bench.cpu.esi, bench.cpu.ecx = DATA, DATA + 0x100, 3
    watch(bench, DATA + 2 * width, 1)
    assert hits_of(bench, code + b"\x40") == [(len(code), 1)]


def test_a_repeated_compare_that_ends_early(bench: Bench) -> None:
    bench.ram.write(DATA, b"aaab")
    bench.ram.write(DATA + 0x100, b"aaac")
    bench.cpu.esi, bench.cpu.edi, bench.cpu.ecx = DATA, DATA + 0x100, 100
    watch(bench, DATA + 3, 1, ACCESS)
    assert hits_of(bench, b"\xf3\xa6") == [(2, 1)]
    assert bench.cpu.ecx == 96


def test_in_ring_3(bench: Bench) -> None:
    bench.user()
    watch(bench, USER + 0x800)
    until_interrupt(bench)
    traps = bench.run(absolute("a3", USER + 0x800) + b"\x40" + END, at=USER)
    assert traps == [Trap("exception", 1, 0, USER + 5, 3), Trap("interrupt", 0x20, 0, USER + 8, 3)]


def test_a_single_step_and_an_access_are_one_trap(bench: Bench) -> None:
    hits: list[tuple[int, int]] = []
    watch(bench, DATA)
    until_interrupt(bench, hits)
    bench.kernel(eflags=0x302)

    def on_trap(trap: Trap) -> None:
        if trap.vector == 1:
            hits.append((trap.eip - CODE, bench.cpu.get_dr(6) & 0x400F))
            bench.cpu.set_dr(6, 0)
        else:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.run(b"\x40" + absolute("a3") + b"\x40" + END)
    assert hits == [(1, 0x4000), (6, 0x4001), (7, 0x4000)]


def test_an_execution_breakpoint_on_the_next_instruction_comes_second(bench: Bench) -> None:
    watch(bench, DATA, index=0)
    bench.cpu.set_dr(1, CODE + 5)
    bench.cpu.set_dr(7, bench.cpu.get_dr(7) | 4)
    assert hits_of(bench, absolute("a3") + b"\x40\x40") == [(5, 1), (5, 2)]
    assert bench.cpu.eax == 2


def test_flags_survive_breakpoints_near_misses_and_faults(bench: Bench) -> None:
    """The engine restores flags from the wrong source where hooks are around."""
    add = b"\xb8\x00\x00\x00\xf0\x05\x00\x00\x00\xf0\x01\xc0"  # mov $0xf0000000,%eax; add, add: CF SF PF
    variants = {
        "plain": b"",
        "hit": absolute("a3"),
        "miss": absolute("a3", DATA + 4),
        "pushes": b"\x9c\x9c\x58\x58",
        "strings": b"\xf3\xab",
    }
    watch(bench, DATA)
    watch(bench, STACK_TOP - 4, kind=ACCESS, index=1)
    until_interrupt(bench)
    for name, middle in variants.items():
        bench.kernel()
        bench.cpu.edi, bench.cpu.ecx = DATA, 2
        bench.run(add + middle + b"\x9c\x5b" + END)
        assert bench.cpu.ebx & 0x8D5 == 0x85, name
        assert bench.cpu.eflags & 0x8D5 == 0x85, name


@pytest.mark.parametrize("mode", ["plain", "counted", "execution", "data"])
@pytest.mark.parametrize(
    ("fault", "vector"),
    [(absolute("a3", 0x20000), 14), (b"\xf4", 13), (b"\xec", 13), (b"\x0f\x0b", 6), (absolute("f735"), 0)],
    ids=["store", "hlt", "in", "ud2", "div"],
)
def test_a_fault_shows_the_flags_as_they_were(any_bench: Bench, mode: str, fault: bytes, vector: int) -> None:
    bench = any_bench
    add = b"\xb8\x00\x00\x00\xf0\x01\xc0"
    if mode == "data":
        watch(bench, DATA + 0x100)
    elif mode == "execution":
        bench.cpu.set_dr(0, CODE + len(add))
        bench.cpu.set_dr(7, 1)
    flags: list[int] = []

    def on_trap(trap: Trap) -> None:
        flags.append(bench.cpu.eflags & 0x8D5)
        if trap.vector != 1:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.code(add + fault)
    bench.cpu.run(instructions=100 if mode == "counted" else 0)
    assert [trap.vector for trap in bench.traps] == ([1] if mode == "execution" else []) + [vector]
    assert set(flags) == {0x85}


def test_a_fetch_that_faults_does_not_disturb_computed_flags(any_bench: Bench) -> None:
    bench = any_bench
    bench.cpu.write(STACK, b"\x10")
    bench.cpu.write(STACK + 1, b"\xf0")
    bench.map(DATA, 0, 0)
    bench.cpu.flush_tlb()
    watch(bench, STACK + 0x100)
    bench.kernel(CODE + 0xFFE)
    bench.cpu.esi, bench.cpu.edi, bench.cpu.ecx = STACK, STACK + 1, 1
    # repz cmpsb, the last instruction of its page and of its block: 0x10 - 0xf0 is CF alone
    assert bench.run(b"\xf3\xa6", CODE + 0xFFE)[-1] == Trap("exception", 14, FETCH[bench.geometry], DATA, 1)
    assert bench.cpu.eflags & 0x8D5 == 1


def test_cpuid_keeps_the_flags_while_a_breakpoint_is_armed(bench: Bench) -> None:
    watch(bench, DATA + 0x100)
    until_interrupt(bench)
    bench.run(b"\xb8\x00\x00\x00\xf0\x01\xc0\x0f\xa2\x9c\x5b" + END)
    assert bench.cpu.ebx & 0x8D5 == 0x85


def test_a_budget_that_ends_after_the_access_reports_it_all_the_same(bench: Bench) -> None:
    watch(bench, DATA)
    until_interrupt(bench)
    bench.code(b"\x40" + absolute("a3") + b"\x40\x40" + END)
    for _ in range(20):
        assert bench.cpu.run(instructions=1) in {RunEnd.BUDGET, RunEnd.STOPPED}
        if bench.traps and bench.traps[-1].vector == 0x20:
            break
    assert [(trap.vector, trap.eip) for trap in bench.traps] == [(1, CODE + 6), (0x20, CODE + 10)]
    assert bench.cpu.eax == 3


def test_every_hit_is_reported_in_place_under_a_rain_of_stops(bench: Bench) -> None:
    rounds = 3000
    # 1: incl (DATA); 3 nops; incl (DATA+4); loop 1b
    body = absolute("ff05") + b"\x90\x90\x90" + absolute("ff05", DATA + 4)
    bench.code(body + b"\xe2" + struct.pack("b", -len(body) - 2) + END)
    bench.cpu.ecx = rounds
    watch(bench, DATA)
    bench.handler.on_trap = lambda trap: bench.cpu.stop() if trap.vector == 0x20 else None
    runs = 0
    with SliceTimer(0.0005) as timer:
        timer.arm(bench.cpu)
        while not (bench.traps and bench.traps[-1].vector == 0x20):
            bench.cpu.run()
            runs += 1
        timer.disarm()
    assert [trap.eip for trap in bench.traps if trap.vector == 1] == [CODE + 6] * rounds
    assert struct.unpack_from("<II", bench.ram.bytes, DATA_MFN << 12) == (rounds, rounds)
    assert runs > 5


def test_a_stop_ends_a_run_that_hits_nothing(bench: Bench) -> None:
    watch(bench, DATA)
    bench.code(b"\x40\xeb\xfd")
    with SliceTimer(0.002) as timer:
        # On a loaded host a slice may be over before its first instruction.
        while bench.cpu.eax <= 1000:
            timer.arm(bench.cpu)
            assert bench.cpu.run() is RunEnd.STOPPED
            timer.disarm()
            assert CODE <= bench.cpu.eip <= CODE + 1


def test_a_stop_in_a_handler_ends_the_run(bench: Bench) -> None:
    watch(bench, DATA)
    trap = bench.run(absolute("a3") + b"\x40" + END)
    assert trap == [Trap("exception", 1, 0, CODE + 5, 1)]

    def disarm_and_stop(trap: Trap) -> None:
        bench.cpu.stop()
        bench.cpu.set_dr(7, 0)

    bench.handler.on_trap = disarm_and_stop
    assert [trap.vector for trap in bench.run()] == [0x20]


def test_watched_linear_memory_follows_its_mapping(bench: Bench) -> None:
    """What is watched is a linear address, wherever it is mapped, and not the frame behind it."""

    def on_trap(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.map(DATA, 30, KERNEL_PAGE)
            bench.map(STACK, DATA_MFN, KERNEL_PAGE)
            bench.cpu.flush_tlb()
        elif trap.vector == 0x20:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    watch(bench, DATA)
    traps = bench.run(absolute("a3") + b"\xcd\x82" + absolute("a3", STACK) + absolute("a3") + END)
    assert [(trap.vector, trap.eip - CODE) for trap in traps] == [(1, 5), (0x82, 7), (1, 17), (0x20, 19)]


def test_armed_in_a_handler_it_fires_in_code_that_was_translated_before(bench: Bench) -> None:
    def on_trap(trap: Trap) -> None:
        if trap.vector == 0x82:
            watch(bench, DATA)
        elif trap.vector == 0x83:
            bench.cpu.set_dr(7, 0)
        elif trap.vector == 0x20:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.cpu.ecx = 1
    # 1: store; int $0x82; store; int $0x83; store
    traps = bench.run(absolute("a3") + b"\xcd\x82" + absolute("a3") + b"\xcd\x83" + absolute("a3") + END)
    assert [trap.vector for trap in traps] == [0x82, 1, 0x83, 0x20]


def test_arming_and_disarming_again_and_again_adds_no_hooks(bench: Bench) -> None:
    def on_trap(trap: Trap) -> None:
        if trap.vector == 0x82:
            watch(bench, DATA)
        elif trap.vector == 0x83:
            bench.cpu.set_dr(7, 0)
        elif trap.vector == 0x20:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.cpu.ecx = 200
    loop = b"\xcd\x82" + absolute("a3") + b"\xcd\x83"
    bench.run(loop + b"\xe2" + struct.pack("b", -len(loop) - 2) + END)
    assert sum(trap.vector == 1 for trap in bench.traps) == 200
    bench.kernel()
    hooks = set()
    for _ in range(50):
        bench.kernel()
        bench.cpu.ecx = 1
        bench.run()
        hooks.add(len(bench.cpu._engine._hooks))
    assert len(hooks) <= 2


def test_nothing_is_watched_any_more_once_breakpoints_are_disabled(bench: Bench) -> None:
    until_interrupt(bench)
    watch(bench, DATA + 0x100)
    bench.run(absolute("a3") + END)
    assert bench.cpu._hooks.debug.watching
    bench.cpu.set_dr(7, 0)
    bench.kernel()
    bench.run(absolute("a3") + END)
    assert not bench.cpu._hooks.debug.watching


def test_an_engine_that_hides_its_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_RECORD", 8)
    bounds.bounds_place.cache_clear()
    with pytest.raises(EngineError, match="bounds of a hook"):
        bounds.bounds_place()
    monkeypatch.undo()
    bounds.bounds_place.cache_clear()
    assert bounds.bounds_place() % 8 == 0
