"""Page tables on their way: entries with pseudo-physical instead of machine frame numbers, and back."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from paravane.abi.domctl_frames import (
    XEN_DOMCTL_PFINFO_L1TAB,
    XEN_DOMCTL_PFINFO_L2TAB,
    XEN_DOMCTL_PFINFO_L3TAB,
    XEN_DOMCTL_PFINFO_LTABTYPE_MASK,
)
from paravane.x86 import PAGE_SHIFT, Pte

if TYPE_CHECKING:
    from collections.abc import Callable

TABLES: Final = (XEN_DOMCTL_PFINFO_L1TAB, XEN_DOMCTL_PFINFO_L2TAB, XEN_DOMCTL_PFINFO_L3TAB)

_FRAME: Final = (1 << 52) - 1 & ~0xFFF
_ROOT_ENTRIES: Final = 4
"""Entries of a root that PAE uses."""


def is_table(use: int) -> bool:
    """Whether a page of this use (XEN_DOMCTL_PFINFO_*) holds entries."""
    return use & XEN_DOMCTL_PFINFO_LTABTYPE_MASK in TABLES


def renumber(page: bytes, use: int, number: Callable[[int], int], first_xen_slot: int | None) -> bytes:
    """A page table with each frame number of its present entries replaced by what `number` makes of it. What
    is the hypervisor's becomes 0: from `first_xen_slot` on (None: nothing), and beyond a root's entries."""
    entries = array("Q", page)
    end = len(entries)
    if use & XEN_DOMCTL_PFINFO_LTABTYPE_MASK == XEN_DOMCTL_PFINFO_L3TAB:
        end = _ROOT_ENTRIES
    elif first_xen_slot is not None:
        end = first_xen_slot
    for at in range(end):
        entry = entries[at]
        if entry & Pte.PRESENT:
            entries[at] = entry & ~_FRAME | number((entry & _FRAME) >> PAGE_SHIFT) << PAGE_SHIFT
    entries[end:] = array("Q", bytes(8 * (len(entries) - end)))
    return entries.tobytes()
