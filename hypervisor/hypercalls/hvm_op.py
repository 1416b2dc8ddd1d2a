"""hvm_op (public/hvm/hvm_op.h) in a paravirtual domain: the time, and no to what only HVM domains have."""

from typing import TYPE_CHECKING, Annotated

from paravane.abi.control import (
    HVM_NR_PARAMS,
    XEN_HVM_GET_MEM_TYPE,
    XEN_HVM_GET_TIME,
    XEN_HVM_PAGETABLE_DYING,
    XEN_HVM_PARAM,
    HvmOp,
    XenHvmGetMemType,
    XenHvmGetTime,
    XenHvmPagetableDying,
    XenHvmParam,
)
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.hypercalls.table import In, Ptr, commands
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

hvm = commands(Hypercall.hvm_op, HvmOp)


@hvm(HvmOp.get_time)
def get_time(caller: "Caller", arg: Ptr) -> int:
    """System time in nanoseconds."""
    caller.copy_to_guest(arg, XEN_HVM_GET_TIME.pack(XenHvmGetTime(caller.clock.now())))
    return 0


@hvm(HvmOp.set_param, HvmOp.get_param)
def param(caller: "Caller", arg: Annotated[XenHvmParam, In(XEN_HVM_PARAM)]) -> None:
    if arg.index_ >= HVM_NR_PARAMS:
        raise Refusal(Errno.EINVAL, f"there is no HVM parameter {arg.index_}")
    caller.domain.is_named(arg.domid)
    raise _not_hvm()


@hvm(HvmOp.get_mem_type)
def get_mem_type(caller: "Caller", arg: Annotated[XenHvmGetMemType, In(XEN_HVM_GET_MEM_TYPE)]) -> None:
    if not caller.domain.is_named(arg.domid):
        raise Refusal(Errno.EPERM, f"domain {arg.domid} is not the caller's to look at")
    raise _not_hvm()


@hvm(HvmOp.pagetable_dying)
def pagetable_dying(
    caller: "Caller", arg: Annotated[XenHvmPagetableDying, In(XEN_HVM_PAGETABLE_DYING)]
) -> None:
    if not caller.domain.is_named(arg.domid):
        raise Refusal(Errno.EOPNOTSUPP, "only its own page tables are a domain's to let die")
    raise _not_hvm()


@hvm(HvmOp.flush_tlbs, HvmOp.set_evtchn_upcall_vector)
def for_hvm_only(caller: "Caller", arg: Ptr) -> None:
    raise _not_hvm()


@hvm(HvmOp.guest_request_vm_event)
def guest_request_vm_event(caller: "Caller", arg: Ptr) -> int:
    """Tells a monitor of the domain, if it has one: none here has."""
    if arg:
        raise Refusal(Errno.EINVAL, "a request to the monitor takes no argument")
    return 0


def _not_hvm() -> Refusal:
    return Refusal(Errno.EINVAL, "every domain of this machine is paravirtual")
