"""Execution breakpoints in the debug registers."""

import pytest

from paravane.cpu import breakpoints
from tests.support.cpu_bench import CODE, Bench, Trap

pytestmark = pytest.mark.usefixtures("either_state")

INCREMENTS = b"\x40\x40\x40\x40\xcd\x20"


def until_interrupt(bench: Bench) -> None:
    bench.handler.on_trap = lambda trap: bench.cpu.stop() if trap.kind == "interrupt" else None


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_breakpoint_fires_before_its_instruction_and_once(bench: Bench, index: int) -> None:
    until_interrupt(bench)
    seen: list[int] = []
    bench.run(INCREMENTS)
    bench.kernel()
    bench.cpu.eax = 0
    bench.cpu.set_dr(index, CODE + 2)
    bench.cpu.set_dr(7, 1 << 2 * index)
    bench.handler.on_trap = lambda trap: (
        seen.append(bench.cpu.eax) if trap.kind == "exception" else bench.cpu.stop()
    )
    traps = bench.run()
    assert traps == [Trap("exception", 1, 0, CODE + 2, 1), Trap("interrupt", 0x20, 0, CODE + 6, 1)]
    assert seen == [2]
    assert bench.cpu.eax == 4
    assert bench.cpu.get_dr(6) & 0xF == 1 << index


def test_rf_of_a_native_iret_is_for_one_instruction(bench: Bench) -> None:
    """The instruction returned to is not broken at, the next one of the same block is."""
    until_interrupt(bench)
    for index, address in enumerate((CODE + 0x100, CODE + 0x101, CODE + 0x103)):
        bench.cpu.set_dr(index, address)
    bench.cpu.set_dr(7, 0b010101)
    bench.code(INCREMENTS, CODE + 0x100)
    # push $0x10202; push %cs; push $CODE + 0x100; iret
    traps = bench.run(bytes.fromhex("6802020100 0e 6800010100 cf"))
    assert [(trap.vector, trap.eip) for trap in traps] == [
        (1, CODE + 0x101),
        (1, CODE + 0x103),
        (0x20, CODE + 0x106),
    ]
    assert bench.cpu.eax == 4


def test_without_rf_a_native_iret_arrives_at_a_breakpoint(bench: Bench) -> None:
    until_interrupt(bench)
    bench.cpu.set_dr(0, CODE + 0x100)
    bench.cpu.set_dr(7, 1)
    bench.code(INCREMENTS, CODE + 0x100)
    traps = bench.run(bytes.fromhex("6802020000 0e 6800010100 cf"))
    assert [(trap.vector, trap.eip) for trap in traps] == [(1, CODE + 0x100), (0x20, CODE + 0x106)]


def test_breakpoint_in_a_loop_fires_every_time(bench: Bench) -> None:
    until_interrupt(bench)
    bench.cpu.set_dr(0, CODE + 5)
    bench.cpu.set_dr(7, 1)
    # mov $4,%ecx ; 1: inc %eax ; dec %ecx ; jnz 1b ; int $0x20
    traps = bench.run(b"\xb9\x04\x00\x00\x00\x40\x49\x75\xfc\xcd\x20")
    assert [trap.vector for trap in traps] == [1, 1, 1, 1, 0x20]
    assert (bench.cpu.eax, bench.cpu.cr3) == (4, 0x1000)


def test_breakpoint_armed_in_a_handler_fires_in_translated_code(bench: Bench) -> None:
    def arm(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.cpu.set_dr(3, CODE + 3)
            bench.cpu.set_dr(7, 0x80)
        elif trap.vector == 0x20:
            bench.cpu.stop()

    bench.handler.on_trap = arm
    assert [trap.vector for trap in bench.run(b"\xcd\x82\x40\x40\xcd\x20")] == [0x82, 1, 0x20]


def test_a_disabled_breakpoint_does_not_fire(bench: Bench) -> None:
    until_interrupt(bench)
    bench.cpu.set_dr(0, CODE + 1)
    bench.cpu.set_dr(7, 1)
    bench.cpu.set_dr(7, 0)
    assert [trap.vector for trap in bench.run(INCREMENTS)] == [0x20]


@pytest.mark.parametrize(
    ("code", "vector"),
    [
        (b"\x0f\x0b", 6),
        (b"\xec", 13),
        (b"\xee", 13),
        (b"\x0f\x05", 6),
        (b"\x0f\x34", 13),
        (b"\xcd\x21", 0x21),
    ],
    ids=["ud2", "in", "out", "syscall", "sysenter", "int"],
)
@pytest.mark.parametrize("before", [b"", b"\x40"], ids=["there", "just-before"])
def test_breakpoint_at_or_before_what_hooks_see_fires_first(
    bench: Bench, before: bytes, code: bytes, vector: int
) -> None:
    bench.cpu.set_dr(0, CODE)
    bench.cpu.set_dr(7, 1)
    bench.handler.on_trap = lambda trap: bench.cpu.stop() if trap.vector != 1 else None
    at = CODE + len(before)
    end = at + 2 if vector == 0x21 else at
    assert [(trap.vector, trap.eip) for trap in bench.run(before + code)] == [(1, CODE), (vector, end)]


def test_cpuid_after_a_breakpoint_is_asked_for_once(bench: Bench) -> None:
    until_interrupt(bench)
    bench.cpu.set_dr(0, CODE)
    bench.cpu.set_dr(7, 1)
    assert [trap.vector for trap in bench.run(b"\x40\x0f\xa2\xcd\x20")] == [1, 0x20]
    assert bench.handler.leaves == [(1, 0)]


def test_breakpoints_on_neighbours_both_fire(bench: Bench) -> None:
    until_interrupt(bench)
    for index in range(3):
        bench.cpu.set_dr(index, CODE + index)
    bench.cpu.set_dr(7, 0x15)
    traps = bench.run(INCREMENTS)
    assert [(trap.vector, trap.eip - CODE) for trap in traps] == [(1, 0), (1, 1), (1, 2), (0x20, 6)]
    assert bench.cpu.eax == 4


def test_resume_flag_lets_one_instruction_pass(bench: Bench) -> None:
    until_interrupt(bench)
    bench.cpu.set_dr(0, CODE)
    bench.cpu.set_dr(7, 1)
    bench.cpu.eflags = 0x10202
    assert [trap.vector for trap in bench.run(INCREMENTS)] == [0x20]


def test_very_many_addresses_stay_bounded_and_still_fire(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakpoints, "_MOST_HOOKS", 64)
    until_interrupt(bench)
    bench.cpu.set_dr(7, 1)
    for address in range(0x100):
        bench.cpu.set_dr(0, 0x50000 + address)
    hooks = len(bench.cpu._engine._hooks)
    bench.cpu.set_dr(0, CODE + 1)
    assert len(bench.cpu._engine._hooks) == hooks
    assert [trap.vector for trap in bench.run(INCREMENTS)] == [1, 0x20]


def test_there_is_no_debug_register_4_5_or_8(bench: Bench) -> None:
    for index in (-1, 4, 5, 8):
        with pytest.raises(ValueError, match="no debug register"):
            bench.cpu.set_dr(index, 0)
        with pytest.raises(ValueError, match="no debug register"):
            bench.cpu.get_dr(index)
