"""What keeping shadow tables takes: counts that only grow."""

from __future__ import annotations

from paravane.classes import dataclass


@dataclass(slots=True)
class ShadowCounts:
    """`writes` are entries of the tables that the processor walks, `flushes` and `page_flushes` what its TLB
    forgets, all of it or one page, because the guest asked for it. `fills` are pages mapped at faults,
    `stores` the guest's to tables that are write-protected, `loosened` how often one of these seemed to be no
    table any more, and `dropped` the tables that were given up."""

    writes: int = 0
    flushes: int = 0
    page_flushes: int = 0
    fills: int = 0
    stores: int = 0
    loosened: int = 0
    dropped: int = 0
