"""Event channels (public/event_channel.h) and virtual interrupts (public/xen.h, VIRQ_*)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.domid import DOMID
from paravane.abi.layout import U8, U32, U64, UINT32, Array, Layout, Named, Union
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("EVTCHNOP_")
class EvtchnOp(IntEnum):
    """Commands of event_channel_op."""

    bind_interdomain = 0
    bind_virq = 1
    bind_pirq = 2
    close = 3
    send = 4
    status = 5
    alloc_unbound = 6
    bind_ipi = 7
    bind_vcpu = 8
    unmask = 9
    reset = 10
    init_control = 11
    expand_array = 12
    set_priority = 13


@c_names("VIRQ_")
class Virq(IntEnum):
    """Virtual interrupts. TIMER, DEBUG, XENOPROF and XENPMU are per vcpu, the others global."""

    TIMER = 0
    DEBUG = 1
    CONSOLE = 2
    DOM_EXC = 3
    TBUF = 4
    DEBUGGER = 6
    XENOPROF = 7
    CON_RING = 8
    PCPU_STATE = 9
    MEM_EVENT = 10
    ARGO = 11
    ENOMEM = 12
    XENPMU = 13
    ARCH_0 = 16
    ARCH_1 = 17
    ARCH_2 = 18
    ARCH_3 = 19
    ARCH_4 = 20
    ARCH_5 = 21
    ARCH_6 = 22
    ARCH_7 = 23
    MCA = 16


NR_VIRQS: Final = 24


@c_names("EVTCHN_FIFO_")
class EvtchnFifo(IntEnum):
    """Bits of an event word (`event_word_t`) of the FIFO ABI, by number; those from 0 up to `LINK_BITS` are
    the port that follows in its queue. The guest owns MASKED; BUSY is the hypervisor's while it links."""

    LINK_BITS = 17
    BUSY = 28
    LINKED = 29
    MASKED = 30
    PENDING = 31


@c_names("EVTCHN_FIFO_PRIORITY_")
class EvtchnFifoPriority(IntEnum):
    """Priorities of the FIFO ABI: the smaller the number, the more urgent."""

    MAX = 0
    DEFAULT = 7
    MIN = 15


@c_names("EVTCHNSTAT_")
class EvtchnStat(IntEnum):
    """`evtchn_status.status`."""

    closed = 0
    unbound = 1
    interdomain = 2
    pirq = 3
    virq = 4
    ipi = 5


EVTCHN_2L_NR_CHANNELS: Final = 1024
"""Ports of the 2-level ABI for a 32-bit guest: 32 words of 32 bits."""

EVTCHN_FIFO_NR_CHANNELS: Final = 1 << EvtchnFifo.LINK_BITS
"""Ports of the FIFO ABI."""

EVTCHN_FIFO_LINK_MASK: Final = EVTCHN_FIFO_NR_CHANNELS - 1

EVTCHN_FIFO_MAX_QUEUES: Final = EvtchnFifoPriority.MIN + 1
"""Queues of one vcpu, one for each priority."""

BIND_PIRQ__WILL_SHARE: Final = 1

EVTCHN_PORT = U32
"""`evtchn_port_t`."""


class EvtchnAllocUnbound(NamedTuple):
    """A new port of `dom` that `remote_dom` may bind to; `port` is the answer."""

    dom: DOMID
    remote_dom: DOMID
    port: EVTCHN_PORT


EVTCHN_ALLOC_UNBOUND = Layout("evtchn_alloc_unbound", EvtchnAllocUnbound)


class EvtchnBindInterdomain(NamedTuple):
    """Connect a new local port to an unbound port of `remote_dom`; `local_port` is the answer."""

    remote_dom: DOMID
    remote_port: EVTCHN_PORT
    local_port: EVTCHN_PORT


EVTCHN_BIND_INTERDOMAIN = Layout("evtchn_bind_interdomain", EvtchnBindInterdomain)


class EvtchnBindVirq(NamedTuple):
    """`port` is the answer."""

    virq: Annotated[int, UINT32, Virq]
    vcpu: U32
    port: EVTCHN_PORT


EVTCHN_BIND_VIRQ = Layout("evtchn_bind_virq", EvtchnBindVirq)


class EvtchnBindPirq(NamedTuple):
    """`port` is the answer."""

    pirq: U32
    flags: U32
    port: EVTCHN_PORT


EVTCHN_BIND_PIRQ = Layout("evtchn_bind_pirq", EvtchnBindPirq)


class EvtchnBindIpi(NamedTuple):
    """`port` is the answer."""

    vcpu: U32
    port: EVTCHN_PORT


EVTCHN_BIND_IPI = Layout("evtchn_bind_ipi", EvtchnBindIpi)


class EvtchnClose(NamedTuple):
    """Argument of EVTCHNOP_close."""

    port: EVTCHN_PORT


EVTCHN_CLOSE = Layout("evtchn_close", EvtchnClose)


class EvtchnSend(NamedTuple):
    """Argument of EVTCHNOP_send."""

    port: EVTCHN_PORT


EVTCHN_SEND = Layout("evtchn_send", EvtchnSend)


class EvtchnStatusUnbound(NamedTuple):
    """`evtchn_status.u` for EVTCHNSTAT_unbound."""

    dom: DOMID


EVTCHN_STATUS_UNBOUND = Layout("evtchn_status.u.unbound", EvtchnStatusUnbound)


class EvtchnStatusInterdomain(NamedTuple):
    """`evtchn_status.u` for EVTCHNSTAT_interdomain: the other end."""

    dom: DOMID
    port: EVTCHN_PORT


EVTCHN_STATUS_INTERDOMAIN = Layout("evtchn_status.u.interdomain", EvtchnStatusInterdomain)


class EvtchnStatus(NamedTuple):
    """Question: `dom`, `port`. Answer: `status`, `vcpu`, and `u` (8 bytes) as `status` says."""

    dom: DOMID
    port: EVTCHN_PORT
    status: Annotated[int, UINT32, EvtchnStat]
    vcpu: U32
    u: Annotated[
        bytes,
        Union(
            {
                "unbound": EVTCHN_STATUS_UNBOUND,
                "interdomain": EVTCHN_STATUS_INTERDOMAIN,
                "pirq": UINT32,
                "virq": UINT32,
            },
            raw=True,
        ),
    ]


EVTCHN_STATUS = Layout("evtchn_status", EvtchnStatus)


class EvtchnBindVcpu(NamedTuple):
    """Argument of EVTCHNOP_bind_vcpu."""

    port: EVTCHN_PORT
    vcpu: U32


EVTCHN_BIND_VCPU = Layout("evtchn_bind_vcpu", EvtchnBindVcpu)


class EvtchnUnmask(NamedTuple):
    """Argument of EVTCHNOP_unmask."""

    port: EVTCHN_PORT


EVTCHN_UNMASK = Layout("evtchn_unmask", EvtchnUnmask)


class EvtchnReset(NamedTuple):
    """Argument of EVTCHNOP_reset."""

    dom: DOMID


EVTCHN_RESET = Layout("evtchn_reset", EvtchnReset)


class EvtchnInitControl(NamedTuple):
    """Argument of EVTCHNOP_init_control (FIFO ABI)."""

    control_gfn: U64
    offset: U32
    vcpu: U32
    link_bits: U8
    pad: Annotated[tuple[int, ...], Array("B", 7), Named("_pad")]


EVTCHN_INIT_CONTROL = Layout("evtchn_init_control", EvtchnInitControl)


class EvtchnFifoControlBlock(NamedTuple):
    """What a vcpu shares with the hypervisor: `ready` has a bit for each queue that may hold events, `head`
    the first port of each."""

    ready: U32
    reserved: Annotated[int, UINT32, Named("_rsvd")]
    head: Annotated[tuple[int, ...], Array("I", EVTCHN_FIFO_MAX_QUEUES)]


EVTCHN_FIFO_CONTROL_BLOCK = Layout("evtchn_fifo_control_block", EvtchnFifoControlBlock)


class EvtchnExpandArray(NamedTuple):
    """Argument of EVTCHNOP_expand_array (FIFO ABI)."""

    array_gfn: U64


EVTCHN_EXPAND_ARRAY = Layout("evtchn_expand_array", EvtchnExpandArray)


class EvtchnSetPriority(NamedTuple):
    """Argument of EVTCHNOP_set_priority (FIFO ABI)."""

    port: EVTCHN_PORT
    priority: U32


EVTCHN_SET_PRIORITY = Layout("evtchn_set_priority", EvtchnSetPriority)


class EvtchnOpCompat(NamedTuple):
    """The only argument of event_channel_op_compat (hypercall 16): command and its argument in one struct."""

    cmd: Annotated[int, UINT32, EvtchnOp]
    u: Annotated[
        bytes,
        Union(
            {
                "alloc_unbound": EVTCHN_ALLOC_UNBOUND,
                "bind_interdomain": EVTCHN_BIND_INTERDOMAIN,
                "bind_virq": EVTCHN_BIND_VIRQ,
                "bind_pirq": EVTCHN_BIND_PIRQ,
                "bind_ipi": EVTCHN_BIND_IPI,
                "close": EVTCHN_CLOSE,
                "send": EVTCHN_SEND,
                "status": EVTCHN_STATUS,
                "bind_vcpu": EVTCHN_BIND_VCPU,
                "unmask": EVTCHN_UNMASK,
            },
            raw=True,
        ),
    ]


EVTCHN_OP = Layout("evtchn_op", EvtchnOpCompat)
