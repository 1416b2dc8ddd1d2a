"""Who fills the TLB makes no difference: random page tables and accesses, by the engine's own fill and in C.

The same accesses are made on two machines. After each of them the trap, the register that was loaded, CR2 and
the Accessed bit of the upper entry are the same, and at the end all of memory is, with the tables.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from paravane.gateway.native import SWITCH, find
from paravane.gateway.vcpu_tlb import VcpuTlb
from paravane.x86 import PAGE_SHIFT, Cr0, Pte
from tests.support.cpu_bench import NX, TABLES, Bench, Trap

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = 4
ACCESSES = 400
FRAMES = 96
# Code lies at the same place in a page that both rings may use; what is accessed is elsewhere.
CODE_PAGE, CODE_FRAME = 0x14000, 20
FIRST, PAGES = 0x40000, 24
DATA_FRAMES = range(40, 60)
SPARE_TABLE = 60
"""A second table of level 1, that a random entry of level 2 leads to."""


def leaf(source: random.Random) -> int:
    """An entry that maps a page: mostly a usual one."""
    entry = source.choice(DATA_FRAMES) << PAGE_SHIFT | Pte.PRESENT
    for bit, chance in ((Pte.RW, 0.7), (Pte.USER, 0.7), (Pte.ACCESSED, 0.5), (Pte.DIRTY, 0.5), (NX, 0.4)):
        entry |= bit if source.random() < chance else 0
    odd = source.random()
    if odd < 0.05:
        entry &= ~Pte.PRESENT
    elif odd < 0.1:
        entry |= 1 << source.randrange(40, 63)
    elif odd < 0.15:
        entry |= 1 << source.choice((3, 4, 7, 8, 9, 10, 11))
    return entry


def upper(source: random.Random) -> int:
    """An entry of level 2 for the pages that are accessed: mostly one that leads to their table."""
    entry = SPARE_TABLE << PAGE_SHIFT | 7
    odd = source.random()
    if odd < 0.1:
        return entry & ~Pte.RW
    if odd < 0.2:
        return entry & ~Pte.USER
    if odd < 0.3:
        return entry | NX
    if odd < 0.34:
        return entry & ~Pte.PRESENT
    if odd < 0.38:
        return entry | 1 << source.randrange(40, 63)
    if odd < 0.42:
        return 7 | Pte.PSE  # two megabytes from 0
    return entry


def access(source: random.Random) -> bytes:
    """A load, a store, both, a string, or a call of what lies there; then `int $0x20`."""
    address = BASE + source.randrange(PAGES) * 0x1000 + source.choice((0, 4, 0x7FD, 0xFFC, 0xFFD, 0xFFF))
    at = struct.pack("<I", address)
    load, store, add = b"\xa1" + at, b"\xa3" + at, b"\x01\x05" + at
    string = b"\xbf" + at + b"\xb9\x03\x00\x00\x00\xf3\xab"
    call = b"\xb8" + at + b"\xff\xd0"
    push = b"\x89\xe5\xbc" + at + b"\x50\x89\xec"
    return source.choice((load, load, store, store, add, string, call, push)) + b"\xcd\x20"


BASE = 0x400000 + FIRST
"""In the reach of the entry of level 2 that changes."""


class Machine:
    """One of the two."""

    def __init__(self, fill: VcpuTlb | None) -> None:
        self.bench = Bench(nr_frames=FRAMES, tlb_fill=fill)
        self.bench.map(CODE_PAGE, CODE_FRAME, 7)
        # Frames are full of functions, `inc %eax; ret`, also those that a large page leads to.
        for mfn in range(DATA_FRAMES.start, FRAMES):
            if mfn != SPARE_TABLE:
                self.bench.ram.write(mfn << PAGE_SHIFT, b"\x40\xc3" * 2048)

    def set_tables(self, entries: list[int], upper_entry: int) -> None:
        quads = self.bench.ram.quads
        first = (SPARE_TABLE << 9) + (FIRST >> PAGE_SHIFT)
        for index, entry in enumerate(entries):
            quads[first + index] = entry
        quads[(TABLES << 9) + 2] = upper_entry
        self.bench.cpu.flush_tlb()

    def make(self, code: bytes, ring: int, cr0: int) -> tuple[list[Trap], int, int, int]:
        bench = self.bench
        (bench.user if ring else bench.kernel)(eip=CODE_PAGE)
        bench.cpu.eax, bench.cpu.cr2 = 7, 0
        if bench.cpu.cr0 != cr0:
            bench.cpu.cr0 = cr0
        traps = bench.run(code, at=CODE_FRAME << PAGE_SHIFT)
        return traps, bench.cpu.eax, bench.cpu.cr2, bench.ram.quads[(TABLES << 9) + 2]


@pytest.fixture
def machines(native: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Machine, Machine, VcpuTlb]:
    monkeypatch.setenv(SWITCH, str(native))
    library = find()
    assert library is not None
    fill = VcpuTlb(library)
    return Machine(None), Machine(fill), fill


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_tables_and_accesses(machines: tuple[Machine, Machine, VcpuTlb], seed: int) -> None:
    source = random.Random(seed)
    engine, native, fill = machines
    usual = engine.bench.cpu.cr0
    faults = 0
    try:
        for turn in range(ACCESSES):
            if turn % 20 == 0:
                entries, upper_entry = [leaf(source) for _ in range(PAGES)], upper(source)
                for machine in (engine, native):
                    machine.set_tables(entries, upper_entry)
            code, ring = access(source), source.randrange(2)
            cr0 = usual & ~Cr0.WP if source.random() < 0.05 else usual
            done = [machine.make(code, ring, cr0) for machine in (engine, native)]
            assert done[0] == done[1], f"access {turn}: {code.hex()} in ring {3 * ring + 1 - ring}"
            faults += done[0][0][-1].vector == 14
        assert engine.bench.ram.bytes == native.bench.ram.bytes
        assert 10 < faults < ACCESSES - 50
        assert fill.filled > 50
    finally:
        engine.bench.close()
        native.bench.close()
