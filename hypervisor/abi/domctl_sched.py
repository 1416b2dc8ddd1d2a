"""The part of domctl that is about the scheduler (public/domctl.h, struct xen_domctl_scheduler_op)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.domctl import HANDLE_64
from paravane.abi.layout import (
    U16,
    U32,
    UINT32,
    Layout,
    Union,
)
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("XEN_SCHEDULER_")
class XenScheduler(IntEnum):
    """Schedulers that Xen has numbers for."""

    CREDIT = 5
    CREDIT2 = 6
    ARINC653 = 7
    RTDS = 8
    NULL = 9


@c_names("XEN_DOMCTL_SCHEDOP_")
class DomctlSchedop(IntEnum):
    """`cmd` of scheduler_op."""

    putinfo = 0
    getinfo = 1
    putvcpuinfo = 2
    getvcpuinfo = 3


class XenDomctlSchedCredit(NamedTuple):
    """`cap` in percent of one processor, 0 for none."""

    weight: U16
    cap: U16


XEN_DOMCTL_SCHED_CREDIT = Layout("xen_domctl_sched_credit", XenDomctlSchedCredit)


class XenDomctlSchedCredit2(NamedTuple):
    """As XenDomctlSchedCredit."""

    weight: U16
    cap: U16


XEN_DOMCTL_SCHED_CREDIT2 = Layout("xen_domctl_sched_credit2", XenDomctlSchedCredit2)


class XenDomctlSchedRtds(NamedTuple):
    """`budget` of every `period`, in microseconds."""

    period: U32
    budget: U32
    flags: U32


XEN_DOMCTL_SCHED_RTDS = Layout("xen_domctl_sched_rtds", XenDomctlSchedRtds)


class XenDomctlSchedVcpus(NamedTuple):
    """Of putvcpuinfo and getvcpuinfo: an array with parameters of `nr_vcpus` vcpus."""

    vcpus: HANDLE_64
    nr_vcpus: U32
    padding: U32


XEN_DOMCTL_SCHED_VCPUS = Layout("xen_domctl_scheduler_op.u.v", XenDomctlSchedVcpus)

_PARAMETERS: Final = Union(
    {
        "credit": XEN_DOMCTL_SCHED_CREDIT,
        "credit2": XEN_DOMCTL_SCHED_CREDIT2,
        "rtds": XEN_DOMCTL_SCHED_RTDS,
        "v": XEN_DOMCTL_SCHED_VCPUS,
    },
    raw=True,
)


class XenDomctlSchedulerOp(NamedTuple):
    """`u` depends on the scheduler; for XEN_SCHEDULER_CREDIT it is a xen_domctl_sched_credit."""

    sched_id: Annotated[int, UINT32, XenScheduler]
    cmd: Annotated[int, UINT32, DomctlSchedop]
    u: Annotated[bytes, _PARAMETERS]


XEN_DOMCTL_SCHEDULER_OP = Layout("xen_domctl_scheduler_op", XenDomctlSchedulerOp)
