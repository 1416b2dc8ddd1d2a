"""RCL and RCR of memory that faults: the flags stay as they were, or CF would be lost for good."""

from __future__ import annotations

import struct

import pytest

from tests.support.cpu_bench import CODE, DATA, DATA_MFN, KERNEL_PAGE, READ_ONLY, USER, Bench, Trap

pytestmark = pytest.mark.usefixtures("either_state")

INT20 = b"\xcd\x20"
AT = struct.pack("<I", DATA)
RCL_BY_1 = b"\xd1\x15" + AT
ROTATIONS = {
    "rcll $1": RCL_BY_1,
    "rcrl $1": b"\xd1\x1d" + AT,
    "rclb $3": b"\xc0\x15" + AT + b"\x03",
    "rcrw $5": b"\x66\xc1\x1d" + AT + b"\x05",
    "rcrl %cl": b"\xd3\x1d" + AT,
}
VALUE = 0x8000_0081
ARITHMETIC = 0x8D5
FLAGS = (0x202, 0x203, 0x202 | ARITHMETIC, 0x202 | ARITHMETIC & ~1)
USER_BIT = 4


def start_at(bench: Bench, ring: int, flags: int, mapping: int) -> int:
    """In `ring` with these flags, VALUE in a page mapped so; where its code starts."""
    start = CODE if ring == 1 else USER
    bench.map(DATA, DATA_MFN, mapping)
    bench.ram.write(DATA_MFN << 12, struct.pack("<I", VALUE))
    (bench.kernel if ring == 1 else bench.user)(start, flags)
    bench.cpu.ecx = 7
    bench.cpu.flush_tlb()
    return start


@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("name", ROTATIONS)
def test_a_store_that_faults_leaves_the_flags(bench: Bench, name: str, ring: int) -> None:
    user = USER_BIT if ring == 3 else 0
    for flags in FLAGS:
        start = start_at(bench, ring, flags, READ_ONLY | user)
        traps = bench.run(ROTATIONS[name] + INT20, at=start)
        assert traps == [Trap("exception", 14, 3 | user, start, ring)]
        assert bench.cpu.eflags & ARITHMETIC == flags & ARITHMETIC, hex(flags)
        assert bench.ram.words[DATA_MFN << 10] == VALUE


def test_flags_that_were_computed_in_the_same_block_are_kept(bench: Bench) -> None:
    """`cmp`, then the rotation: its CF, and SF, come from the comparison."""
    start = start_at(bench, 1, 0x202, READ_ONLY)
    compare = b"\xb8\x01\x00\x00\x00\x3d\x02\x00\x00\x00"
    traps = bench.run(compare + RCL_BY_1 + INT20, at=start)
    assert traps == [Trap("exception", 14, 3, start + len(compare), 1)]
    assert bench.cpu.eflags & ARITHMETIC == 0x95


@pytest.mark.parametrize("carry", [0, 1])
def test_the_second_try_rotates_in_what_the_first_would_have(bench: Bench, carry: int) -> None:
    def on_trap(trap: Trap) -> None:
        if trap.kind == "interrupt":
            bench.cpu.stop()
        bench.map(DATA, DATA_MFN, KERNEL_PAGE)
        bench.cpu.flush_tlb()

    bench.handler.on_trap = on_trap
    start = start_at(bench, 1, 0x202 | carry, READ_ONLY)
    assert [trap.vector for trap in bench.run(RCL_BY_1 + INT20, at=start)] == [14, 0x20]
    assert bench.ram.words[DATA_MFN << 10] == (VALUE << 1 & 0xFFFFFFFF) | carry
    assert bench.cpu.eflags & 1
