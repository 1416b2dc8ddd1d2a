"""What a frame of a domain is used for, as whoever saves the domain is told (XEN_DOMCTL_PFINFO_*)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.domctl_frames import (
    XEN_DOMCTL_PFINFO_LPINTAB,
    XEN_DOMCTL_PFINFO_LTAB_SHIFT,
    XEN_DOMCTL_PFINFO_NOTAB,
    XEN_DOMCTL_PFINFO_XTAB,
)
from paravane.memory.frames import L1, L3, PINNED, VALIDATED, XEN_HEAP

if TYPE_CHECKING:
    from paravane.memory.domain_memory import DomainMemory


def frame_use(memory: DomainMemory, mfn: int) -> int:
    """The use of machine frame `mfn`: XTAB for one that is not in the domain's reservation, the level of a
    page table that is validated, with LPINTAB if it is pinned, and NOTAB for all others."""
    frames = memory.machine.frames
    if not frames.owned_by(mfn, memory.domid) or frames.flags[mfn] & XEN_HEAP:
        return XEN_DOMCTL_PFINFO_XTAB
    kind = frames.type[mfn]
    use = kind << XEN_DOMCTL_PFINFO_LTAB_SHIFT if L1 <= kind <= L3 else XEN_DOMCTL_PFINFO_NOTAB
    if frames.flags[mfn] & PINNED:
        return use | XEN_DOMCTL_PFINFO_LPINTAB
    return use if frames.flags[mfn] & VALIDATED else XEN_DOMCTL_PFINFO_NOTAB
