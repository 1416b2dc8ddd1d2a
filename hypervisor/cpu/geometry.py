"""Page-table shapes of the 32-bit processor (Intel SDM volume 3, chapter 4)."""

from dataclasses import dataclass

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = PAGE_SIZE - 1

PTE_PRESENT = 1 << 0
PTE_RW = 1 << 1
PTE_USER = 1 << 2
PTE_ACCESSED = 1 << 5
PTE_DIRTY = 1 << 6
PTE_LARGE = 1 << 7
PTE_NX = 1 << 63

PF_PRESENT = 1 << 0
PF_WRITE = 1 << 1
PF_USER = 1 << 2
PF_RESERVED = 1 << 3


@dataclass(frozen=True, slots=True)
class Geometry:
    """One page-table shape. `shifts` and `index_bits` run from the top level down to level 1."""

    name: str
    levels: int
    entry_size: int
    shifts: tuple[int, ...]
    index_bits: tuple[int, ...]
    address_mask: int
    reserved_mask: int
    pae: bool

    def index(self, va: int, level: int) -> int:
        """Index of `va` in a table of `level` (1 = leaf table)."""
        position = self.levels - level
        return va >> self.shifts[position] & (1 << self.index_bits[position]) - 1


# The engine's processor has 40 physical address bits; bits 40-62 of a PAE entry are reserved.
PAE = Geometry(
    name="pae",
    levels=3,
    entry_size=8,
    shifts=(30, 21, 12),
    index_bits=(2, 9, 9),
    address_mask=0x000F_FFFF_FFFF_F000,
    reserved_mask=0x7FFF_FF00_0000_0000,
    pae=True,
)
TWO_LEVEL = Geometry(
    name="two-level",
    levels=2,
    entry_size=4,
    shifts=(22, 12),
    index_bits=(10, 10),
    address_mask=0xFFFF_F000,
    reserved_mask=0,
    pae=False,
)
