"""What entries of the shadow tables have to be, by the guest's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.full.shadow_tables import (
    ACCESSED,
    DIRTY,
    ENTRIES,
    MAPPED,
    NOWHERE,
    PRESENT,
    REGION,
    RIGHTS,
    RW,
    USER,
    Source,
)
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Set

    from paravane.full.guest_tables import GuestTables


class ShadowRules:
    """For a guest with `size` bytes of memory. Frames in `protected` cannot be written; `beyond` is the leaf
    for where there is no memory."""

    def __init__(self, guest: GuestTables, size: int, beyond: int, protected: Set[int]) -> None:
        self._guest, self._size, self._beyond, self._protected = guest, size, beyond, protected

    def leaf(self, entry: int, rights: int, *, beside_rights: bool = False) -> int:
        """What shows an entry of a guest's page table, under `rights` of the directory's entry."""
        if entry & (PRESENT | ACCESSED) != PRESENT | ACCESSED or self._guest.is_reserved(entry):
            return 0
        allowed = RW if beside_rights else entry & rights & RIGHTS
        if not entry & DIRTY:
            allowed &= ~RW
        return self.mapping(self._guest.address(entry), allowed)

    def mapping(self, address: int, rights: int) -> int:
        """A leaf for the frame at a physical address."""
        if address >= self._size:
            return self._beyond & ~USER | rights & USER
        if address >> PAGE_SHIFT in self._protected:
            rights &= ~RW
        return address & -PAGE_SIZE | MAPPED | rights

    def is_whole(self, base: int, rights: int) -> bool:
        """Whether a region of a large page, from physical `base` on, can be mapped by one entry."""
        first = base >> PAGE_SHIFT
        return base + REGION <= self._size and not (
            rights & RW and not self._protected.isdisjoint(range(first, first + ENTRIES))
        )

    def shows(self, source: Source, upper: int, half: int) -> bool:
        """Whether what is shown at an entry of a shadow directory is what an entry `upper` of the guest's may
        have there."""
        guest = self._guest
        is_page = guest.is_page(upper)
        if upper & (PRESENT | ACCESSED) != PRESENT | ACCESSED or guest.is_reserved(upper, large=is_page):
            return False
        allowed = upper & RIGHTS
        if not is_page:
            return source == Source(guest.address(upper) >> PAGE_SHIFT, half, allowed, large=False)
        beside_rights = guest.may_ignore_rights and upper & (DIRTY | RW) == DIRTY and source.rights == RW
        if not upper & DIRTY:
            allowed &= ~RW
        here = source.large and source.frame == self.region(guest.page(upper) + half * REGION)
        return here and (source.rights == allowed or beside_rights)

    def region(self, base: int) -> int:
        """The first frame of the region at physical `base`; all without memory are one."""
        return (base if base < self._size else NOWHERE) >> PAGE_SHIFT
