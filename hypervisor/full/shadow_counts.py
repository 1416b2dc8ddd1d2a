"""What keeping shadow tables takes: counts that only grow."""

from __future__ import annotations

from paravane.classes import dataclass


@dataclass(slots=True)
class ShadowCounts:
    """`writes` are entries of the tables that the processor walks, `flushes` and `page_flushes` what its TLB
    forgets, all of it or one page, because the guest asked for it."""

    writes: int = 0
    flushes: int = 0
    page_flushes: int = 0
