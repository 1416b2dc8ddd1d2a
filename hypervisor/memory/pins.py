"""Pinning: a guest asks that a table stay validated while nothing uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.memory.frames import PINNED
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.memory.owner import Owner
    from paravane.memory.page_types import PageTypes


def pin(types: PageTypes, domain: Owner, mfn: int, kind: int) -> None:
    """Validate `mfn` as a page table of type `kind` and keep it so until it is unpinned. Raises Refusal."""
    frames = types.frames
    types.get_page_and_type(mfn, domain.domid, kind)
    if frames.flags[mfn] & PINNED:
        types.put_page_and_type(mfn)
        raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} is pinned already")
    frames.flags[mfn] |= PINNED
    if types.observer is not None:
        types.observer("pinned", mfn, kind, kind)


def unpin(types: PageTypes, domain: Owner, mfn: int) -> None:
    """Undo `pin`. Raises Refusal (-EINVAL) for a frame that is not the domain's or not pinned."""
    frames = types.frames
    if not frames.owned_by(mfn, domain.domid):
        raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} is not d{domain.domid}'s to unpin")
    if not frames.flags[mfn] & PINNED:
        raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} is not pinned")
    frames.flags[mfn] &= ~PINNED
    if types.observer is not None:
        types.observer("unpinned", mfn, frames.type[mfn], frames.type[mfn])
    types.put_page_and_type(mfn)
