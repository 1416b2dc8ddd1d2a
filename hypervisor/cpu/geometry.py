"""Page-table shapes of the 32-bit processor (Intel SDM volume 3, chapter 4)."""

from typing import Final

from paravane.classes import dataclass
from paravane.x86 import PAGE_SIZE, PageFaultCode, Pte

PAGE_MASK: Final = PAGE_SIZE - 1

PTE_PRESENT: Final = int(Pte.PRESENT)
PTE_RW: Final = int(Pte.RW)
PTE_USER: Final = int(Pte.USER)
PTE_ACCESSED: Final = int(Pte.ACCESSED)
PTE_DIRTY: Final = int(Pte.DIRTY)
PTE_LARGE: Final = int(Pte.PSE)
PTE_NX: Final = int(Pte.NX_BIT)

PF_PRESENT: Final = int(PageFaultCode.page_present)
PF_WRITE: Final = int(PageFaultCode.write_access)
PF_USER: Final = int(PageFaultCode.user_mode)
PF_RESERVED: Final = int(PageFaultCode.reserved_bit)


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
