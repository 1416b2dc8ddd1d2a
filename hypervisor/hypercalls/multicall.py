"""multicall (public/xen.h, struct multicall_entry): several hypercalls in one trap."""

from typing import TYPE_CHECKING

from hypervisor.abi.errno import Errno
from hypervisor.abi.hypercall import MULTICALL_ENTRY, Hypercall
from hypervisor.hypercalls.table import Ptr, UInt, call, hypercall
from hypervisor.refusal import Refusal

if TYPE_CHECKING:
    from hypervisor.vcpu import Vcpu

_RESULT = MULTICALL_ENTRY.offsets["result"]


@hypercall(Hypercall.multicall)
def multicall(vcpu: "Vcpu", call_list: Ptr, nr_calls: UInt) -> int | None:
    """Run the entries in order. Each gets its own result; only an unusable list stops the batch.

    An iret entry leaves for where it says at once, and a domain that shut down runs nothing more.
    """
    if vcpu.in_multicall:
        raise Refusal(Errno.EINVAL, "a multicall within a multicall is not allowed")
    vcpu.in_multicall = True
    try:
        for address in range(call_list, call_list + nr_calls * MULTICALL_ENTRY.size, MULTICALL_ENTRY.size):
            entry = MULTICALL_ENTRY.unpack(vcpu.copy_from_guest(address, MULTICALL_ENTRY.size))
            result = call(vcpu, entry.op, entry.args)
            if result is None:
                return None
            vcpu.copy_to_guest(address + _RESULT, (result & 0xFFFF_FFFF).to_bytes(4, "little"))
            if not vcpu.domain.alive:
                break
    finally:
        vcpu.in_multicall = False
    return 0
