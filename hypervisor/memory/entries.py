"""Changing one page-table entry: check the new one, store it, let go of what the old one referred to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.memory.frames import L1, L2
from paravane.memory.layout import ACCESSED_DIRTY
from paravane.refusal import Refusal
from paravane.x86 import Pte

if TYPE_CHECKING:
    from paravane.memory.domain_memory import DomainMemory

_L3_ADDED = int(Pte.USER | Pte.RW)


def store(domain: DomainMemory, index: int, entry: int, *, preserve_ad: bool) -> None:
    """Write an entry that was checked. With `preserve_ad`, bits the processor set in the old one stay."""
    if preserve_ad:
        entry |= domain.entries[index] & ACCESSED_DIRTY
    domain.entries[index] = entry
    domain.machine.ram.code_changed(index >> domain.space.table_shift)


def similar(domain: DomainMemory, old: int, new: int) -> bool:
    """Whether two present entries differ in nothing that was checked."""
    return not (old ^ new) & ~domain.space.unchecked


def modify_l1(
    domain: DomainMemory, index: int, entry: int, pg_owner: int, *, preserve_ad: bool = False
) -> None:
    """Set an entry of a validated L1 table of `domain` to map a frame of `pg_owner`. Raises Refusal."""
    l1 = domain.machine.types.l1
    old = domain.entries[index]
    if entry & 1:
        if not entry & domain.space.refused[1] and similar(domain, old, entry):
            store(domain, index, entry & ~domain.space.dropped, preserve_ad=preserve_ad)
            return
        entry = l1.get_entry(entry, domain, pg_owner)
    store(domain, index, entry, preserve_ad=preserve_ad)
    l1.put_entry(old, domain)


def modify_l2(domain: DomainMemory, index: int, entry: int, *, preserve_ad: bool = False) -> None:
    """Set an entry of a validated L2 table of `domain`. Raises Refusal."""
    upper = domain.machine.types.upper
    table, slot = divmod(index, domain.space.entries)
    if not upper.is_guest_slot(table, slot, domain):
        raise Refusal(Errno.EPERM, f"slot {slot} of L2 table {table:#x} is the hypervisor's")
    old = domain.entries[index]
    if entry & 1:
        if not entry & domain.space.refused[2] and similar(domain, old, entry):
            store(domain, index, entry & ~domain.space.dropped, preserve_ad=preserve_ad)
            return
        entry = upper.get_l2_entry(entry, table, domain)
    store(domain, index, entry, preserve_ad=preserve_ad)
    upper.put_entry(old, table, domain)


def modify_l3(domain: DomainMemory, index: int, entry: int, *, preserve_ad: bool = False) -> None:
    """Set an entry of a validated L3 table of `domain`; its fourth one never changes. Raises Refusal."""
    upper = domain.machine.types.upper
    table, slot = divmod(index, domain.space.entries)
    if slot >= 3:
        raise Refusal(Errno.EINVAL, f"slot {slot} of L3 table {table:#x} cannot change while it is in use")
    old = domain.entries[index]
    if entry & 1:
        refused = entry & domain.space.refused[3]
        if not refused and similar(domain, old, entry | _L3_ADDED):
            store(domain, index, entry | _L3_ADDED, preserve_ad=preserve_ad)
            return
        entry = upper.get_l3_entry(entry, slot, domain)
    store(domain, index, entry, preserve_ad=preserve_ad)
    upper.put_entry(old, table, domain)


def modify(
    domain: DomainMemory, kind: int, index: int, entry: int, pg_owner: int, *, preserve_ad: bool = False
) -> None:
    """Set an entry of a validated page table of type `kind`. Raises Refusal."""
    if kind == L1:
        modify_l1(domain, index, entry, pg_owner, preserve_ad=preserve_ad)
    elif pg_owner != domain.domid:
        raise Refusal(
            Errno.EINVAL, f"an L{kind} table of d{domain.domid} cannot refer to frames of d{pg_owner}"
        )
    elif kind == L2:
        modify_l2(domain, index, entry, preserve_ad=preserve_ad)
    else:
        modify_l3(domain, index, entry, preserve_ad=preserve_ad)
