"""IRET and POPF with EFLAGS.VM set, outside ring 0: the bit is ignored, as on a processor."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import RunEnd
from tests.support.cpu_bench import (
    CODE,
    DATA,
    DATA_MFN,
    KERNEL_CS,
    KERNEL_DS,
    KERNEL_PAGE,
    STACK,
    USER,
    USER_CS,
    USER_DS,
    USER_PAGE,
    Bench,
    Trap,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

VM, TF = 1 << 17, 1 << 8
FLAGS = 0x246
IRET = b"\xcf"
EVIL_MFN = 30


@pytest.fixture
def machine(either_state: None) -> Iterator[Bench]:
    """A machine whose lowest page, where virtual-8086 code would run, says so."""
    bench = Bench()
    bench.map(0, EVIL_MFN, USER_PAGE)
    bench.ram.write(EVIL_MFN << 12, b"\xcd\x66" * 2048)
    yield bench
    bench.close()


def push(*values: int) -> bytes:
    """Push so that the last one is on top."""
    return b"".join(b"\x68" + struct.pack("<I", value) for value in values)


def enter(machine: Bench, ring: int) -> tuple[int, int, int]:
    """Be in `ring`; where its code starts, its CS and its stack pointer."""
    if ring == 1:
        machine.kernel()
        return CODE, KERNEL_CS, STACK + 0x1000
    machine.user()
    return USER, USER_CS, USER + 0x1000


@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("cs", [0, 3, 0x1000, 0x0FFB], ids=hex)
def test_a_bad_cs_is_refused_at_the_iret(machine: Bench, ring: int, cs: int) -> None:
    start, _, esp = enter(machine, ring)
    code = push(0, 0, 0, 0, 0, 0, VM | FLAGS, cs, 0x20) + IRET
    expected = Trap("exception", 13, cs & ~3, start + len(code) - 1, ring)
    assert machine.run(code, at=start) == [expected]
    assert (machine.cpu.esp, machine.cpu.ss) == (esp - 36, USER_DS if ring == 3 else KERNEL_DS)
    assert not machine.cpu.eflags & VM


LONGER_THAN_THE_ENGINE_TAKES_THEM = {
    "movmskps -49(%ebp)": "0f5045cf",
    "psrlw": "0f715590cf",
    "psrldq": "660f735d90cf",
    "pslld in 16 bits": "670f7275cfcf",
}


@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("code", LONGER_THAN_THE_ENGINE_TAKES_THEM.values())
def test_no_iret_hides_in_an_instruction_that_the_engine_takes_for_shorter(
    machine: Bench, code: str, ring: int
) -> None:
    """The engine would go on in the middle of one undefined instruction, at an IRET without a hook."""
    start, cs, _ = enter(machine, ring)
    machine.cpu.ebp = machine.cpu.edi = DATA
    before = push(1, 2, 3, 4, 5, 6, VM | FLAGS, cs, start + 0x100)
    expected = Trap("exception", 6, 0, start + len(before), ring)
    assert machine.run(before + bytes.fromhex(code) + IRET, at=start) == [expected]


@pytest.mark.parametrize("ring", [1, 3])
def test_three_words_are_popped(machine: Bench, ring: int) -> None:
    start, cs, esp = enter(machine, ring)
    target = start + 0x100
    machine.code(b"\x90\xcd\x20", target)
    code = push(1, 2, 3, 4, 5, 6, VM | FLAGS, cs, target) + IRET
    assert machine.run(code, at=start) == [Trap("interrupt", 0x20, 0, target + 3, ring)]
    assert machine.cpu.esp == esp - 24
    assert machine.cpu.eflags & 0xFFFF == FLAGS
    assert (machine.cpu.ds, machine.cpu.es) == ((USER_DS,) * 2 if ring == 3 else (KERNEL_DS,) * 2)


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "unmapped"])
def test_it_is_ignored_each_time(machine: Bench, mapped: bool) -> None:
    """What the engine translated in virtual-8086 mode, and what it found unmapped there, is never reached."""
    if not mapped:
        machine.set_pte(0, 0)
        machine.cpu.flush_tlb()
    machine.kernel()
    target = CODE + 0x40
    code = push(0, 0, 0, 0, 0, 0, VM | FLAGS, KERNEL_CS, target) + IRET
    # add $24,%esp; dec %esi; jnz back; int $0x20
    machine.code(b"\x83\xc4\x18\x4e\x75" + bytes([CODE - (target + 6) & 0xFF]) + b"\xcd\x20", target)
    machine.cpu.esi = 20
    assert machine.run(code) == [Trap("interrupt", 0x20, 0, target + 8, 1)]
    assert machine.cpu.esp == STACK + 0x1000


def test_a_kernel_returns_to_its_application(machine: Bench) -> None:
    machine.kernel()
    machine.code(b"\x90\xcd\x20", USER + 0x200)
    code = push(USER_DS, USER + 0x800, VM | FLAGS, USER_CS, USER + 0x200) + IRET
    assert machine.run(code) == [Trap("interrupt", 0x20, 0, USER + 0x203, 3)]
    assert (machine.cpu.esp, machine.cpu.ss) == (USER + 0x800, USER_DS)
    assert machine.cpu.ds == 0  # too privileged for ring 3


def test_an_application_reaches_no_inner_ring(machine: Bench) -> None:
    start, _, _ = enter(machine, 3)
    code = push(KERNEL_DS, STACK, VM | FLAGS, KERNEL_CS, CODE) + IRET
    assert machine.run(code, at=start) == [Trap("exception", 13, KERNEL_CS & ~3, start + len(code) - 1, 3)]


def test_a_single_step_over_it_reports_right_after_it(machine: Bench) -> None:
    machine.kernel()
    target = CODE + 0x100
    machine.code(b"\x90\x90", target)
    code = push(VM | FLAGS, KERNEL_CS, target) + b"\x9c\x81\x0c\x24\x00\x01\x00\x00\x9d" + IRET
    assert machine.run(code) == [Trap("exception", 1, 0, target, 1)]
    assert machine.cpu.get_dr(6) & 1 << 14


def test_a_step_asked_for_by_the_image_comes_after_one_instruction(machine: Bench) -> None:
    machine.kernel()
    target = CODE + 0x100
    machine.code(b"\x90\x90", target)
    code = push(VM | TF | FLAGS, KERNEL_CS, target) + IRET
    assert machine.run(code) == [Trap("exception", 1, 0, target + 1, 1)]


@pytest.mark.parametrize("image", [FLAGS, VM | FLAGS], ids=["without", "with"])
def test_flags_of_the_instruction_before_are_those_of_the_fault(machine: Bench, image: int) -> None:
    machine.kernel()
    # xor %eax,%eax; dec %eax: SF, AF and PF
    code = push(image, 0, 0) + b"\x31\xc0\x48" + IRET
    assert machine.run(code) == [Trap("exception", 13, 0, CODE + len(code) - 1, 1)]
    assert machine.cpu.eflags & 0x8D5 == 0x94


def test_a_stack_that_ends_is_a_page_fault(machine: Bench) -> None:
    machine.kernel()
    machine.set_pte(STACK + 0x1000, 0)
    machine.cpu.flush_tlb()
    machine.ram.words[(machine.cpu.translate(STACK + 0xFFC)) >> 2] = CODE
    machine.cpu.esp = STACK + 0xFFC
    assert machine.run(IRET) == [Trap("exception", 14, 0, CODE, 1)]
    assert machine.cpu.cr2 == STACK + 0x1000


def test_an_operand_of_16_bits_has_no_such_flag(machine: Bench) -> None:
    machine.kernel()
    machine.map(DATA, DATA_MFN, KERNEL_PAGE)
    code = b"\x66\x68\x02\x02\x66\x68\x09\x00\x66\x68\x20\x00\x66" + IRET
    traps = machine.run(code)
    assert traps[0].kind == "interrupt"
    assert traps[0] == Trap("interrupt", 0x66, 0, 0x22, 1)


@pytest.mark.parametrize("ring", [1, 3])
def test_popf_ignores_it(machine: Bench, ring: int) -> None:
    start, _, _ = enter(machine, ring)
    assert machine.run(push(VM | FLAGS) + b"\x9d\x90\xcd\x20", at=start)[0].vector == 0x20
    assert not machine.cpu.eflags & VM


def test_a_budget_and_a_stop_change_nothing(machine: Bench) -> None:
    machine.kernel()
    target = CODE + 0x100
    machine.code(b"\x90\xcd\x20", target)
    code = push(VM | FLAGS, KERNEL_CS, target) + IRET
    machine.code(code)
    ends = []
    while not machine.traps:
        ends.append(machine.cpu.run(instructions=1))
        assert not machine.cpu._words[machine.cpu._layout.eflags] & VM
        assert len(ends) < 20
    assert set(ends) <= {RunEnd.BUDGET, RunEnd.STOPPED}
    assert machine.traps == [Trap("interrupt", 0x20, 0, target + 3, 1)]


def test_many_places_are_watched_by_one_hook(machine: Bench) -> None:
    """A guest with hundreds of different IRETs is slow, but not let through."""
    for number in range(100):
        start = CODE + 8 * number
        machine.kernel(start)
        machine.cpu.esp = STACK + 0x800
        machine.ram.write(
            machine.cpu.translate(STACK + 0x800), struct.pack("<9I", 0x20, 0, VM | FLAGS, *[0] * 6)
        )
        assert machine.run(IRET, at=start) == [Trap("exception", 13, 0, start, 1)]
    assert machine.cpu._hooks._before._everywhere
