"""What the control domain is told of a domain (public/domctl.h, XEN_DOMCTL_getdomaininfo)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.domctl_domain import (
    XEN_INVALID_MAX_VCPU_ID,
    DomainInfoFlag,
    XEN_DOMINF_shutdownshift,
    XenArchDomainconfig,
    XenDomctlGetdomaininfo,
)
from paravane.traps.emulate.cpuid import PHYSICAL_BITS
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from paravane.domain import Domain

_NOT_SHUT_DOWN = 0xFFFF_FFFF
"""The reason of a domain that has not shut down: Xen's SHUTDOWN_CODE_INVALID."""


def domain_info(domain: Domain) -> XenDomctlGetdomaininfo:
    """A domain as it is now; `cpu_time` in nanoseconds."""
    memory, vcpus = domain.memory, domain.vcpus
    return XenDomctlGetdomaininfo(
        domain=domain.domid,
        pad1=0,
        flags=_flags(domain),
        tot_pages=memory.tot_pages,
        max_pages=memory.max_pages,
        outstanding_pages=0,
        shr_pages=0,
        paged_pages=0,
        shared_info_frame=domain.shared_info >> PAGE_SHIFT,
        cpu_time=domain.running_time,
        nr_online_vcpus=sum(not vcpu.run_state.down for vcpu in vcpus),
        max_vcpu_id=len(vcpus) - 1 if vcpus else XEN_INVALID_MAX_VCPU_ID,
        ssidref=0,
        handle=domain.handle.bytes,
        cpupool=0,
        gpaddr_bits=PHYSICAL_BITS,
        pad2=b"",
        arch_config=XenArchDomainconfig(0, 0),
    )


def _flags(domain: Domain) -> int:
    """Blocked only if all vcpus that are online are, running if one is."""
    flags = 0
    online = [vcpu.run_state for vcpu in domain.vcpus if not vcpu.run_state.down]
    if online and all(state.blocked for state in online):
        flags |= DomainInfoFlag.blocked
    if any(state.has_processor for state in online):
        flags |= DomainInfoFlag.running
    if domain.memory.dying:
        flags |= DomainInfoFlag.dying
    if domain.reason is not None:
        flags |= DomainInfoFlag.shutdown
    if domain.paused:
        flags |= DomainInfoFlag.paused
    code = domain.state.shutdown_code
    reason = _NOT_SHUT_DOWN if code is None else code
    return flags | reason << XEN_DOMINF_shutdownshift & 0xFFFF_FFFF
