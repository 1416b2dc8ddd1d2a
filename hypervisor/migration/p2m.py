"""The list in which a guest keeps the machine frame of each of its pages, found as its toolstack finds it."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from paravane.abi.shared_info import SHARED_INFO
from paravane.memory.frames import XEN_HEAP
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.domain import Domain

PER_PAGE: Final = PAGE_SIZE // 4
"""Frame numbers of 32 bits in a page of the list, and in those that name such pages."""

_TREE: Final = SHARED_INFO.offsets["arch.pfn_to_mfn_frame_list_list"]


class UnsavableError(ValueError):
    """A domain cannot be saved; the message is one sentence without its subject's name."""


class PhysMap:
    """Frames of a domain by pfn (`mfns`), and back. `frames` has the pages that the list lies in, as pfns.

    Made of what the guest publishes in shared_info (`arch.max_pfn`, `arch.pfn_to_mfn_frame_list_list`): a
    page that names pages that name the pages of its list. Raises UnsavableError where it is wrong.
    """

    def __init__(self, domain: Domain) -> None:
        self._frames = domain.memory.machine.frames
        self._domid = domain.domid
        self._ram = domain.platform.ram
        self._m2p = domain.memory.machine.m2p
        self.max_pfn = domain.max_pfn
        at = domain.shared_info + _TREE
        top = int.from_bytes(self._ram.bytes[at : at + 4], "little")
        if not 0 < self.max_pfn < PER_PAGE * PER_PAGE:
            raise UnsavableError(f"its kernel says that its last page is pfn {self.max_pfn:#x}")
        if top in (0, 0xFFFF_FFFF):
            raise UnsavableError("its kernel does not say where the list of its frames is")
        count = self.max_pfn // PER_PAGE + 1
        (middle,) = self._words(top)[:1]
        pages = self._words(middle)[:count]
        self.mfns = array("I")
        for page in pages:
            self.mfns += self._words(page)
        del self.mfns[self.max_pfn + 1 :]
        self.frames = [self.pfn(page) for page in pages]

    def has(self, pfn: int) -> bool:
        """Whether the domain has a frame for this page: one that list and hypervisor know by this number."""
        mfn = self.mfns[pfn]
        return mfn < self._frames.nr_frames and self._m2p[mfn] == pfn and self._is_own(mfn)

    def pfn(self, mfn: int) -> int:
        """The page that a frame is. Raises UnsavableError for one that is none of the domain's pages."""
        if self._is_own(mfn):
            pfn: int = self._m2p[mfn]
            if pfn <= self.max_pfn and self.mfns[pfn] == mfn:
                return pfn
        raise UnsavableError(f"it uses {self._frames.describe(mfn)}, which is none of its pages")

    def _is_own(self, mfn: int) -> bool:
        return self._frames.owned_by(mfn, self._domid) and not self._frames.flags[mfn] & XEN_HEAP

    def _words(self, mfn: int) -> array[int]:
        if not self._is_own(mfn):
            raise UnsavableError(f"the list of its frames lies in {self._frames.describe(mfn)}")
        return array("I", self._ram.read(mfn << PAGE_SHIFT, PAGE_SIZE))
