"""The guest's page tables as data: what an entry means by CR0, CR3 and CR4 as they are (SDM volume 3, chapter
4). Nothing is marked in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.x86 import PAGE_SHIFT, Cr0, Cr4, Pte

if TYPE_CHECKING:
    from paravane.full.physical_memory import PhysicalMemory
    from paravane.full.state import PrivilegedState

PAE_RESERVED: Final = 0xFFFFFFFF_00000000
"""In entries of 8 bytes: physical addresses have 32 bits, and there is no right not to execute."""

RESERVED_IN_LARGE: Final = 0x3FE000
"""In an entry that is a page of 2 or 4 MiB, as far as they are below its address; PSE-36 is not there."""

_PRESENT, _LARGE = int(Pte.PRESENT), int(Pte.PSE)
_ADDRESS: Final = 0xFFFFF000


class GuestTables:
    """Tables of two levels, whose page tables have 1024 entries of 4 bytes, or PAE's, with 512 of 8."""

    def __init__(self, physical: PhysicalMemory, state: PrivilegedState) -> None:
        self._physical, self._state = physical, state

    @property
    def pae(self) -> bool:
        return self._state.cr4 & Cr4.PAE != 0

    @property
    def entry_size(self) -> int:
        """Bytes."""
        return 8 if self.pae else 4

    @property
    def halves(self) -> int:
        """How many tables of 512 entries one table of the guest's is."""
        return 1 if self.pae else 2

    @property
    def root(self) -> int:
        """The physical address in CR3."""
        return self._state.cr3 & (0xFFFFFFE0 if self.pae else 0xFFFFF000)

    @property
    def may_ignore_rights(self) -> bool:
        """Ring 0 stores to pages that are read-only."""
        return not self._state.cr0 & Cr0.WP

    def directory(self, slot: int) -> int | None:
        """The frame of the directory for a gigabyte; None if there is none that can be walked."""
        if not self.pae:
            return self.root >> PAGE_SHIFT
        entry = int.from_bytes(self._physical.read(self.root + 8 * slot, 8), "little")
        return self.address(entry) >> PAGE_SHIFT if entry & (_PRESENT | PAE_RESERVED) == _PRESENT else None

    def entry(self, frame: int, index: int) -> int:
        """An entry of the table in a frame."""
        size = self.entry_size
        return int.from_bytes(self._physical.read((frame << PAGE_SHIFT) + index * size, size), "little")

    def upper(self, frame: int, va: int) -> int:
        """The entry for linear `va` of the directory in a frame."""
        return self.entry(frame, va >> 21 & 511 if self.pae else va >> 22)

    def address(self, entry: int) -> int:
        """The physical address that an entry names, of a table or of a page of 4 KiB."""
        return entry & _ADDRESS

    def is_reserved(self, entry: int, *, large: bool = False) -> bool:
        """Whether an entry, of a `large` page or any other, has a reserved bit: nothing is reached by it."""
        span = 1 << (21 if self.pae else 22)
        return entry & (PAE_RESERVED | (RESERVED_IN_LARGE & span - 1 if large else 0)) != 0

    def is_page(self, upper: int) -> bool:
        """Whether an entry of a directory is a page."""
        return bool(upper & _LARGE) and (self.pae or self._state.cr4 & Cr4.PSE != 0)

    def page(self, upper: int) -> int:
        """The physical address of a large page."""
        return self.address(upper) & -(1 << (21 if self.pae else 22))
