"""domctl's commands about the vcpus of a domain."""

from typing import TYPE_CHECKING

from paravane.abi.domctl import DomctlCmd
from paravane.abi.domctl_vcpu import (
    XEN_DOMCTL_GETVCPUINFO,
    XEN_DOMCTL_MAX_VCPUS,
    XEN_DOMCTL_VCPUCONTEXT,
    XenDomctlGetvcpuinfo,
    XenDomctlMaxVcpus,
    XenDomctlVcpucontext,
)
from paravane.abi.errno import Errno
from paravane.abi.vcpu import VCPU_GUEST_CONTEXT, Runstate
from paravane.hypercalls.domctl import POINTER, about, not_oneself
from paravane.refusal import Refusal
from paravane.vcpu_context import vcpu_context

if TYPE_CHECKING:
    from paravane.domain import Domain
    from paravane.hypercalls.caller import Caller
    from paravane.vcpu import Vcpu


@about(DomctlCmd.max_vcpus, XEN_DOMCTL_MAX_VCPUS)
def max_vcpus(caller: "Caller", domain: "Domain", part: XenDomctlMaxVcpus) -> None:
    not_oneself(caller, domain)
    if part.max != domain.memory.max_vcpus:
        raise Refusal(
            Errno.EINVAL, f"d{domain.domid} was made for {domain.memory.max_vcpus} vcpus, not {part.max}"
        )
    if domain.memory.dying:
        return  # what a vcpu would run on is gone already, though frames of the domain are still mapped
    try:
        caller.control.add_vcpus(domain)
    except MemoryError as error:
        raise Refusal(Errno.ENOMEM, str(error)) from None


@about(DomctlCmd.setvcpucontext, XEN_DOMCTL_VCPUCONTEXT)
def setvcpucontext(caller: "Caller", domain: "Domain", part: XenDomctlVcpucontext) -> None:
    """The registers a vcpu goes on with; without a pointer it is as if it had never had any."""
    not_oneself(caller, domain)
    vcpu, pointer = _vcpu(domain, part.vcpu), part.ctxt & POINTER
    if pointer:
        vcpu.set_context(VCPU_GUEST_CONTEXT.unpack(caller.copy_from_guest(pointer, VCPU_GUEST_CONTEXT.size)))
    else:
        vcpu.reset()


@about(DomctlCmd.getvcpucontext, XEN_DOMCTL_VCPUCONTEXT)
def getvcpucontext(caller: "Caller", domain: "Domain", part: XenDomctlVcpucontext) -> XenDomctlVcpucontext:
    vcpu = _vcpu(domain, part.vcpu)
    if vcpu is caller.vcpu:
        raise Refusal(Errno.EINVAL, "a vcpu cannot be stopped to look at itself")
    if not vcpu.run_state.initialised:
        raise Refusal(Errno.ENODATA, f"vcpu {part.vcpu} of d{domain.domid} has no context yet")
    caller.copy_to_guest(part.ctxt & POINTER, VCPU_GUEST_CONTEXT.pack(vcpu_context(vcpu)))
    return part


@about(DomctlCmd.getvcpuinfo, XEN_DOMCTL_GETVCPUINFO)
def getvcpuinfo(caller: "Caller", domain: "Domain", part: XenDomctlGetvcpuinfo) -> XenDomctlGetvcpuinfo:
    if part.vcpu >= domain.memory.max_vcpus:
        raise Refusal(Errno.EINVAL, f"d{domain.domid} cannot have a vcpu {part.vcpu}")
    if part.vcpu >= len(domain.vcpus):
        raise Refusal(Errno.ESRCH, f"d{domain.domid} has no vcpu {part.vcpu} yet")
    vcpu = domain.vcpus[part.vcpu]
    state = vcpu.run_state
    return part._replace(
        online=int(not state.down),
        blocked=int(state.blocked),
        running=int(state.has_processor),
        cpu_time=vcpu.time.run_states().time[Runstate.running],
        cpu=0,
    )


def _vcpu(domain: "Domain", number: int) -> "Vcpu":
    if number >= len(domain.vcpus):
        raise Refusal(Errno.EINVAL, f"d{domain.domid} has no vcpu {number}")
    return domain.vcpus[number]
