"""What TLB a domain's processors are to have."""

from __future__ import annotations

from typing import Final

from paravane.abi.tlb import TLB_ASNS, TlbKind
from paravane.arguments import check_type
from paravane.classes import dataclass
from paravane.x86 import PAGE_SHIFT

MOST_ENTRIES: Final = 512
"""Each may need a page table of the hypervisor's own."""

IN_FLIGHT: Final = 8
"""Pages that one instruction may need at the same time: itself, what it reads, what it writes and one pointer
more, each across the end of a page. A processor that has translated an address goes on with what it found,
whatever its TLB has forgotten since; here the instruction is begun again after each miss, and has to find all
of them then."""

UPPER_TABLES: Final = 4
"""The engine's own above those of level 1: one of level 3, and those of level 2 below the kernel's area."""


@dataclass(frozen=True, slots=True)
class TlbSpec:
    """A TLB of `entries` translations of 4 KiB pages, `ways` of them in each set.

    `hardware`: the processor refills it from page tables, and forgets all when it gets other ones, as x86's
    without PCIDs. `software`: the kernel refills it, as that of MIPS and Alpha. `tagged`: the processor
    refills it, and entries say whose they are, so that a switch forgets nothing.
    """

    kind: TlbKind
    entries: int = 64
    ways: int = 4

    def __post_init__(self) -> None:
        """Raises TypeError for a value of a wrong type, and ValueError for a TLB that cannot be."""
        check_type("kind", self.kind, TlbKind)
        check_type("entries", self.entries, int)
        check_type("ways", self.ways, int)
        if not 1 <= self.entries <= MOST_ENTRIES:
            raise ValueError(f"a TLB has from 1 to {MOST_ENTRIES} entries, not {self.entries}")
        if self.ways < 1 or self.entries % self.ways:
            raise ValueError(f"{self.entries} entries make no whole sets of {self.ways}")

    @property
    def size(self) -> str:
        """In words."""
        entries = "1 entry" if self.entries == 1 else f"{self.entries} entries"
        return f"{entries}, {self.ways} way{'s' * (self.ways > 1)}"

    @property
    def most_shown(self) -> int:
        """Pages that the engine can see at a time: what is held, what is in flight, and the one that is about
        to be the latest of these."""
        return self.entries + IN_FLIGHT + 1

    @property
    def overhead(self) -> int:
        """Bytes of the hypervisor's memory that each processor's takes."""
        return (UPPER_TABLES + self.most_shown) << PAGE_SHIFT

    @property
    def asns(self) -> int:
        """How many address spaces it tells apart."""
        return TLB_ASNS if self.kind is TlbKind.tagged else 1
