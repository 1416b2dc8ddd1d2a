"""Changing one page-table entry: check the new one, store it, let go of what the old one referred to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.memory.address_space import ACCESSED_DIRTY
from paravane.memory.frames import L1, L2, L3, PAE_XEN_L2, VALIDATED, WRITABLE
from paravane.memory.l1_tables import L1Tables
from paravane.memory.upper_tables import L2Tables, L3Tables, put_upper_entry
from paravane.refusal import Refusal
from paravane.x86 import Pte

if TYPE_CHECKING:
    from paravane.cpu.ram import Ram
    from paravane.memory.owner import Owner
    from paravane.memory.page_types import PageTypes

_L3_ADDED = int(Pte.USER | Pte.RW)
_RW = int(Pte.RW)
_USABLE = VALIDATED | PAE_XEN_L2


def _similar(domain: Owner, old: int, new: int) -> bool:
    """Whether two present entries differ in nothing that was checked."""
    return not (old ^ new) & ~domain.space.unchecked


class PageTables:
    """The page tables in use: the rules of each level, and how one entry changes under them.

    An `index` counts entries from machine address 0, as in `Owner.entries`. Everything that changes an entry
    raises Refusal and has changed nothing then.
    """

    def __init__(self, types: PageTypes, ram: Ram) -> None:
        self._types = types
        self._ram = ram
        self.l1 = L1Tables(types)
        self.l2 = L2Tables(types, ram)
        self.l3 = L3Tables(types, ram)
        types.contents |= {L1: self.l1, L2: self.l2, L3: self.l3}

    def store(self, domain: Owner, index: int, entry: int, *, preserve_ad: bool = False) -> None:
        """Write an entry that was checked. With `preserve_ad`, bits the processor set in the old one stay."""
        if preserve_ad:
            entry |= domain.entries[index] & ACCESSED_DIRTY
        domain.entries[index] = entry
        self._ram.code_changed(index >> domain.space.table_shift)

    def modify_l1(
        self, domain: Owner, index: int, entry: int, pg_owner: int, *, preserve_ad: bool = False
    ) -> None:
        """Set an entry of a validated L1 table of `domain` to map a frame of `pg_owner`."""
        if pg_owner == domain.domid and self.exchange_l1(domain, index, entry, preserve_ad=preserve_ad):
            return
        old = domain.entries[index]
        if entry & 1:
            if not entry & domain.space.refused[1] and _similar(domain, old, entry):
                self.store(domain, index, entry & ~domain.space.dropped, preserve_ad=preserve_ad)
                return
            entry = self.l1.get_entry(entry, domain, pg_owner)
        self.store(domain, index, entry, preserve_ad=preserve_ad)
        self.l1.put_entry(old, domain)

    def exchange_l1(self, domain: Owner, index: int, entry: int, *, preserve_ad: bool = False) -> bool:
        """As `modify_l1` for frames of the domain's own, where nothing about them is out of the ordinary:
        what a kernel does all day, without asking each owner. False: anything else, and nothing was done.

        A frame taken is in use as nothing that a guest must not write, or is mapped to be read; one let go
        stays its owner's. So no type changes, nothing is validated, released or flushed.
        """
        space, entries = domain.space, domain.entries
        if self._ram.code_map[index >> 12 - space.entry_shift]:
            return False
        frames, domid = self._types.frames, domain.domid
        owner, count, uses = frames.owner, frames.count, frames.type_count
        old = entries[index]
        taken = gone = -1
        if entry & 1:
            if entry & (space.refused[1] | space.dropped):
                return False
            if (old ^ entry) & ~space.unchecked:
                taken = (entry & space.geometry.address_mask) >> 12
                if taken >= frames.nr_frames or owner[taken] != domid or count[taken] >= frames.count_limit:
                    return False
                if entry & _RW and (
                    frames.type[taken] != WRITABLE
                    or frames.flags[taken] & _USABLE != VALIDATED
                    or uses[taken] >= frames.count_limit
                ):
                    return False
        if old & 1 and (taken >= 0 or not entry & 1):
            gone = (old & space.geometry.address_mask) >> 12
            if gone >= frames.nr_frames or owner[gone] != domid or count[gone] < 2:
                return False
            if old & _RW:
                uses[gone] -= 1
            count[gone] -= 1
        if taken >= 0:
            if entry & _RW:
                uses[taken] += 1
            count[taken] += 1
        entries[index] = entry | old & ACCESSED_DIRTY if preserve_ad else entry
        return True

    def modify_l2(self, domain: Owner, index: int, entry: int, *, preserve_ad: bool = False) -> None:
        """Set an entry of a validated L2 table of `domain`."""
        table, slot = divmod(index, domain.space.entries)
        if not self.l2.is_guest_slot(table, slot, domain):
            raise Refusal(Errno.EPERM, f"slot {slot} of L2 table {table:#x} is the hypervisor's")
        old = domain.entries[index]
        if entry & 1:
            if not entry & domain.space.refused[2] and _similar(domain, old, entry):
                self.store(domain, index, entry & ~domain.space.dropped, preserve_ad=preserve_ad)
                return
            entry = self.l2.get_entry(entry, table, domain)
        self.store(domain, index, entry, preserve_ad=preserve_ad)
        put_upper_entry(self._types, old, table, domain)

    def modify_l3(self, domain: Owner, index: int, entry: int, *, preserve_ad: bool = False) -> None:
        """Set an entry of a validated L3 table of `domain`; its fourth one never changes."""
        table, slot = divmod(index, domain.space.entries)
        if slot >= 3:
            raise Refusal(
                Errno.EINVAL, f"slot {slot} of L3 table {table:#x} cannot change while it is in use"
            )
        old = domain.entries[index]
        if entry & 1:
            refused = entry & domain.space.refused[3]
            if not refused and _similar(domain, old, entry | _L3_ADDED):
                self.store(domain, index, entry | _L3_ADDED, preserve_ad=preserve_ad)
                return
            entry = self.l3.get_entry(entry, slot, domain)
        self.store(domain, index, entry, preserve_ad=preserve_ad)
        put_upper_entry(self._types, old, table, domain)

    def modify(
        self, domain: Owner, kind: int, index: int, entry: int, pg_owner: int, *, preserve_ad: bool = False
    ) -> None:
        """Set an entry of a validated page table of type `kind`.

        Upper levels are remembered by every processor that runs these tables: they all forget.
        """
        if kind == L1:
            self.modify_l1(domain, index, entry, pg_owner, preserve_ad=preserve_ad)
            return
        if pg_owner != domain.domid:
            raise Refusal(
                Errno.EINVAL, f"an L{kind} table of d{domain.domid} cannot refer to frames of d{pg_owner}"
            )
        change = self.modify_l2 if kind == L2 else self.modify_l3
        change(domain, index, entry, preserve_ad=preserve_ad)
        domain.flush_tlb()
