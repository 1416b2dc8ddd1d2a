"""What a guest asks about frames, own ones and granted ones: copies, and flushes of the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.grant_table import GrantCacheOp, GrantCopyFlag, GrantStatus
from paravane.memory.grant_use import GrantRefusal
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.abi.grant_table import GnttabCacheFlush, GnttabCopy, GnttabCopyPtr
    from paravane.memory.grants import GrantTable


class _Side:
    """One end of a copy, by `own`, the table of the domain that asks: its frame, held until `release`."""

    def __init__(self, own: GrantTable, end: GnttabCopyPtr, *, by_ref: bool, writable: bool) -> None:
        """Raises GrantRefusal for an end that the domain may not name."""
        if end.domid != DomId.SELF and not by_ref:
            raise GrantRefusal(GrantStatus.permission_denied, "only own frames can be named by number")
        self._own = own
        self._table = own.find(end.domid)
        self._end = end
        self._by_ref = by_ref
        self._writable = writable

    def claim(self) -> int:
        """Machine address of the first byte. Raises GrantRefusal."""
        if self._by_ref:
            mfn = self._table.acquire(self._end.u, self._own.domid, writable=self._writable, mapping=False)
        else:
            mfn = self._end.u
            self._own.take(mfn, writable=self._writable)
        self._mfn = mfn
        return (mfn << PAGE_SHIFT) + self._end.offset

    def release(self) -> None:
        """Undo `claim`."""
        if self._by_ref:
            self._table.release(self._end.u, self._mfn, writable=self._writable)
        else:
            self._own.memory.machine.let_go(self._mfn, writable=self._writable)


def copy_grant(own: GrantTable, request: GnttabCopy) -> None:
    """GNTTABOP_copy of the domain of `own`: bytes between two frames. Raises GrantRefusal."""
    source_by_ref = bool(request.flags & GrantCopyFlag.source_gref)
    dest_by_ref = bool(request.flags & GrantCopyFlag.dest_gref)
    source = _Side(own, request.source, by_ref=source_by_ref, writable=False)
    dest = _Side(own, request.dest, by_ref=dest_by_ref, writable=True)
    start = source.claim()
    try:
        target = dest.claim()
        try:
            if max(request.source.offset, request.dest.offset) + request.len > PAGE_SIZE:
                raise GrantRefusal(GrantStatus.bad_copy_arg, "the copy goes beyond the end of a frame")
            ram = own.memory.machine.ram
            ram.write(target, ram.read(start, request.len))
        finally:
            dest.release()
    finally:
        source.release()


def check_cache_flush(own: GrantTable, request: GnttabCacheFlush) -> None:
    """GNTTABOP_cache_flush: there is no cache to flush; what is asked is checked all the same. Raises
    Refusal.
    """
    both = GrantCacheOp.CLEAN | GrantCacheOp.INVAL
    outside = request.offset >= PAGE_SIZE or request.offset + request.length > PAGE_SIZE
    if outside or request.op & ~both:
        where = f"{request.length} bytes at {request.offset}"
        raise Refusal(Errno.EINVAL, f"op {request.op:#x} on {where} is no cache flush")
    if not request.length or not request.op:
        return
    machine, mfn = own.memory.machine, request.a >> PAGE_SHIFT
    frames = machine.frames
    if mfn >= frames.nr_frames:
        raise Refusal(Errno.EINVAL, frames.describe(mfn))
    if frames.owner[mfn] != own.domid:
        errno = Errno.EPERM if machine.types.owner(frames.owner[mfn]) is None else Errno.EINVAL
        raise Refusal(errno, f"{frames.describe(mfn)} is not domain {own.domid}'s to flush")
    if request.op == GrantCacheOp.INVAL:
        raise Refusal(Errno.EOPNOTSUPP, "x86 does not invalidate a cache without writing it back")
