"""What the commands of grant_table_op have in common: arrays of structs, each struct with its own status.

What is read and written when is as in Xen's 32-bit layer (common/compat/grant_table.c). It translates
setup_table, transfer, copy and get_status_frames: all structs of a portion are read before anything is done,
and what came of them is written afterwards. The others go through one struct at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from paravane.abi.errno import Errno
from paravane.abi.grant_table import GnttabOp, GrantStatus
from paravane.abi.hypercall import Hypercall
from paravane.classes import dataclass
from paravane.cpu import PageFault
from paravane.grants import GrantRefusal
from paravane.hypercalls.table import Arguments, commands
from paravane.preemption import Preempted
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.abi.layout import Layout
    from paravane.hypercalls.caller import Caller

_COMMAND_BITS = 12
NAME = "grant_table_op"
_XLAT_SPACE = 2 * PAGE_SIZE
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


def check_range(caller: "Caller", address: int, size: int) -> None:
    """Raises Refusal (-EFAULT) for an array that reaches into the hypervisor's area."""
    hole = caller.domain.memory.space.hole
    if address + size > hole:
        raise Refusal(
            Errno.EFAULT, f"{size} bytes at {address:#x} reach into the hypervisor's area at {hole:#x}"
        )


def only_one(count: int) -> None:
    """Raises Refusal (-EINVAL) for a count that is not 1."""
    if count != 1:
        raise Refusal(Errno.EINVAL, f"a count of {count} where only one struct is taken")


@dataclass(frozen=True, slots=True)
class Requests:
    """The structs a command is about: `count` of them at `uop`."""

    command: GnttabOp
    uop: int
    count: int
    layout: "Layout[Any]"

    def check(self, caller: "Caller") -> None:
        """Raises Refusal (-EFAULT)."""
        check_range(caller, self.uop, self.count * self.layout.size)

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


def each(caller: "Caller", array: Requests, operation: Callable[[Any], None]) -> int:
    """Do an array of requests in order, each with a status of its own. Ends with -EFAULT at the first struct
    that cannot be read or written."""
    layout, at = array.layout, array.layout.offsets["status"]
    for address in array.addresses(caller):
        arg = layout.unpack(caller.copy_from_guest(address, layout.size))
        status = status_of(caller, partial(operation, arg))
        caller.copy_to_guest(address + at, int(status).to_bytes(2, "little", signed=True))
    return 0


def in_portions(caller: "Caller", array: Requests, native_size: int, operation: Callable[[Any], None]) -> int:
    """Do an array of requests as Xen's 32-bit layer does those that it translates: as many at a time as fit,
    each of `native_size` bytes of its own. A portion with a struct that cannot be read is not begun
    (-EFAULT)."""
    array.check(caller)
    count, done = array.count, 0
    while done < count:
        requests = array.read(caller, done, min(_XLAT_SPACE // native_size, count - done))
        statuses: list[GrantStatus] = []
        for request in requests:
            if statuses and not caller.budget.left():
                break
            statuses.append(status_of(caller, partial(operation, request)))
            caller.budget.spend(_REQUEST_WORK)
        array.tell(caller, done, statuses)
        done += len(statuses)
        if done < count and not caller.budget.left():
            raise Preempted(done, array.command, array.uop + done * array.layout.size, count - done)
    return 0


def status_of(caller: "Caller", operation: Callable[[], object]) -> GrantStatus:
    """Run it: okay, or the status it was refused with, whose sentence goes to the log and trace."""
    try:
        operation()
    except GrantRefusal as refusal:
        caller.refused(NAME, refusal)
        return refusal.status
    return GrantStatus.okay
