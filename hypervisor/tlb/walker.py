"""The hardware walker of a modelled TLB: what the guest's own tables say of a page (SDM volume 3, 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.x86 import PAGE_SHIFT, PageFaultCode, Pte

if TYPE_CHECKING:
    from paravane.cpu.ram import Ram

_FRAME: Final = 0x000F_FFFF_FFFF_F000
_RIGHTS: Final = int(Pte.RW | Pte.USER)
_WRITE, _USER = int(PageFaultCode.write_access), int(PageFaultCode.user_mode)
_FETCH: Final = int(PageFaultCode.insn_fetch)
_NX: Final = int(Pte.NX_BIT)


class Walked(NamedTuple):
    """Where the page's last two entries are (counted in entries from machine address 0), and its frame with
    the rights that both give."""

    l2_at: int
    l1_at: int
    entry: int

    @property
    def maddr(self) -> int:
        """Where the page begins."""
        return self.entry & _FRAME

    def allows(self, error_code: int, *, write_protect: bool) -> bool:
        """Whether an access that would have this error code is one that the rights allow."""
        if error_code & _USER and not self.entry & Pte.USER:
            return False
        if error_code & _WRITE and not self.entry & Pte.RW and (write_protect or error_code & _USER):
            return False
        return not (error_code & _FETCH and self.entry & _NX)


def walk(ram: Ram, root: int, va: int) -> Walked | None:
    """What the tables at machine address `root` have for linear `va`, None where an entry is not present.

    They are in use as what they are, so the hypervisor has checked all of them.
    """
    quads = ram.quads
    top = quads[(root >> 3) + (va >> 30)]
    if not top & Pte.PRESENT:
        return None
    l2_at = ((top & _FRAME) >> 3) + (va >> 21 & 511)
    upper = quads[l2_at]
    if not upper & Pte.PRESENT:
        return None
    l1_at = ((upper & _FRAME) >> 3) + (va >> PAGE_SHIFT & 511)
    leaf = quads[l1_at]
    if not leaf & Pte.PRESENT:
        return None
    rights = leaf & upper & _RIGHTS | (leaf | upper) & _NX
    return Walked(l2_at, l1_at, leaf & _FRAME | rights)


def use(ram: Ram, walked: Walked, *, write: bool) -> int:
    """Set the bits that the processor sets when it uses a page so, in the guest's tables: the entry that the
    TLB holds then. As long as a page is not dirty it is not writable there, so that the first store comes
    here again."""
    quads = ram.quads
    quads[walked.l2_at] |= int(Pte.ACCESSED)
    leaf = quads[walked.l1_at] | int(Pte.ACCESSED | Pte.DIRTY if write else Pte.ACCESSED)
    quads[walked.l1_at] = leaf
    entry = walked.entry | int(Pte.PRESENT | Pte.ACCESSED)
    return entry | int(Pte.DIRTY) if leaf & Pte.DIRTY else entry & ~int(Pte.RW)
