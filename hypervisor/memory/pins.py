"""Pinning: a guest asks that a table stay validated while nothing uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.memory.frames import PINNED
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.memory.domain_memory import DomainMemory


def pin(domain: DomainMemory, mfn: int, kind: int) -> None:
    """Validate `mfn` as a page table of type `kind` and keep it so until it is unpinned. Raises Refusal."""
    machine = domain.machine
    machine.types.get_page_and_type(mfn, domain.domid, kind)
    if machine.frames.flags[mfn] & PINNED:
        machine.types.put_page_and_type(mfn)
        raise Refusal(Errno.EINVAL, f"{machine.frames.describe(mfn)} is pinned already")
    machine.frames.flags[mfn] |= PINNED


def unpin(domain: DomainMemory, mfn: int) -> None:
    """Undo `pin`. Raises Refusal (-EINVAL) for a frame that is not the domain's or not pinned."""
    machine = domain.machine
    if not machine.frames.owned_by(mfn, domain.domid):
        raise Refusal(Errno.EINVAL, f"{machine.frames.describe(mfn)} is not d{domain.domid}'s to unpin")
    if not machine.frames.flags[mfn] & PINNED:
        raise Refusal(Errno.EINVAL, f"{machine.frames.describe(mfn)} is not pinned")
    machine.frames.flags[mfn] &= ~PINNED
    machine.types.put_page_and_type(mfn)
