"""PCMPxSTRx where the engine would die or be wrong: done by the hypervisor, as a processor does them.

That `compare` is what a processor does is shown by `tests/guests/test_processor_differential.py`; here the
engine, left alone wherever it can be, has to agree with it, and what surrounds the result has to be right.
"""

from __future__ import annotations

import random
import struct

import pytest

from paravane.cpu import string_compare
from paravane.cpu.instructions import decode
from paravane.x86 import Cr0, Dr6
from tests.support.cpu_bench import (
    CODE,
    DATA,
    DATA_MFN,
    KERNEL_PAGE,
    NX,
    STACK_MFN,
    USER,
    Bench,
    Trap,
)

pytestmark = pytest.mark.usefixtures("either_state")

INT20 = b"\xcd\x20"
LOWEST = 0x80000000
LENGTHS = (0, 1, 5, 15, 16, 17, 0x7FFFFFFF, LOWEST, LOWEST + 1, 0xFFFFFFFF, 0xFFFFFFF0, 0xFFFFFFFB)
ARITHMETIC = 0x8D5
OPCODES = {"pcmpestrm": 0x60, "pcmpestri": 0x61, "pcmpistrm": 0x62, "pcmpistri": 0x63}
ORDERED = 0x0C
TO_MEMORY = b"\x0d" + struct.pack("<I", DATA + 0xFF8)
"""The second operand lies on two pages."""


def code_of(name: str, control: int, operand: bytes = b"\xca") -> bytes:
    """With %xmm1 as the first operand and as the second %xmm2, or what `operand` says."""
    return bytes((0x66, 0x0F, 0x3A, OPCODES[name])) + operand + bytes((control,))


@pytest.mark.parametrize("name", OPCODES)
def test_every_kind_of_comparison(bench: Bench, name: str) -> None:
    chosen, cpu = random.Random(name), bench.cpu
    for control in range(128):
        alphabet = chosen.choice((b"ab\0", b"abc", b"a", b"\x80\x7f\0a"))
        first, second = (bytes(chosen.choices(alphabet, k=16)) for _ in range(2))
        eax, edx = chosen.choice(LENGTHS), chosen.choice(LENGTHS)
        bench.kernel()
        cpu.write_xmm(1, first)
        cpu.write_xmm(2, second)
        cpu.eax, cpu.edx, cpu.ecx = eax, edx, 0x1234
        code = code_of(name, control)
        expected = string_compare.compare(decode(code), control, first, second, eax, edx)
        assert bench.run(code + INT20) == [Trap("interrupt", 0x20, 0, CODE + len(code) + 2, 1)]
        given = cpu.ecx if name.endswith("i") else int.from_bytes(cpu.read_xmm(0), "little")
        assert (given, cpu.eflags & ARITHMETIC) == (expected.value, expected.flags), (control, eax, edx)
        assert (cpu.eax, cpu.edx) == (eax, edx)
        assert cpu.read_xmm(1) + cpu.read_xmm(2) == first + second


def test_what_is_partly_found_at_the_end_of_an_operand_counts(bench: Bench) -> None:
    """How a substring that goes on in the next 16 bytes is found."""
    cpu = bench.cpu
    cpu.write_xmm(1, b"needle".ljust(16, b"\0"))
    cpu.write_xmm(2, b"a haystack, need")
    code = code_of("pcmpistri", ORDERED)
    bench.run(code + INT20)
    assert (cpu.ecx, cpu.eflags & 1) == (12, 1)


@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("length", [5, LOWEST])
def test_an_operand_in_memory_may_lie_on_two_pages(bench: Bench, ring: int, length: int) -> None:
    start, cpu = (CODE, bench.cpu) if ring == 1 else (USER, bench.cpu)
    bench.map(DATA, DATA_MFN, KERNEL_PAGE | 4)
    bench.map(DATA + 0x1000, STACK_MFN, KERNEL_PAGE | 4)
    bench.ram.write((DATA_MFN << 12) + 0xFF8, b"01234567")
    bench.ram.write(STACK_MFN << 12, b"89abcdef")
    (bench.kernel if ring == 1 else bench.user)(start)
    cpu.write_xmm(1, b"9ab".ljust(16, b"\0"))
    cpu.eax, cpu.edx = 3, length
    bench.run(code_of("pcmpestri", ORDERED, TO_MEMORY) + INT20, at=start)
    assert cpu.ecx == (9 if length == LOWEST else 16)


@pytest.mark.parametrize("ring", [1, 3])
def test_an_operand_that_is_not_there_is_a_page_fault(bench: Bench, ring: int) -> None:
    start = CODE if ring == 1 else USER
    bench.map(DATA, DATA_MFN, KERNEL_PAGE | 4)
    bench.set_pte(DATA + 0x1000, 0)
    (bench.kernel if ring == 1 else bench.user)(start)
    if ring == 1:
        bench.cpu.esp = DATA + 0x800
    bench.cpu.eax = bench.cpu.edx = LOWEST
    before = bench.cpu.gprs()
    traps = bench.run(code_of("pcmpestri", 0, TO_MEMORY) + INT20, at=start)
    assert traps == [Trap("exception", 14, 4 if ring == 3 else 0, start, ring)]
    assert bench.cpu.cr2 == DATA + 0x1000
    assert bench.cpu.gprs() == before


def test_an_application_does_not_reach_its_kernels_memory(bench: Bench) -> None:
    bench.user()
    bench.cpu.eax = bench.cpu.edx = LOWEST
    at = struct.pack("<I", DATA)
    traps = bench.run(code_of("pcmpestri", 0, b"\x0d" + at) + INT20, at=USER)
    assert traps == [Trap("exception", 14, 5, USER, 3)]


def test_a_single_step_reports_after_it(bench: Bench) -> None:
    bench.kernel(CODE, 0x302)
    code = code_of("pcmpistri", ORDERED)
    assert bench.run(code + INT20) == [Trap("exception", 1, 0, CODE + len(code), 1)]
    assert bench.cpu.get_dr(6) & Dr6.BS


def test_with_the_task_switched_it_is_the_fpus_fault(bench: Bench) -> None:
    bench.run(code_of("pcmpistri", ORDERED) + INT20)
    bench.kernel()
    bench.cpu.cr0 |= Cr0.TS
    assert bench.run() == [Trap("exception", 7, 0, CODE, 1)]


def test_what_follows_in_its_block_is_executed_once(bench: Bench) -> None:
    """The engine is on its way through the block when the instruction is done: nothing of it may stay."""
    bench.map(DATA, DATA_MFN, KERNEL_PAGE | NX)
    # incl counter, on both sides
    increment = b"\xff\x05" + struct.pack("<I", DATA)
    code = increment + code_of("pcmpistri", ORDERED) + increment + b"\x40" + INT20
    assert [trap.vector for trap in bench.run(code)] == [0x20]
    assert (bench.ram.words[DATA_MFN << 10], bench.cpu.eax) == (2, 1)


def test_hundreds_of_places(bench: Bench) -> None:
    bench.map(CODE + 0x1000, DATA_MFN, KERNEL_PAGE)
    code = (code_of("pcmpistri", ORDERED) + b"\x43") * 200
    bench.kernel()
    assert bench.run(code + INT20) == [Trap("interrupt", 0x20, 0, CODE + len(code) + 2, 1)]
    assert bench.cpu.ebx == 200
