"""event_channel_op (public/event_channel.h) and its old form that carries the command in the struct."""

from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

from paravane.abi.errno import Errno
from paravane.abi.event_channel import (
    EVTCHN_ALLOC_UNBOUND,
    EVTCHN_BIND_INTERDOMAIN,
    EVTCHN_BIND_IPI,
    EVTCHN_BIND_PIRQ,
    EVTCHN_BIND_VCPU,
    EVTCHN_BIND_VIRQ,
    EVTCHN_CLOSE,
    EVTCHN_EXPAND_ARRAY,
    EVTCHN_INIT_CONTROL,
    EVTCHN_OP,
    EVTCHN_RESET,
    EVTCHN_SEND,
    EVTCHN_SET_PRIORITY,
    EVTCHN_STATUS,
    EVTCHN_STATUS_INTERDOMAIN,
    EVTCHN_STATUS_UNBOUND,
    EVTCHN_UNMASK,
    EvtchnAllocUnbound,
    EvtchnBindInterdomain,
    EvtchnBindIpi,
    EvtchnBindPirq,
    EvtchnBindVcpu,
    EvtchnBindVirq,
    EvtchnClose,
    EvtchnExpandArray,
    EvtchnInitControl,
    EvtchnOp,
    EvtchnReset,
    EvtchnSend,
    EvtchnSetPriority,
    EvtchnStat,
    EvtchnStatus,
    EvtchnStatusInterdomain,
    EvtchnStatusUnbound,
    EvtchnUnmask,
)
from paravane.abi.hypercall import Hypercall
from paravane.events import Status
from paravane.hypercalls.table import In, InOut, Ptr, commands, hypercall
from paravane.preemption import Preempted
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller


_BUCKET_WORK = 64
"""Units of work to close as many ports as are looked at between two questions whether to go on."""


class RestartOp(IntEnum):
    """What Xen rewrites a preempted command to. No public header names it, but any guest may ask for it."""

    reset_cont = 14


evtchn = commands(Hypercall.event_channel_op, EvtchnOp)


@evtchn(EvtchnOp.alloc_unbound)
def alloc_unbound(
    caller: "Caller", arg: Annotated[EvtchnAllocUnbound, InOut(EVTCHN_ALLOC_UNBOUND)]
) -> EvtchnAllocUnbound:
    return arg._replace(port=caller.domain.events.alloc_unbound(arg.dom, arg.remote_dom))


@evtchn(EvtchnOp.bind_interdomain)
def bind_interdomain(
    caller: "Caller", arg: Annotated[EvtchnBindInterdomain, InOut(EVTCHN_BIND_INTERDOMAIN)]
) -> EvtchnBindInterdomain:
    return arg._replace(local_port=caller.domain.events.bind_interdomain(arg.remote_dom, arg.remote_port))


@evtchn(EvtchnOp.bind_virq)
def bind_virq(caller: "Caller", arg: Annotated[EvtchnBindVirq, InOut(EVTCHN_BIND_VIRQ)]) -> EvtchnBindVirq:
    return arg._replace(port=caller.domain.events.bind_virq(arg.virq, arg.vcpu))


@evtchn(EvtchnOp.bind_ipi)
def bind_ipi(caller: "Caller", arg: Annotated[EvtchnBindIpi, InOut(EVTCHN_BIND_IPI)]) -> EvtchnBindIpi:
    return arg._replace(port=caller.domain.events.bind_ipi(arg.vcpu))


@evtchn(EvtchnOp.bind_pirq)
def bind_pirq(caller: "Caller", arg: Annotated[EvtchnBindPirq, InOut(EVTCHN_BIND_PIRQ)]) -> EvtchnBindPirq:
    return arg._replace(port=caller.domain.events.bind_pirq(arg.pirq))


@evtchn(EvtchnOp.bind_vcpu)
def bind_vcpu(caller: "Caller", arg: Annotated[EvtchnBindVcpu, In(EVTCHN_BIND_VCPU)]) -> int:
    caller.domain.events.bind_vcpu(arg.port, arg.vcpu)
    return 0


@evtchn(EvtchnOp.close)
def close(caller: "Caller", arg: Annotated[EvtchnClose, In(EVTCHN_CLOSE)]) -> int:
    caller.domain.events.close(arg.port)
    return 0


@evtchn(EvtchnOp.send)
def send(caller: "Caller", arg: Annotated[EvtchnSend, In(EVTCHN_SEND)]) -> int:
    caller.domain.events.send(arg.port)
    return 0


@evtchn(EvtchnOp.unmask)
def unmask(caller: "Caller", arg: Annotated[EvtchnUnmask, In(EVTCHN_UNMASK)]) -> int:
    caller.domain.events.unmask(arg.port)
    return 0


@evtchn(EvtchnOp.status)
def status(caller: "Caller", arg: Annotated[EvtchnStatus, InOut(EVTCHN_STATUS)]) -> EvtchnStatus:
    answer = caller.domain.events.status(arg.dom, arg.port)
    union = _status_union(answer)
    return arg._replace(status=answer.status, vcpu=answer.vcpu_id, u=union + arg.u[len(union) :])


@evtchn(EvtchnOp.reset)
def reset(caller: "Caller", arg: Annotated[EvtchnReset, In(EVTCHN_RESET)]) -> int:
    return _reset(caller, arg, resuming=False)


@evtchn(RestartOp.reset_cont)
def reset_cont(caller: "Caller", arg: Annotated[EvtchnReset, In(EVTCHN_RESET)]) -> int:
    """The rest of a reset that was preempted."""
    return _reset(caller, arg, resuming=True)


@evtchn(EvtchnOp.init_control)
def init_control(
    caller: "Caller", arg: Annotated[EvtchnInitControl, InOut(EVTCHN_INIT_CONTROL)]
) -> EvtchnInitControl:
    return arg._replace(link_bits=caller.domain.events.init_control(arg.vcpu, arg.control_gfn, arg.offset))


@evtchn(EvtchnOp.expand_array)
def expand_array(caller: "Caller", arg: Annotated[EvtchnExpandArray, In(EVTCHN_EXPAND_ARRAY)]) -> int:
    caller.domain.events.expand_array(arg.array_gfn)
    return 0


@evtchn(EvtchnOp.set_priority)
def set_priority(caller: "Caller", arg: Annotated[EvtchnSetPriority, In(EVTCHN_SET_PRIORITY)]) -> int:
    caller.domain.events.set_priority(arg.port, arg.priority)
    return 0


@hypercall(Hypercall.event_channel_op_compat)
def event_channel_op_compat(caller: "Caller", uop: Ptr) -> int | None:
    """The commands of the days when the struct carried the command; each finds its struct in the union."""
    cmd = EVTCHN_OP.unpack(caller.copy_from_guest(uop, EVTCHN_OP.size)).cmd
    if cmd > EvtchnOp.unmask:
        raise Refusal(Errno.ENOSYS, f"event_channel_op_compat has no command {cmd}")
    return evtchn.call(caller, (cmd, uop + EVTCHN_OP.offsets["u"], 0, 0, 0, 0))


def _reset(caller: "Caller", arg: EvtchnReset, *, resuming: bool) -> int:
    """Close ports in portions; the struct for the rest is where it was, so only the command changes."""

    def go_on() -> bool:
        caller.budget.spend(_BUCKET_WORK)
        return caller.budget.left() > 0

    if not caller.domain.events.reset(arg.dom, go_on, resuming=resuming):
        raise Preempted(0, RestartOp.reset_cont)
    return 0


def _status_union(answer: Status) -> bytes:
    """The bytes of `evtchn_status.u` that this answer sets; Xen leaves the others as the guest had them."""
    if answer.status == EvtchnStat.unbound:
        return EVTCHN_STATUS_UNBOUND.pack(EvtchnStatusUnbound(answer.domid))
    if answer.status == EvtchnStat.interdomain:
        return EVTCHN_STATUS_INTERDOMAIN.pack(EvtchnStatusInterdomain(answer.domid, answer.port))
    if answer.status == EvtchnStat.virq:
        return answer.virq.to_bytes(4, "little")
    return b""
