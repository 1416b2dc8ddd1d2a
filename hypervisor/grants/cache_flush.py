"""GNTTABOP_cache_flush: who may have a frame's cache lines written back (there is no cache here)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.abi.grant_table import GrantCacheOp
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.abi.grant_table import GnttabCacheFlush
    from paravane.grants.grant_table import GrantTable


def check_cache_flush(own: GrantTable, request: GnttabCacheFlush) -> int:
    """Check what the domain of `own` asks for: an own frame, or one that it uses by a grant. Gives how many
    entries were looked at for that. Raises Refusal: -EINVAL, -EPERM, -EOPNOTSUPP.
    """
    both = GrantCacheOp.CLEAN | GrantCacheOp.INVAL
    outside = request.offset >= PAGE_SIZE or request.offset + request.length > PAGE_SIZE
    if outside or request.op & ~both:
        where = f"{request.length} bytes at {request.offset}"
        raise Refusal(Errno.EINVAL, f"op {request.op:#x} on {where} is no cache flush")
    if not request.length or not request.op:
        return 0
    machine, mfn = own.memory.machine, request.a >> PAGE_SHIFT
    frames = machine.frames
    if mfn >= frames.nr_frames:
        raise Refusal(Errno.EINVAL, frames.describe(mfn))
    owner = frames.owner[mfn]
    giver = own.tables.table_of(owner)
    if giver is None:
        raise Refusal(Errno.EPERM, f"{frames.describe(mfn)} is no domain's")
    if giver is not own and not giver.is_used_by(own.domid, mfn):
        raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} is not granted to d{own.domid} and in use")
    if request.op == GrantCacheOp.INVAL:
        raise Refusal(Errno.EOPNOTSUPP, "x86 does not invalidate a cache without writing it back")
    return 0 if giver is own else len(giver.state.active)
