"""Copies of granted bytes: GNTTABOP_copy, and what backends read and write without mapping it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.grant_table import GrantCopyFlag, GrantStatus
from paravane.grants.entries import TRANSITIVE, TYPE_MASK
from paravane.grants.use import HOST_READ, HOST_WRITE, ActiveGrant, GrantRefusal
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.abi.grant_table import GnttabCopy, GnttabCopyPtr
    from paravane.grants.grant_table import GrantTable


# Plain numbers: every request needs them.
_SELF: Final = int(DomId.SELF)
_SOURCE_GREF: Final = int(GrantCopyFlag.source_gref)
_DEST_GREF: Final = int(GrantCopyFlag.dest_gref)


def acquire(
    table: GrantTable, ref: int, domid: int, *, writable: bool, passed_on: bool = False
) -> ActiveGrant:
    """Use entry `ref` as `domid` for one copy: the frame, held (with a writable type), and the bytes of it
    that are granted. `passed_on` says that `domid` passes it on, and so may not have been passed it itself.
    Raises GrantRefusal, taking nothing: bad_gntref, general_error, bad_page, bad_domain.
    """
    active = table.in_use(ref, domid, HOST_WRITE if writable else HOST_READ)
    if table.version == 2 and table.entries.header(ref) & TYPE_MASK == TRANSITIVE:
        if passed_on:
            raise GrantRefusal(GrantStatus.general_error, f"grant {ref} is passed on more than once")
        found = _acquire_behind(table, ref, domid, active, writable=writable)
    elif active is not None and (active.written or not writable):
        found = active
        # A guest that overwrote its mapping has let go of the frame, which may be another domain's by now.
        _hold(table, found.mfn, GrantStatus.bad_domain, writable=writable)
    else:
        found = _acquire_bytes(table, ref, domid, active, writable=writable)
    counted = active or found
    table.pin(ref, counted, HOST_WRITE if writable else HOST_READ)
    table.observe("copy", ref, domid, counted.mfn, writable=writable)
    return counted


def _acquire_bytes(
    table: GrantTable, ref: int, domid: int, active: ActiveGrant | None, *, writable: bool
) -> ActiveGrant:
    """Mark an entry for its first use, or its first one that writes, and hold what it grants."""
    table.mark(ref, active, domid, writable=writable, mapping=False)
    found = table.entries.granted(ref, domid, table.domid)
    try:
        _hold(table, found.mfn, GrantStatus.bad_page, writable=writable)
        if active is not None and not active.same_bytes(found):
            table.memory.machine.let_go(found.mfn, writable=writable)
            raise GrantRefusal(GrantStatus.general_error, f"grant {ref} is in use for other bytes")
    except GrantRefusal:
        table.unmark(ref, active, writable=writable)
        raise
    return found


def _acquire_behind(
    table: GrantTable, ref: int, domid: int, active: ActiveGrant | None, *, writable: bool
) -> ActiveGrant:
    """The same of a transitive entry, by which a domain passes on what another one granted it. It counts as a
    part of a page, which nobody can map."""
    if active is None or (writable and not active.written):
        table.mark(ref, active, domid, writable=writable, mapping=False)
    behind_domid, behind_ref = table.entries.behind(ref)
    try:
        giver = table.tables.table_of(behind_domid)
        if giver is None or giver is table:
            sentence = f"grant {ref} passes on one of domain {behind_domid}"
            raise GrantRefusal(GrantStatus.general_error, sentence)
        got = acquire(giver, behind_ref, table.domid, writable=writable, passed_on=True)
        found = ActiveGrant(domid, got.mfn, behind_domid, behind_ref, 0, got.start, got.length, sub_page=True)
        if active is not None and not active.same_bytes(found):
            # Xen would try again until the other use has ended.
            release(giver, behind_ref, writable=writable)
            raise GrantRefusal(GrantStatus.general_error, f"grant {ref} is in use for other bytes")
    except GrantRefusal:
        table.unmark(ref, active, writable=writable)
        raise
    return found


def release(table: GrantTable, ref: int, *, writable: bool) -> None:
    """End what `acquire` began."""
    active = table.state.active[ref]
    table.unpin(ref, HOST_WRITE if writable else HOST_READ, writable=writable)
    table.observe("release", ref, active.domid, active.mfn, writable=writable)
    if active.trans_domid == table.domid:
        table.memory.machine.let_go(active.mfn, writable=writable)
        return
    behind = table.tables.table_of(active.trans_domid)
    assert behind is not None  # what is held keeps its domain
    release(behind, active.trans_ref, writable=writable)


def _hold(table: GrantTable, mfn: int, status: GrantStatus, *, writable: bool) -> None:
    """Raises GrantRefusal: `status` for a frame that is not the domain's, general_error for one that cannot
    be written."""
    machine = table.memory.machine
    if not machine.frames.owned_by(mfn, table.domid):
        raise GrantRefusal(status, f"{machine.frames.describe(mfn)} is not domain {table.domid}'s")
    try:
        machine.hold(mfn, table.domid, writable=writable)
    except Refusal as refusal:
        raise GrantRefusal(GrantStatus.general_error, refusal.sentence) from refusal


class _Side:
    """One end of a copy, by `own`, the table of the domain that asks: its bytes, held until `release`."""

    def __init__(self, own: GrantTable, end: GnttabCopyPtr, *, by_ref: bool, writable: bool) -> None:
        """Raises GrantRefusal for an end that the domain may not name."""
        if end.domid != _SELF and not by_ref:
            raise GrantRefusal(GrantStatus.permission_denied, "only own frames can be named by number")
        self._own = own
        self._table = own.tables.named(own.domid, end.domid)
        self._end = end
        self._by_ref = by_ref
        self._writable = writable
        self._found = ActiveGrant(own.domid, end.u, own.domid, 0)
        self._held = False

    def claim(self) -> None:
        """Hold it, unless a look shows that it can be used (`GrantTable.frame_for_now`). Raises
        GrantRefusal."""
        if not self._by_ref:
            _hold(self._own, self._found.mfn, GrantStatus.bad_page, writable=self._writable)
            self._held = True
            return
        ref, domid = self._end.u, self._own.domid
        mfn = self._table.frame_for_now(ref, domid, writable=self._writable)
        if mfn >= 0:
            self._found.mfn = mfn
        else:
            self._found = acquire(self._table, ref, domid, writable=self._writable)
            self._held = True

    def address(self, length: int) -> int:
        """Machine address of its `length` bytes. Raises GrantRefusal as `ActiveGrant.address` does."""
        return self._found.address(self._end.offset, length)

    def release(self) -> None:
        """Undo `claim`."""
        if not self._held:
            return
        if self._by_ref:
            release(self._table, self._end.u, writable=self._writable)
        else:
            self._own.memory.machine.let_go(self._end.u, writable=self._writable)


def copy_grant(own: GrantTable, request: GnttabCopy) -> None:
    """GNTTABOP_copy of the domain of `own`: bytes between two frames. Raises GrantRefusal.

    Xen keeps the two ends of a request for the next one that has the same; each use ends with its request
    here, which is the same to all but a guest that copies over the very entries it copies by.
    """
    source_by_ref = request.flags & _SOURCE_GREF != 0
    dest_by_ref = request.flags & _DEST_GREF != 0
    source = _Side(own, request.source, by_ref=source_by_ref, writable=False)
    dest = _Side(own, request.dest, by_ref=dest_by_ref, writable=True)
    source.claim()
    try:
        dest.claim()
        try:
            if max(request.source.offset, request.dest.offset) + request.len > PAGE_SIZE:
                raise GrantRefusal(GrantStatus.bad_copy_arg, "the copy goes beyond the end of a frame")
            start, target = source.address(request.len), dest.address(request.len)
            ram = own.memory.machine.ram
            ram.write(target, ram.read(start, request.len))
        finally:
            dest.release()
    finally:
        source.release()
