"""grant_table_op (public/grant_table.h): commands on arrays of structs, each struct with its own status.

What is read and written when is as in Xen's 32-bit layer (common/compat/grant_table.c). It translates
setup_table, transfer, copy and get_status_frames: all structs of a portion are read before anything is done,
and what came of them is written afterwards. The others go through one struct at a time.
"""

from collections.abc import Callable, Iterator, Sequence
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
    GNTTAB_TRANSFER,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GnttabGetStatusFrames,
    GnttabMapGrantRef,
    GnttabOp,
    GnttabSetupTable,
    GrantMapFlag,
    GrantStatus,
)
from paravane.abi.hypercall import Hypercall
from paravane.cpu import PageFault
from paravane.grants import GrantRefusal
from paravane.grants.cache_flush import check_cache_flush
from paravane.grants.copying import copy_grant
from paravane.grants.versions import set_version as choose_version
from paravane.hypercalls.table import Arguments, Ptr, UInt, commands
from paravane.preemption import Preempted
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.abi.layout import Layout
    from paravane.hypercalls.caller import Caller

_COMMAND_BITS = 12
_FRAME_NUMBER, _STATUS_FRAME_NUMBER = 4, 8
"""Bytes of an entry of a frame list, for setup_table and for get_status_frames."""

_COPY_PORTION = 2 * PAGE_SIZE // 40
_TRANSFER_PORTION = 2 * PAGE_SIZE // 24
"""Structs that Xen's 32-bit layer translates at a time: so many of its own fit into two pages."""

_NAME = "grant_table_op"
_REQUEST_WORK = 16
"""Units of work of one request of an array: a frame copied, or why it is not told to whoever asks."""


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
    _check_range(caller, arg.frame_list, arg.nr_frames * _FRAME_NUMBER)
    status = _status(caller, lambda: _setup_table(caller, arg))
    caller.copy_to_guest(uop, GNTTAB_SETUP_TABLE.pack(arg._replace(status=status)))
    return 0


def _setup_table(caller: "Caller", arg: GnttabSetupTable) -> None:
    table = caller.domain.grants.controlled(arg.dom)
    table.grow(arg.nr_frames)
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
    _only_one(count)
    arg = GNTTAB_QUERY_SIZE.unpack(caller.copy_from_guest(uop, GNTTAB_QUERY_SIZE.size))
    own = caller.domain.grants
    status = _status(caller, lambda: own.controlled(arg.dom))
    if status == GrantStatus.okay:
        table = own.controlled(arg.dom)
        arg = arg._replace(nr_frames=len(table.frames), max_nr_frames=table.max_frames)
    caller.copy_to_guest(uop, GNTTAB_QUERY_SIZE.pack(arg._replace(status=status)))
    return 0


@grant(GnttabOp.set_version)
def set_version(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Choose the version of entries. The one in force is written back, whatever the result; where that
    cannot be written, -EFAULT is the result.
    """
    arg = GNTTAB_SET_VERSION.unpack(caller.copy_from_guest(uop, GNTTAB_SET_VERSION.size))
    table = caller.domain.grants
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
    _only_one(count)
    arg = GNTTAB_GET_STATUS_FRAMES.unpack(caller.copy_from_guest(uop, GNTTAB_GET_STATUS_FRAMES.size))
    _check_range(caller, arg.frame_list, arg.nr_frames * _STATUS_FRAME_NUMBER)
    status = _status(caller, lambda: _status_frames(caller, arg))
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
    """Copy bytes between frames. A portion with a struct that cannot be read is not begun (-EFAULT)."""
    array, table = _Array(GnttabOp.copy, uop, count, GNTTAB_COPY), caller.domain.grants
    array.check(caller)
    done = 0
    while done < count:
        requests = array.read(caller, done, min(_COPY_PORTION, count - done))
        statuses: list[GrantStatus] = []
        for request in requests:
            if statuses and not caller.budget.left():
                break
            statuses.append(_status(caller, partial(copy_grant, table, request)))
            caller.budget.spend(_REQUEST_WORK)
        array.tell(caller, done, statuses)
        done += len(statuses)
        if done < count and not caller.budget.left():
            raise Preempted(done, GnttabOp.copy, uop + done * array.layout.size, count - done)
    return 0


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
    if caller.platform.domains.find(arg.dom) is None:
        raise GrantRefusal(GrantStatus.bad_domain, f"there is no domain {arg.dom}")
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
    """Switched off, as with `gnttab=no-transfer`. The structs are read before that is looked at."""
    array = _Array(GnttabOp.transfer, uop, count, GNTTAB_TRANSFER)
    array.check(caller)
    if count == 0:
        return 0
    array.read(caller, 0, min(_TRANSFER_PORTION, count))
    raise Refusal(Errno.EOPNOTSUPP, "frames cannot be transferred to another domain")


@grant(GnttabOp.cache_flush)
def cache_flush(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """There is no cache to flush; what is asked is checked all the same."""
    for address in _Array(GnttabOp.cache_flush, uop, count, GNTTAB_CACHE_FLUSH).addresses(caller):
        arg = GNTTAB_CACHE_FLUSH.unpack(caller.copy_from_guest(address, GNTTAB_CACHE_FLUSH.size))
        check_cache_flush(caller.domain.grants, arg)
    return 0


def _check_range(caller: "Caller", address: int, size: int) -> None:
    hole = caller.domain.memory.space.hole
    if address + size > hole:
        raise Refusal(
            Errno.EFAULT, f"{size} bytes at {address:#x} reach into the hypervisor's area at {hole:#x}"
        )


def _only_one(count: int) -> None:
    if count != 1:
        raise Refusal(Errno.EINVAL, f"a count of {count} where only one struct is taken")


@dataclass(frozen=True, slots=True)
class _Array:
    """The structs a command is about: `count` of them at `uop`."""

    command: GnttabOp
    uop: int
    count: int
    layout: "Layout[Any]"

    def check(self, caller: "Caller") -> None:
        """Raises Refusal (-EFAULT) for an array that reaches into the hypervisor's area."""
        _check_range(caller, self.uop, self.count * self.layout.size)

    def read(self, caller: "Caller", first: int, count: int) -> list[Any]:
        """Structs from number `first` on. Raises PageFault."""
        size = self.layout.size
        return list(self.layout.iter_unpack(caller.copy_from_guest(self.uop + first * size, count * size)))

    def tell(self, caller: "Caller", first: int, statuses: "Sequence[GrantStatus]") -> None:
        """Write the status of structs from number `first` on, the last one first; one that cannot be written
        does not keep the others from it. Raises PageFault in the end.
        """
        unwritten: PageFault | None = None
        for at in reversed(range(len(statuses))):
            address = self.uop + (first + at) * self.layout.size + self.layout.offsets["status"]
            try:
                caller.copy_to_guest(address, int(statuses[at]).to_bytes(2, "little", signed=True))
            except PageFault as fault:
                unwritten = fault
        if unwritten is not None:
            raise unwritten

    def addresses(self, caller: "Caller") -> Iterator[int]:
        """Of the structs in order. Raises Preempted between two when one entry may not do them all."""
        self.check(caller)
        for done in range(self.count):
            address = self.uop + done * self.layout.size
            if done and not caller.budget.left():
                raise Preempted(done, self.command, address, self.count - done)
            yield address
            caller.budget.spend(_REQUEST_WORK)


def _each(caller: "Caller", array: _Array, operation: Callable[[Any], None]) -> int:
    """Do an array of requests in order, each with a status of its own. Ends with -EFAULT at the first struct
    that cannot be read or written."""
    layout, at = array.layout, array.layout.offsets["status"]
    for address in array.addresses(caller):
        arg = layout.unpack(caller.copy_from_guest(address, layout.size))
        status = _status(caller, partial(operation, arg))
        caller.copy_to_guest(address + at, int(status).to_bytes(2, "little", signed=True))
    return 0


def _status(caller: "Caller", operation: Callable[[], object]) -> GrantStatus:
    """Run it: okay, or the status it was refused with, whose sentence goes to the log and trace."""
    try:
        operation()
    except GrantRefusal as refusal:
        caller.refused(_NAME, refusal)
        return refusal.status
    return GrantStatus.okay
