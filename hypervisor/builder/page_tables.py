"""The contents of a new domain's page tables, made with whole-array operations.

Entries carry the flags that Xen's toolstack gives them: leaf entries Present, R/W, Accessed (no User: ring 1
is supervisor to paging); upper entries Present, R/W, User, Accessed, Dirty. Page tables are mapped read-only.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Final

from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Pte

if TYPE_CHECKING:
    from paravane.builder.start_layout import StartLayout, TableRun

LEAF_FLAGS: Final = Pte.PRESENT | Pte.RW | Pte.ACCESSED
READ_ONLY_LEAF_FLAGS: Final = Pte.PRESENT | Pte.ACCESSED
UPPER_FLAGS: Final = Pte.PRESENT | Pte.RW | Pte.USER | Pte.ACCESSED | Pte.DIRTY


def page_table_pages(layout: StartLayout, p2m: array[int]) -> list[tuple[int, bytes]]:
    """(pfn, contents) of every page-table page of the plan. `p2m[pfn]` is the mfn of each pfn."""
    pages: list[tuple[int, bytes]] = []
    size = layout.geometry.entry_size
    for run, below in zip(layout.tables, (*layout.tables[1:], None), strict=True):
        if below is None:
            first = layout.virt_base >> PAGE_SHIFT
            entries = _leaf_entries(layout, p2m)
        else:
            first = below.first
            entries = make_entries(p2m[below.region.pfn : below.region.end], UPPER_FLAGS, size)
        pages += _cut(run, first, entries, size)
    return pages


def make_entries(mfns: array[int], flags: int, entry_size: int) -> bytes:
    """Page-table entries of `entry_size` bytes, one for each mfn, all with the same flags."""
    lanes = array("Q" if entry_size == 8 else "I", mfns)
    # One shift and one OR over all entries at once: an mfn has 20 bits, so no lane spills into its neighbour.
    ones = int.from_bytes((1).to_bytes(entry_size, "little") * len(lanes), "little")
    value = int.from_bytes(lanes.tobytes(), sys.byteorder) << PAGE_SHIFT | ones * flags
    return value.to_bytes(len(lanes) * entry_size, "little")


def _leaf_entries(layout: StartLayout, p2m: array[int]) -> bytes:
    size, tables = layout.geometry.entry_size, layout.page_tables
    entries = bytearray(make_entries(p2m[: layout.mapped_pages], LEAF_FLAGS, size))
    read_only = make_entries(p2m[tables.pfn : tables.end], READ_ONLY_LEAF_FLAGS, size)
    entries[tables.pfn * size : tables.end * size] = read_only
    return bytes(entries)


def _cut(run: TableRun, first: int, entries: bytes, size: int) -> list[tuple[int, bytes]]:
    """Entries of a whole level, the first for number `first` of what one maps, as the pages of its tables."""
    lead = (first * size) - run.first * PAGE_SIZE
    contents = bytes(lead) + entries
    contents += bytes(run.region.pages * PAGE_SIZE - len(contents))
    return [
        (run.region.pfn + i, contents[i * PAGE_SIZE : (i + 1) * PAGE_SIZE]) for i in range(run.region.pages)
    ]
