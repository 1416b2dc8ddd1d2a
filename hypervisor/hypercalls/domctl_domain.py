"""domctl's commands about a domain as a whole: its life, its memory, its share of the processor."""

from typing import TYPE_CHECKING
from uuid import UUID

from paravane.abi.domctl import DomctlCmd
from paravane.abi.domctl_domain import (
    XEN_DOMCTL_ADDRESS_SIZE,
    XEN_DOMCTL_GETDOMAININFO,
    XEN_DOMCTL_MAX_MEM,
    XEN_DOMCTL_SETDOMAINHANDLE,
    XenDomctlAddressSize,
    XenDomctlGetdomaininfo,
    XenDomctlMaxMem,
    XenDomctlSetdomainhandle,
)
from paravane.abi.domctl_sched import (
    XEN_DOMCTL_SCHED_CREDIT,
    XEN_DOMCTL_SCHEDULER_OP,
    DomctlSchedop,
    XenDomctlSchedCredit,
    XenDomctlSchedulerOp,
    XenScheduler,
)
from paravane.abi.errno import Errno
from paravane.hypercalls.domain_info import domain_info
from paravane.hypercalls.domctl import about, not_oneself
from paravane.refusal import Refusal
from paravane.sched import MAX_CAP
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from paravane.domain import Domain
    from paravane.hypercalls.caller import Caller


@about(DomctlCmd.destroydomain)
def destroydomain(caller: "Caller", domain: "Domain", part: None) -> None:
    """It is gone before the caller executes anything more."""
    not_oneself(caller, domain)
    if not domain.memory.dying:
        caller.control.destroy(domain)
        caller.vcpu.stop()


_MOST_PAGES = (1 << 32) - 1
_ADDRESS_SIZE = 32
_SAME_CAP = 0xFFFF


@about(DomctlCmd.pausedomain)
def pausedomain(caller: "Caller", domain: "Domain", part: None) -> None:
    not_oneself(caller, domain)
    try:
        domain.pause()
    except ValueError as error:
        raise Refusal(Errno.EOVERFLOW, str(error)) from None


@about(DomctlCmd.unpausedomain)
def unpausedomain(caller: "Caller", domain: "Domain", part: None) -> None:
    try:
        domain.unpause()
    except ValueError as error:
        raise Refusal(Errno.EINVAL, str(error)) from None


@about(DomctlCmd.resumedomain)
def resumedomain(caller: "Caller", domain: "Domain", part: None) -> None:
    """Its vcpus go on where they were when it shut down. What its kernel is to find as the answer to the
    hypercall that suspended it, the caller puts into its registers before."""
    not_oneself(caller, domain)
    domain.resume()


@about(DomctlCmd.getdomaininfo, XEN_DOMCTL_GETDOMAININFO)
def getdomaininfo(caller: "Caller", domain: "Domain", part: XenDomctlGetdomaininfo) -> XenDomctlGetdomaininfo:
    return domain_info(domain)


@about(DomctlCmd.max_mem, XEN_DOMCTL_MAX_MEM)
def max_mem(caller: "Caller", domain: "Domain", part: XenDomctlMaxMem) -> None:
    """Less than the domain has now is all right: it gets no more before it has given some back."""
    domain.memory.max_pages = min(part.max_memkb >> PAGE_SHIFT - 10, _MOST_PAGES)


@about(DomctlCmd.scheduler_op, XEN_DOMCTL_SCHEDULER_OP)
def scheduler_op(caller: "Caller", domain: "Domain", part: XenDomctlSchedulerOp) -> XenDomctlSchedulerOp:
    """The weight and cap of a domain, which every policy here calls by the names of credit."""
    if part.sched_id != XenScheduler.CREDIT or part.cmd not in (DomctlSchedop.putinfo, DomctlSchedop.getinfo):
        raise Refusal(Errno.EINVAL, f"scheduler {part.sched_id} has no command {part.cmd} here")
    share = domain.share
    if part.cmd == DomctlSchedop.putinfo:
        wanted = XEN_DOMCTL_SCHED_CREDIT.unpack(part.u)
        cap = share.cap if wanted.cap == _SAME_CAP else wanted.cap
        if cap > MAX_CAP:  # before anything is changed; Xen takes any
            raise Refusal(Errno.EINVAL, f"a cap is at most {MAX_CAP} percent, not {cap}")
        share.weight = wanted.weight or share.weight
        share.cap = cap
        return part
    data = XEN_DOMCTL_SCHED_CREDIT.pack(XenDomctlSchedCredit(share.weight, share.cap))
    return part._replace(u=data + part.u[len(data) :])


@about(DomctlCmd.setdomainhandle, XEN_DOMCTL_SETDOMAINHANDLE)
def setdomainhandle(caller: "Caller", domain: "Domain", part: XenDomctlSetdomainhandle) -> None:
    domain.handle = UUID(bytes=part.handle)


@about(DomctlCmd.set_address_size, XEN_DOMCTL_ADDRESS_SIZE)
def set_address_size(caller: "Caller", domain: "Domain", part: XenDomctlAddressSize) -> None:
    if part.size != _ADDRESS_SIZE:
        raise Refusal(Errno.EINVAL, f"domains here have {_ADDRESS_SIZE}-bit addresses, not {part.size}-bit")


@about(DomctlCmd.get_address_size, XEN_DOMCTL_ADDRESS_SIZE)
def get_address_size(caller: "Caller", domain: "Domain", part: XenDomctlAddressSize) -> XenDomctlAddressSize:
    return part._replace(size=_ADDRESS_SIZE)
