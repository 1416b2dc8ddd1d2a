"""`bench memory`: page-table work of a guest, and stores (kernels/memory.S)."""

from __future__ import annotations

from typing import Final

from paravane.tools.bench.row import Floor, Routine, Row, engine, guest, without_hypervisor

BATCHES: Final = (1, 16, 128, 512)
"""Requests in a list of mmu_update."""

STORES: Final = 1000
"""In a turn of the rows that store."""

_TRAP: Final = engine("trap", "trap")
_TWO_TRAPS: Final = engine("2 traps", "traps_2")
_TRAP_FLUSH: Final = engine("trap, mov %cr3", "trap_flush")


def _routine(name: str, operations: int = 1, traps: int = 1) -> Routine:
    return Routine("memory", name, operations, traps)


def _batch(kind: str, what: str, size: int, calls: int) -> Row:
    stores = "store" if size == 1 else f"{size} stores"
    floor = engine(f"trap, {stores}", f"trap_stores_{size}")
    return guest(f"{kind}-{size}", what, floor, _routine(f"{kind}_{size}", calls, calls))


def _stores(kind: str, what: str, is_floor: str) -> Row:
    floor: Floor = without_hypervisor(is_floor, _routine(f"{kind}_to_plain_page", STORES))
    return guest(f"code-{kind}", what, floor, _routine(f"{kind}_to_code", STORES))


ROWS: Final = (
    *(
        _batch("unchanged", f"mmu_update with a list of {size}, of which none changes anything", size, 1)
        for size in BATCHES
    ),
    *(
        _batch("changed", f"mmu_update with a list of {size}, which unmap pages or map them again", size, 2)
        for size in BATCHES
    ),
    guest(
        "va-mapping",
        "update_va_mapping with invlpg, which unmaps a page or maps it again",
        engine("trap, store, invlpg", "trap_store_invlpg"),
        _routine("va_mapping", 2, 2),
    ),
    guest(
        "pte-store",
        "a plain store to a page table, emulated, which does the same",
        _TRAP,
        _routine("stores", 2, 2),
    ),
    guest("new-baseptr", "NEW_BASEPTR", _TRAP_FLUSH, _routine("base_pointer")),
    guest("pin-unpin", "an empty level 1 table pinned and unpinned", _TWO_TRAPS, _routine("pins", 1, 2)),
    guest("tlb-flush", "TLB_FLUSH_LOCAL", _TRAP_FLUSH, _routine("flushes")),
    guest("invlpg", "INVLPG_LOCAL", engine("trap, invlpg", "trap_invlpg"), _routine("page_flushes")),
    _stores("stores", "a store to a page that may be executed", "store to an NX page"),
    _stores("strings", "a word of rep stosl to one", "rep stosl to an NX page"),
)
"""In the order of the table."""
