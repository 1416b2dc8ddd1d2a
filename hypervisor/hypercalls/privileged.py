"""What only control and hardware domains may ask for: refused to guests, in the order of Xen's checks.

A program that probes for its privileges sees the same errno here: -EFAULT for a struct that cannot be read
first, then -EACCES for another version of the interface, then -EPERM.
"""

from typing import TYPE_CHECKING, Annotated

from paravane.abi.control import (
    XEN_DM_OP_BUF,
    XEN_PLATFORM_OP,
    XENPF_INTERFACE_VERSION,
    XenPlatformOp,
)
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.hypercalls.interface import require_version
from paravane.hypercalls.table import Domid, Hex, In, Int, Ptr, UInt, hypercall
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

XENOPROF_LAST_OP = 17
XENOPROF_UNPRIVILEGED = (0, 8, 11, 14)
"""init, enable_virq, disable_virq, get_buffer."""

DM_OP_BUFFERS = 2


def _not_permitted(what: str) -> Refusal:
    return Refusal(Errno.EPERM, f"{what} is for the control domain")


@hypercall(Hypercall.platform_op)
def platform_op(caller: "Caller", u_xenpf_op: Annotated[XenPlatformOp, In(XEN_PLATFORM_OP)]) -> None:
    require_version(u_xenpf_op.interface_version, XENPF_INTERFACE_VERSION)
    raise _not_permitted(f"platform_op {u_xenpf_op.cmd}")


@hypercall(Hypercall.mca)
def mca(caller: "Caller", u_xen_mc: Ptr) -> None:
    """Privileges are looked at before the argument."""
    raise _not_permitted("the machine-check log")


@hypercall(Hypercall.kexec_op)
def kexec_op(caller: "Caller", op: UInt, uarg: Ptr) -> None:
    raise _not_permitted("kexec_op")


@hypercall(Hypercall.hypfs_op)
def hypfs_op(caller: "Caller", cmd: UInt, arg1: Ptr, arg2: Hex, arg3: Ptr, arg4: Hex) -> None:
    raise _not_permitted("the hypervisor's file system")


@hypercall(Hypercall.xenpmu_op)
def xenpmu_op(caller: "Caller", op: UInt, arg: Ptr) -> None:
    """As without `vpmu=on`, the default."""
    raise Refusal(Errno.EOPNOTSUPP, "virtual performance counters are switched off")


@hypercall(Hypercall.xenoprof_op)
def xenoprof_op(caller: "Caller", op: Int, arg: Ptr) -> None:
    """The processor that guests see has no performance counters, so nothing can be profiled."""
    if not 0 <= op <= XENOPROF_LAST_OP:
        raise Refusal(Errno.EINVAL, f"xenoprof_op has no command {op}")
    if op not in XENOPROF_UNPRIVILEGED:
        raise Refusal(Errno.EPERM, f"xenoprof_op {op} is for the domain that profiles")
    raise Refusal(Errno.ENODEV, "there are no performance counters")


@hypercall(Hypercall.dm_op)
def dm_op(caller: "Caller", domid: Domid, nr_bufs: UInt, bufs: Ptr) -> None:
    """What device models ask of the guests they serve, which are HVM ones: there are none."""
    if nr_bufs > DM_OP_BUFFERS:
        raise Refusal(Errno.E2BIG, f"{nr_bufs} buffers for dm_op, {DM_OP_BUFFERS} are the most it takes")
    for at in range(nr_bufs):
        caller.copy_from_guest(bufs + at * XEN_DM_OP_BUF.size, XEN_DM_OP_BUF.size)
    other = domid & 0xFFFF
    caller.platform.domains.other(caller.domain.domid, other)
    raise Refusal(Errno.EINVAL, f"domain {other} is paravirtual and has no device model")
