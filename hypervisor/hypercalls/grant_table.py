"""grant_table_op (public/grant_table.h): commands on arrays of structs, each struct with its own status."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from paravane.abi.errno import Errno
from paravane.abi.grant_table import (
    GNTTAB_CACHE_FLUSH,
    GNTTAB_COPY,
    GNTTAB_GET_STATUS_FRAMES,
    GNTTAB_GET_VERSION,
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_QUERY_SIZE,
    GNTTAB_SET_VERSION,
    GNTTAB_SETUP_TABLE,
    GNTTAB_SWAP_GRANT_REF,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GnttabCacheFlush,
    GnttabMapGrantRef,
    GnttabOp,
    GnttabSetupTable,
    GrantCacheOp,
    GrantMapFlag,
    GrantStatus,
)
from paravane.abi.hypercall import Hypercall
from paravane.cpu import PageFault
from paravane.hypercalls.table import Arguments, Ptr, UInt, commands
from paravane.memory.grants import GrantRefusal
from paravane.preemption import Preempted
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.abi.layout import Layout
    from paravane.hypercalls.caller import Caller

_COMMAND_BITS = 12
_PAGE_SIZE = 4096
_NAME = "grant_table_op"
_REQUEST_WORK = 8
"""Units of work of one request of an array, at most a frame copied."""


def _check(caller: "Caller", arguments: Arguments) -> Arguments:
    """What all commands have in common: count is a signed number, the command has no higher bits."""
    command, _, count = arguments[:3]
    if count >> 31:
        raise Refusal(Errno.EINVAL, f"a count of {count - (1 << 32)}")
    if command >> _COMMAND_BITS and command & (1 << _COMMAND_BITS) - 1 != GnttabOp.cache_flush:
        raise Refusal(Errno.EINVAL, f"command {command:#x} has bits that only a continued one has")
    return command & (1 << _COMMAND_BITS) - 1, *arguments[1:]


grant = commands(Hypercall.grant_table_op, GnttabOp, check=_check)


@grant(GnttabOp.setup_table)
def setup_table(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Grow the table and tell the frames it has, 32 bits each."""
    if count == 0:
        return 0
    _only_one(count)
    arg = GNTTAB_SETUP_TABLE.unpack(caller.copy_from_guest(uop, GNTTAB_SETUP_TABLE.size))
    status = _status(caller, lambda: _setup_table(caller, arg))
    caller.copy_to_guest(uop, GNTTAB_SETUP_TABLE.pack(arg._replace(status=status)))
    return 0


def _setup_table(caller: "Caller", arg: GnttabSetupTable) -> None:
    table = caller.domain.grants
    _controlled(caller, arg.dom)
    table.grow(arg.nr_frames)
    frames = b"".join(mfn.to_bytes(4, "little") for mfn in table.frames[: arg.nr_frames])
    if not frames:
        return
    try:
        caller.copy_to_guest(arg.frame_list, frames)
    except PageFault as fault:
        raise GrantRefusal(GrantStatus.bad_virt_addr, f"no frame list at {fault.va:#x}") from fault


@grant(GnttabOp.query_size)
def query_size(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """How many frames the table has and can have."""
    _only_one(count)
    arg = GNTTAB_QUERY_SIZE.unpack(caller.copy_from_guest(uop, GNTTAB_QUERY_SIZE.size))
    status = _status(caller, lambda: _controlled(caller, arg.dom))
    if status == GrantStatus.okay:
        table = caller.domain.grants
        arg = arg._replace(nr_frames=len(table.frames), max_nr_frames=table.max_frames)
    caller.copy_to_guest(uop, GNTTAB_QUERY_SIZE.pack(arg._replace(status=status)))
    return 0


@grant(GnttabOp.set_version)
def set_version(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Choose the version of entries. The one in force is written back, whatever the result."""
    arg = GNTTAB_SET_VERSION.unpack(caller.copy_from_guest(uop, GNTTAB_SET_VERSION.size))
    caller.copy_to_guest(uop, GNTTAB_SET_VERSION.pack(arg._replace(version=1)))
    caller.domain.grants.set_version(arg.version)
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
    caller.copy_to_guest(uop, GNTTAB_GET_VERSION.pack(arg._replace(version=1)))
    return 0


@grant(GnttabOp.get_status_frames)
def get_status_frames(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Version 1 has no status frames, so asking for any is an error."""
    if count == 0:
        return 0
    _only_one(count)
    arg = GNTTAB_GET_STATUS_FRAMES.unpack(caller.copy_from_guest(uop, GNTTAB_GET_STATUS_FRAMES.size))

    def refuse_any() -> None:
        _controlled(caller, arg.dom)
        if arg.nr_frames:
            raise GrantRefusal(GrantStatus.general_error, "grant tables of version 1 have no status frames")

    status = _status(caller, refuse_any)
    caller.copy_to_guest(uop, GNTTAB_GET_STATUS_FRAMES.pack(arg._replace(status=status)))
    return 0


@grant(GnttabOp.copy)
def copy(caller: "Caller", uop: Ptr, count: UInt) -> int:
    return _each(caller, _Array(GnttabOp.copy, uop, count, GNTTAB_COPY), caller.domain.grants.copy)


@grant(GnttabOp.swap_grant_ref)
def swap_grant_ref(caller: "Caller", uop: Ptr, count: UInt) -> int:
    table = caller.domain.grants
    array = _Array(GnttabOp.swap_grant_ref, uop, count, GNTTAB_SWAP_GRANT_REF)
    return _each(caller, array, lambda arg: table.swap(arg.ref_a, arg.ref_b))


@grant(GnttabOp.map_grant_ref)
def map_grant_ref(caller: "Caller", uop: Ptr, count: UInt) -> int:
    array = _Array(GnttabOp.map_grant_ref, uop, count, GNTTAB_MAP_GRANT_REF)
    return _each(caller, array, lambda arg: _refuse_map(caller, arg))


def _refuse_map(caller: "Caller", arg: GnttabMapGrantRef) -> None:
    """Backends are the host's here: no guest maps another one's frames, as if a policy (XSM) forbade it."""
    if not arg.flags & (GrantMapFlag.device_map | GrantMapFlag.host_map):
        raise GrantRefusal(GrantStatus.bad_gntref, f"mapping flags {arg.flags:#x} map nothing")
    caller.domain.grants.controls(arg.dom)
    raise GrantRefusal(GrantStatus.permission_denied, "guests do not map grants on this machine")


@grant(GnttabOp.unmap_grant_ref)
def unmap_grant_ref(caller: "Caller", uop: Ptr, count: UInt) -> int:
    return _each(caller, _Array(GnttabOp.unmap_grant_ref, uop, count, GNTTAB_UNMAP_GRANT_REF), _refuse_handle)


@grant(GnttabOp.unmap_and_replace)
def unmap_and_replace(caller: "Caller", uop: Ptr, count: UInt) -> int:
    array = _Array(GnttabOp.unmap_and_replace, uop, count, GNTTAB_UNMAP_AND_REPLACE)
    return _each(caller, array, _refuse_handle)


def _refuse_handle(arg: Any) -> None:
    raise GrantRefusal(GrantStatus.bad_handle, f"handle {arg.handle:#x} was never given out")


@grant(GnttabOp.transfer)
def transfer(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Switched off, as with `gnttab=no-transfer`."""
    if count == 0:
        return 0
    raise Refusal(Errno.EOPNOTSUPP, "frames cannot be transferred to another domain")


@grant(GnttabOp.cache_flush)
def cache_flush(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """There is no cache to flush; what is asked is checked all the same."""
    for address in _Array(GnttabOp.cache_flush, uop, count, GNTTAB_CACHE_FLUSH).addresses(caller):
        arg = GNTTAB_CACHE_FLUSH.unpack(caller.copy_from_guest(address, GNTTAB_CACHE_FLUSH.size))
        _check_cache_flush(caller, arg)
    return 0


def _check_cache_flush(caller: "Caller", arg: GnttabCacheFlush) -> None:
    both = GrantCacheOp.CLEAN | GrantCacheOp.INVAL
    if arg.offset >= _PAGE_SIZE or arg.offset + arg.length > _PAGE_SIZE or arg.op & ~both:
        raise Refusal(Errno.EINVAL, f"op {arg.op:#x} on {arg.length} bytes at {arg.offset} is no cache flush")
    if not arg.length or not arg.op:
        return
    frames, mfn = caller.domain.memory.machine.frames, arg.a >> 12
    if mfn >= frames.nr_frames:
        raise Refusal(Errno.EINVAL, frames.describe(mfn))
    if frames.owner[mfn] != caller.domain.domid:
        errno = Errno.EINVAL if caller.domain.peer_exists(frames.owner[mfn]) else Errno.EPERM
        raise Refusal(errno, f"{frames.describe(mfn)} is not domain {caller.domain.domid}'s to flush")
    if arg.op == GrantCacheOp.INVAL:
        raise Refusal(Errno.EOPNOTSUPP, "x86 does not invalidate a cache without writing it back")


def _only_one(count: int) -> None:
    if count != 1:
        raise Refusal(Errno.EINVAL, f"a count of {count} where only one struct is taken")


def _controlled(caller: "Caller", dom: int) -> None:
    if not caller.domain.grants.controls(dom):
        raise GrantRefusal(
            GrantStatus.permission_denied, f"the grant table of domain {dom} is its own affair"
        )


@dataclass(frozen=True, slots=True)
class _Array:
    """The structs a command is about: `count` of them at `uop`."""

    command: GnttabOp
    uop: int
    count: int
    layout: "Layout[Any]"

    def addresses(self, caller: "Caller") -> Iterator[int]:
        """Of the structs in order. Raises Preempted between two when one entry may not do them all."""
        for done in range(self.count):
            address = self.uop + done * self.layout.size
            if done and not caller.work.left():
                raise Preempted(done, self.command, address, self.count - done)
            yield address
            caller.work.spend(_REQUEST_WORK)


def _each(caller: "Caller", array: _Array, operation: Callable[[Any], None]) -> int:
    """Do an array of requests in order, each with a status of its own. Ends with -EFAULT at the first struct
    that cannot be read or written."""
    layout, at = array.layout, array.layout.offsets["status"]
    for address in array.addresses(caller):
        arg = layout.unpack(caller.copy_from_guest(address, layout.size))
        status = _status(caller, partial(operation, arg))
        caller.copy_to_guest(address + at, int(status).to_bytes(2, "little", signed=True))
    return 0


def _status(caller: "Caller", operation: Callable[[], None]) -> GrantStatus:
    """Run it: okay, or the status it was refused with, whose sentence goes to the log and trace."""
    try:
        operation()
    except GrantRefusal as refusal:
        caller.refused(_NAME, refusal)
        return refusal.status
    return GrantStatus.okay
