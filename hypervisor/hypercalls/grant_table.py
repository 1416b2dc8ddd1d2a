"""grant_table_op (public/grant_table.h): the table itself, and copies by its entries."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.abi.grant_table import (
    GNTTAB_CACHE_FLUSH,
    GNTTAB_COPY,
    GNTTAB_GET_STATUS_FRAMES,
    GNTTAB_GET_VERSION,
    GNTTAB_QUERY_SIZE,
    GNTTAB_SET_VERSION,
    GNTTAB_SETUP_TABLE,
    GNTTAB_SWAP_GRANT_REF,
    GnttabGetStatusFrames,
    GnttabOp,
    GnttabSetupTable,
    GrantStatus,
)
from paravane.cpu import PageFault
from paravane.grants import GrantRefusal
from paravane.grants.cache_flush import check_cache_flush
from paravane.grants.copying import copy_grant
from paravane.grants.versions import set_version as choose_version
from paravane.hypercalls.grant_requests import (
    Requests,
    check_range,
    each,
    grant,
    in_portions,
    only_one,
    status_of,
)
from paravane.hypercalls.table import Ptr, UInt
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

_FRAME_NUMBER, _STATUS_FRAME_NUMBER = 4, 8
"""Bytes of an entry of a frame list, for setup_table and for get_status_frames."""

_NATIVE_COPY = 40
"""Bytes of Xen's own struct gnttab_copy."""

_ENTRIES_A_UNIT = 16
"""Entries in use that are looked at in a unit of work."""

_FRAME_WORK = 2
"""Units of work to erase or to list a frame of the table."""


@grant(GnttabOp.setup_table)
def setup_table(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Grow the table and tell the frames it has, 32 bits each."""
    if count == 0:
        return 0
    only_one(count)
    arg = GNTTAB_SETUP_TABLE.unpack(caller.copy_from_guest(uop, GNTTAB_SETUP_TABLE.size))
    check_range(caller, arg.frame_list, arg.nr_frames * _FRAME_NUMBER)
    status = status_of(caller, lambda: _setup_table(caller, arg))
    caller.copy_to_guest(uop, GNTTAB_SETUP_TABLE.pack(arg._replace(status=status)))
    return 0


def _setup_table(caller: "Caller", arg: GnttabSetupTable) -> None:
    table = caller.domain.grants.controlled(arg.dom)
    table.grow(arg.nr_frames)
    caller.budget.spend(arg.nr_frames * _FRAME_WORK)
    _list_frames(caller, arg.frame_list, table.frames[: arg.nr_frames], _FRAME_NUMBER)


def _list_frames(caller: "Caller", address: int, frames: Sequence[int], size: int) -> None:
    """Write frame numbers of `size` bytes each. Raises GrantRefusal(bad_virt_addr) where one cannot be
    written; the others are written all the same."""
    unwritten: PageFault | None = None
    for at, mfn in enumerate(frames):
        try:
            caller.copy_to_guest(address + size * at, mfn.to_bytes(size, "little"))
        except PageFault as fault:
            unwritten = fault
    if unwritten is not None:
        raise GrantRefusal(GrantStatus.bad_virt_addr, f"no frame list at {unwritten.va:#x}")


@grant(GnttabOp.query_size)
def query_size(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """How many frames the table has and can have."""
    only_one(count)
    arg = GNTTAB_QUERY_SIZE.unpack(caller.copy_from_guest(uop, GNTTAB_QUERY_SIZE.size))
    own = caller.domain.grants
    status = status_of(caller, lambda: own.controlled(arg.dom))
    if status == GrantStatus.okay:
        table = own.controlled(arg.dom)
        arg = arg._replace(nr_frames=len(table.frames), max_nr_frames=table.limits.frames)
    caller.copy_to_guest(uop, GNTTAB_QUERY_SIZE.pack(arg._replace(status=status)))
    return 0


@grant(GnttabOp.set_version)
def set_version(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Choose the version of entries. The one in force is written back, whatever the result; where that
    cannot be written, -EFAULT is the result.
    """
    arg = GNTTAB_SET_VERSION.unpack(caller.copy_from_guest(uop, GNTTAB_SET_VERSION.size))
    table = caller.domain.grants
    caller.budget.spend(len(table.frames) * _FRAME_WORK)
    try:
        choose_version(table, arg.version)
    finally:
        caller.copy_to_guest(uop, GNTTAB_SET_VERSION.pack(arg._replace(version=table.version)))
    return 0


@grant(GnttabOp.get_version)
def get_version(caller: "Caller", uop: Ptr, count: UInt) -> int:
    arg = GNTTAB_GET_VERSION.unpack(caller.copy_from_guest(uop, GNTTAB_GET_VERSION.size))
    try:
        own = caller.domain.grants.controls(arg.dom)
    except GrantRefusal as refusal:
        raise Refusal(Errno.ESRCH, refusal.sentence) from refusal
    if not own:
        raise Refusal(Errno.EPERM, f"the grant table of domain {arg.dom} is its own affair")
    version = caller.domain.grants.controlled(arg.dom).version
    at = uop + GNTTAB_GET_VERSION.offsets["version"]
    caller.copy_to_guest(at, version.to_bytes(4, "little"))
    return 0


@grant(GnttabOp.get_status_frames)
def get_status_frames(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Tell the frames of status words, 64 bits each. Version 1 has none."""
    if count == 0:
        return 0
    only_one(count)
    arg = GNTTAB_GET_STATUS_FRAMES.unpack(caller.copy_from_guest(uop, GNTTAB_GET_STATUS_FRAMES.size))
    check_range(caller, arg.frame_list, arg.nr_frames * _STATUS_FRAME_NUMBER)
    status = status_of(caller, lambda: _status_frames(caller, arg))
    caller.copy_to_guest(uop, GNTTAB_GET_STATUS_FRAMES.pack(arg._replace(status=status)))
    return 0


def _status_frames(caller: "Caller", arg: GnttabGetStatusFrames) -> None:
    frames = caller.domain.grants.controlled(arg.dom).status_frames
    if arg.nr_frames > len(frames):
        sentence = f"{arg.nr_frames} status frames of {len(frames)}"
        raise GrantRefusal(GrantStatus.general_error, sentence)
    _list_frames(caller, arg.frame_list, frames[: arg.nr_frames], _STATUS_FRAME_NUMBER)


@grant(GnttabOp.copy)
def copy(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Copy bytes between frames."""
    array, table = Requests(GnttabOp.copy, uop, count, GNTTAB_COPY), caller.domain.grants
    return in_portions(caller, array, _NATIVE_COPY, partial(copy_grant, table))


@grant(GnttabOp.swap_grant_ref)
def swap_grant_ref(caller: "Caller", uop: Ptr, count: UInt) -> int:
    table = caller.domain.grants
    array = Requests(GnttabOp.swap_grant_ref, uop, count, GNTTAB_SWAP_GRANT_REF)
    return each(caller, array, lambda arg: table.swap(arg.ref_a, arg.ref_b))


@grant(GnttabOp.cache_flush)
def cache_flush(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """There is no cache to flush; what is asked is checked all the same."""
    for address in Requests(GnttabOp.cache_flush, uop, count, GNTTAB_CACHE_FLUSH).addresses(caller):
        arg = GNTTAB_CACHE_FLUSH.unpack(caller.copy_from_guest(address, GNTTAB_CACHE_FLUSH.size))
        looked_at = check_cache_flush(caller.domain.grants, arg)
        caller.budget.spend(looked_at // _ENTRIES_A_UNIT)
    return 0
