"""L2 and L3 tables: what an upper entry may refer to, the hypervisor's slots, tables that map each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.memory.address_space import flag_names
from paravane.memory.frames import L1, L2, PAE_XEN_L2, VALIDATED
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Pte

if TYPE_CHECKING:
    from paravane.cpu.ram import Ram
    from paravane.memory.owner import Owner
    from paravane.memory.page_types import PageTypes

_L3_ADDED = int(Pte.USER | Pte.RW)
_L3_REMOVED = int(Pte.USER | Pte.RW | Pte.ACCESSED)
_LINEAR_LIMIT = 0x7FFF


def put_upper_entry(types: PageTypes, entry: int, table: int, domain: Owner) -> bool:
    """Drop what an entry of L2 or L3 table `table` refers to; False if that was nothing."""
    mfn = (entry & domain.space.geometry.address_mask) >> 12
    if not entry & 1 or mfn == table:
        return False
    types.put_page_and_type(mfn, table)
    return True


class L2Tables:
    """Takes and drops what L2 entries refer to."""

    def __init__(self, types: PageTypes, ram: Ram) -> None:
        self._types = types
        self._frames = types.frames
        self._ram = ram

    def is_guest_slot(self, table: int, slot: int, domain: Owner) -> bool:
        """Whether slot `slot` of an L2 belongs to the guest and not to the hypervisor."""
        if slot < domain.space.first_xen_slot:
            return True
        return domain.space.root != L2 and not self._frames.flags[table] & PAE_XEN_L2

    def get_entry(self, entry: int, table: int, domain: Owner) -> int:
        """Take what a present L2 entry refers to; gives the entry to store. Raises Refusal."""
        refused = entry & domain.space.refused[2]
        if refused:
            raise Refusal(Errno.EINVAL, f"L2 entry {entry:#x} sets {flag_names(refused)}, which no guest may")
        mfn = (entry & domain.space.geometry.address_mask) >> 12
        try:
            self._types.get_page_and_type(mfn, domain.domid, L1)
        except Refusal as refusal:
            if refusal.errno != Errno.EINVAL or not self._get_linear(entry, mfn, table, domain):
                raise
        return entry & ~domain.space.dropped

    def _get_linear(self, entry: int, mfn: int, table: int, domain: Owner) -> bool:
        """Take an L2 as if it were an L1, read-only, so that a guest sees its tables in a row.

        The entry must not allow writes. Only one level of it: a table that maps others so cannot be mapped so
        itself, which keeps reference cycles out. A table may always map itself, which counts nothing.
        """
        frames = self._frames
        if entry & Pte.RW:
            return False
        if mfn == table:
            return True
        if frames.owner[table] != domain.domid or not frames.owned_by(mfn, domain.domid):
            return False
        if not 0 <= frames.linear[table] < _LINEAR_LIMIT or not -_LINEAR_LIMIT <= frames.linear[mfn] <= 0:
            return False
        if frames.type[mfn] != L2 or not frames.flags[mfn] & VALIDATED or not frames.type_count[mfn]:
            return False
        if frames.type_count[mfn] >= frames.count_limit:
            return False
        frames.linear[table] += 1
        frames.linear[mfn] -= 1
        frames.type_count[mfn] += 1
        frames.count[mfn] += 1
        return True

    def promote(self, table: int, domain: Owner, *, xen_l2: bool) -> None:
        """Take every L1 a table refers to, then write the hypervisor's slots if it has some."""
        space = domain.space
        own = space.first_xen_slot if xen_l2 or space.root == L2 else space.entries
        entries = domain.table(table)
        base = table << space.table_shift
        for slot, entry in enumerate(entries[:own]):
            if not entry & 1:
                continue
            try:
                stored = self.get_entry(entry, table, domain)
            except Refusal as refusal:
                for taken in entries[:slot]:
                    put_upper_entry(self._types, taken, table, domain)
                where = f"entry {slot} of L2 table {table:#x}"
                raise Refusal(refusal.errno, f"{where}: {refusal.sentence}") from None
            if stored != entry:
                domain.entries[base + slot] = stored
        if own < space.entries:
            offset = space.first_xen_slot << space.entry_shift
            self._ram.write((table << PAGE_SHIFT) + offset, domain.xen_slots)

    def demote(self, table: int, domain: Owner) -> None:
        """Drop every L1 a validated table refers to."""
        for slot, entry in enumerate(domain.table(table)):
            if entry & 1 and self.is_guest_slot(table, slot, domain):
                put_upper_entry(self._types, entry, table, domain)


class L3Tables:
    """Takes and drops what the four entries of an L3 refer to."""

    def __init__(self, types: PageTypes, ram: Ram) -> None:
        self._types = types
        self._frames = types.frames
        self._ram = ram

    def get_entry(self, entry: int, slot: int, domain: Owner) -> int:
        """Take the L2 a present L3 entry refers to; gives the entry to store. Raises Refusal."""
        refused = entry & domain.space.refused[3]
        if refused:
            raise Refusal(Errno.EINVAL, f"L3 entry {entry:#x} sets {flag_names(refused)}, which no guest may")
        mfn = (entry & domain.space.geometry.address_mask) >> 12
        self._types.get_page_and_type(mfn, domain.domid, L2, xen_l2=slot == 3)
        return entry | _L3_ADDED

    def promote(self, table: int, domain: Owner, *, xen_l2: bool = False) -> None:
        """Take the four L2 tables. The fourth must be there and belong to this L3 alone: it is the
        hypervisor's.

        The rest of the page is cleared, as Xen does: on 64-bit Xen the processor sees all of it.
        """
        base = table << domain.space.table_shift
        self._ram.write((table << PAGE_SHIFT) + 4 * 8, bytes(PAGE_SIZE - 4 * 8))
        original = domain.entries[base : base + 4].tolist()
        for slot, entry in enumerate(original):
            try:
                if slot == 3:
                    domain.entries[base + 3] = self._get_fourth(entry, domain)
                elif entry & 1:
                    domain.entries[base + slot] = self.get_entry(entry, slot, domain)
            except Refusal as refusal:
                for taken, old in enumerate(original[:slot]):
                    if put_upper_entry(self._types, old, table, domain):
                        domain.entries[base + taken] &= ~_L3_REMOVED
                where = f"entry {slot} of L3 table {table:#x}"
                raise Refusal(refusal.errno, f"{where}: {refusal.sentence}") from None

    def _get_fourth(self, entry: int, domain: Owner) -> int:
        if not entry & 1:
            raise Refusal(
                Errno.EINVAL, "the fourth L3 entry, which carries the hypervisor's mappings, is not present"
            )
        stored = self.get_entry(entry, 3, domain)
        mfn = (entry & domain.space.geometry.address_mask) >> 12
        if self._frames.type_count[mfn] != 1:
            self._types.put_page_and_type(mfn)
            raise Refusal(
                Errno.EINVAL, f"{self._frames.describe(mfn)} is the fourth L2 of another L3 already"
            )
        return stored

    def demote(self, table: int, domain: Owner) -> None:
        """Drop the L2 tables and give the entries their plain PAE look again."""
        base = table << domain.space.table_shift
        for slot, entry in enumerate(domain.entries[base : base + 4].tolist()):
            if put_upper_entry(self._types, entry, table, domain):
                domain.entries[base + slot] = entry & ~_L3_REMOVED
