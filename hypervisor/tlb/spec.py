"""What TLB a domain's processors are to have."""

from __future__ import annotations

from typing import Final

from paravane.abi.tlb import TLB_ASNS, TlbKind
from paravane.arguments import check_type
from paravane.classes import dataclass

MOST_ENTRIES: Final = 512
"""Each may need a page table of the hypervisor's own."""


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
    def asns(self) -> int:
        """How many address spaces it tells apart."""
        return TLB_ASNS if self.kind is TlbKind.tagged else 1
