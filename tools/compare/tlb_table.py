"""A comparison of TLBs as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.tlb import TlbKind
from paravane.text import shown
from paravane.tlb.spec import TlbSpec
from paravane.tools.compare.table import aligned, reasons

if TYPE_CHECKING:
    from paravane.tools.compare.tlb_costs import TlbCosts
    from paravane.tools.compare.tlbs import TlbComparison

_HEADS: Final = (
    *("phase", "TLB", "misses", "evictions", "flushes", "of a space", "of a page", "exits", "hypercalls"),
    "us",
)


def tlb_table(comparison: TlbComparison) -> list[str]:
    """Its lines: what each phase costs with each TLB, the reasons of the exits, and what else was asked
    for."""
    rows: list[tuple[str, ...]] = [_HEADS]
    for name, costs in comparison.rows():
        rows += [
            (name if at == 0 else "", kind.name, *_cells(one)) for at, (kind, one) in enumerate(costs.items())
        ]
    size = TlbSpec(TlbKind.hardware, comparison.entries, comparison.ways).size
    lines = [
        f"{shown(comparison.kernel)} on three TLBs of {size}; all traps in Python",
        "",
        *aligned(rows, 2),
        "",
        "what the exits were for:",
    ]
    for name, costs in comparison.rows():
        lines.append(name)
        for kind, one in costs.items():
            lines += reasons(kind.name, one.costs)
    if comparison.seconds is not None:
        hardware, *others = (comparison.seconds[kind] for kind in TlbKind)
        software, tagged = (f"{seconds / hardware:.1f} times" for seconds in others)
        lines += [
            "",
            f"host: with the software TLB it takes {software} as long as with the hardware one here, now, "
            f"and with the tagged one {tagged}",
        ]
    return lines


def _cells(costs: TlbCosts) -> tuple[str, ...]:
    tlb = costs.tlb
    counts = (tlb["misses"], tlb["evictions"], tlb["flushes"], tlb["asn_flushes"], tlb["page_flushes"])
    return (*map(str, (*counts, costs.nr_exits, costs.hypercalls)), f"{costs.costs.nanoseconds / 1000:.1f}")
