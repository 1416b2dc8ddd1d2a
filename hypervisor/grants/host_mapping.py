"""Grants in a guest's page tables: the L1 entry that maps one, made and taken away (Xen's pv/grant_table.c).

The reference to the frame that a mapping takes is that of its entry. A guest that overwrites the entry itself
lets go of the frame as with any other; what it keeps is a handle that unmaps nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.grant_table import GrantMapFlag, GrantStatus
from paravane.grants.use import GrantRefusal
from paravane.memory.frames import L1
from paravane.x86 import PAGE_SHIFT, Pte

if TYPE_CHECKING:
    from paravane.memory import VcpuPaging

_AVAILABLE: Final = 9
"""Position of the three bits of an entry that are software's."""

_AVAILABLE_FLAGS: Final = 16
"""Position of the three of GNTMAP_guest_avail_mask that become those."""


def create(paging: VcpuPaging, address: int, mfn: int, flags: int) -> None:
    """Map `mfn`, of which the caller has taken a reference (and the writable type) for the entry: at linear
    address `address`, or by the entry at that machine address (GNTMAP_contains_pte). What was mapped there is
    let go. Raises GrantRefusal(general_error)."""
    domain = paging.domain
    index = _entry_at(paging, address, flags)
    old = domain.entries[index]
    domain.machine.tables.store(domain, index, _entry(paging, mfn, flags))
    domain.machine.tables.l1.put_entry(old, domain)


def replace(paging: VcpuPaging, address: int, mfn: int, flags: int, new_address: int = 0) -> None:
    """Take the mapping of `mfn` away that `create` made, or put there what linear address `new_address` maps,
    which then maps nothing. The reference of the entry is the caller's to drop. Raises
    GrantRefusal(general_error); what `new_address` mapped is lost all the same, as in Xen."""
    domain = paging.domain
    if new_address and flags & GrantMapFlag.contains_pte:
        raise _refusal("a mapping by its entry cannot be replaced")
    entry = _steal(paging, new_address) if new_address else 0
    try:
        index = _entry_at(paging, address, flags)
        _check(paging, index, mfn, flags)
    except GrantRefusal:
        domain.machine.tables.l1.put_entry(entry, domain)
        raise
    domain.machine.tables.store(domain, index, entry)
    domain.flush_tlb()


def _entry(paging: VcpuPaging, mfn: int, flags: int) -> int:
    entry = mfn << PAGE_SHIFT | Pte.PRESENT | Pte.ACCESSED | Pte.DIRTY | paging.domain.space.nx
    if flags & GrantMapFlag.application_map:
        entry |= Pte.USER
    if not flags & GrantMapFlag.readonly:
        entry |= Pte.RW
    return entry | (flags >> _AVAILABLE_FLAGS & 7) << _AVAILABLE


def _entry_at(paging: VcpuPaging, address: int, flags: int) -> int:
    """The index of an entry of an own L1 table in use. Raises GrantRefusal(general_error)."""
    domain = paging.domain
    if flags & GrantMapFlag.contains_pte:
        if address & (1 << domain.space.entry_shift) - 1:
            raise _refusal(f"no entry of a table starts at machine address {address:#x}")
        table, index = address >> PAGE_SHIFT, address >> domain.space.entry_shift
    else:
        found = paging.l1_entry(address) if address < 1 << 32 else None
        if found is None:
            raise _refusal(f"{address:#x} has no L1 table to hold an entry")
        table, index = found
    frames = domain.machine.frames
    if not frames.in_use_as(table, domain.domid, L1):
        raise _refusal(f"{frames.describe(table)} is not an L1 table of d{domain.domid} in use")
    return index


def _check(paging: VcpuPaging, index: int, mfn: int, flags: int) -> None:
    """Raises GrantRefusal(general_error) unless the entry maps `mfn` as a grant with these flags."""
    domain = paging.domain
    entry, wanted = domain.entries[index], _entry(paging, mfn, flags)
    if (entry ^ wanted) & (domain.space.geometry.address_mask | Pte.PRESENT | Pte.RW):
        raise _refusal(f"the entry is {entry:#x}, which does not map the grant as {wanted:#x} does")


def _steal(paging: VcpuPaging, address: int) -> int:
    """Take the entry away that maps linear address `address`, with all it holds. Raises
    GrantRefusal(general_error)."""
    domain = paging.domain
    index = _entry_at(paging, address, 0)
    entry = domain.entries[index]
    domain.machine.tables.store(domain, index, 0)
    domain.flush_tlb()
    return entry


def _refusal(sentence: str) -> GrantRefusal:
    return GrantRefusal(GrantStatus.general_error, sentence)
