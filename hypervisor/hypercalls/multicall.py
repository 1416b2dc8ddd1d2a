"""multicall (public/xen.h, struct multicall_entry): several hypercalls in one trap."""

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.abi.hypercall import MULTICALL_ENTRY, Hypercall, MulticallEntry
from paravane.hypercalls.table import Ptr, UInt, hypercall
from paravane.preemption import Preempted
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

_RESULT = MULTICALL_ENTRY.offsets["result"]
_ENTRY_WORK = 4
"""Units of work of one entry, besides what the hypercall in it spends."""


@hypercall(Hypercall.multicall)
def multicall(caller: "Caller", call_list: Ptr, nr_calls: UInt) -> int | None:
    """Run the entries in order. Each gets its own result; only an unusable list stops the batch.

    An iret entry leaves for where it says at once. What makes the vcpu wait, or makes an upcall due, takes
    effect before the next entry; that one then is the first when the guest goes on.
    """
    if caller.in_multicall:
        raise Refusal(Errno.EINVAL, "a multicall within a multicall is not allowed")
    caller.in_multicall = True
    try:
        for done in range(nr_calls):
            address = call_list + done * MULTICALL_ENTRY.size
            if done and not caller.budget.left():
                raise Preempted(done, address, nr_calls - done)
            entry = MULTICALL_ENTRY.unpack(caller.copy_from_guest(address, MULTICALL_ENTRY.size))
            try:
                result = caller.hypercall(entry.op, entry.args)
            except Preempted as rest:
                _keep(caller, address, entry, rest)
                raise Preempted(done, address, nr_calls - done) from None
            if result is None:
                return None
            caller.copy_to_guest(address + _RESULT, (result & 0xFFFF_FFFF).to_bytes(4, "little"))
            caller.budget.spend(_ENTRY_WORK)
    finally:
        caller.in_multicall = False
    return 0


def _keep(caller: "Caller", address: int, entry: MulticallEntry, rest: Preempted) -> None:
    """Replace an entry by what is left of it; until that is done its result is its number, as in Xen."""
    arguments = (*rest.arguments, *entry.args[len(rest.arguments) :])
    left = entry._replace(result=entry.op, args=arguments)
    caller.copy_to_guest(address, MULTICALL_ENTRY.pack(left))
