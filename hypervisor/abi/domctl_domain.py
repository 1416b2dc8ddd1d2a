"""The parts of domctl that are about a domain as a whole (public/domctl.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.domid import DOMID
from paravane.abi.layout import (
    S32,
    U8,
    U16,
    U32,
    U64_ALIGNED,
    Chars,
    Layout,
    Scalar,
)
from paravane.abi.names import c_names
from paravane.abi.version import XEN_DOMAIN_HANDLE_LEN
from paravane.classes import NamedTuple

_HANDLE = Annotated[bytes, Chars(XEN_DOMAIN_HANDLE_LEN)]


class XenArchDomainconfig(NamedTuple):
    """The part of a domain's configuration that is x86's; a PV domain has no emulated devices."""

    emulation_flags: U32
    misc_flags: U32


XEN_ARCH_DOMAINCONFIG = Layout("xen_arch_domainconfig", XenArchDomainconfig)

XEN_X86_MSR_RELAXED: Final = 1 << 0


@c_names("XEN_DOMCTL_CDF_")
class CreateFlag(IntEnum):
    """`flags` of createdomain."""

    hvm = 1 << 0
    hap = 1 << 1
    s3_integrity = 1 << 2
    oos_off = 1 << 3
    xs_domain = 1 << 4
    iommu = 1 << 5
    nested_virt = 1 << 6
    vpmu = 1 << 7


XEN_DOMCTL_GRANT_version_mask: Final = 0xF


class XenDomctlCreatedomain(NamedTuple):
    """`max_grant_frames` and `max_maptrack_frames` below 0 are the hypervisor's defaults; the low bits of
    `grant_opts` are the newest grant table version the domain may have."""

    ssidref: U32
    handle: _HANDLE
    flags: U32
    iommu_opts: U32
    max_vcpus: U32
    max_evtchn_port: U32
    max_grant_frames: S32
    max_maptrack_frames: S32
    grant_opts: U32
    vmtrace_size: U32
    cpupool_id: U32
    arch: Annotated[XenArchDomainconfig, XEN_ARCH_DOMAINCONFIG]


XEN_DOMCTL_CREATEDOMAIN = Layout("xen_domctl_createdomain", XenDomctlCreatedomain)


@c_names("XEN_DOMINF_")
class DomainInfoFlag(IntEnum):
    """`flags` of getdomaininfo; the reason of a shutdown is in bits 16 to 23."""

    dying = 1 << 0
    hvm_guest = 1 << 1
    shutdown = 1 << 2
    paused = 1 << 3
    blocked = 1 << 4
    running = 1 << 5
    debugged = 1 << 6
    xs_domain = 1 << 7
    hap = 1 << 8


XEN_DOMINF_shutdownmask: Final = 255
XEN_DOMINF_shutdownshift: Final = 16
XEN_INVALID_MAX_VCPU_ID: Final = 0xFFFF_FFFF


class XenDomctlGetdomaininfo(NamedTuple):
    """What getdomaininfo answers: memory in pages, `cpu_time` in nanoseconds. `max_vcpu_id` is the highest
    vcpu's number, XEN_INVALID_MAX_VCPU_ID without one."""

    domain: DOMID
    pad1: U16
    flags: U32
    tot_pages: U64_ALIGNED
    max_pages: U64_ALIGNED
    outstanding_pages: U64_ALIGNED
    shr_pages: U64_ALIGNED
    paged_pages: U64_ALIGNED
    shared_info_frame: U64_ALIGNED
    cpu_time: U64_ALIGNED
    nr_online_vcpus: U32
    max_vcpu_id: U32
    ssidref: U32
    handle: _HANDLE
    cpupool: U32
    gpaddr_bits: U8
    pad2: Annotated[bytes, Chars(7)]
    arch_config: Annotated[XenArchDomainconfig, XEN_ARCH_DOMAINCONFIG]


XEN_DOMCTL_GETDOMAININFO = Layout("xen_domctl_getdomaininfo", XenDomctlGetdomaininfo)


class XenDomctlMaxMem(NamedTuple):
    """`max_memkb`: the most memory the domain may have, in KiB."""

    max_memkb: U64_ALIGNED


XEN_DOMCTL_MAX_MEM = Layout("xen_domctl_max_mem", XenDomctlMaxMem)


class XenDomctlSetdomainhandle(NamedTuple):
    """The domain's UUID."""

    handle: _HANDLE


XEN_DOMCTL_SETDOMAINHANDLE = Layout("xen_domctl_setdomainhandle", XenDomctlSetdomainhandle)


class XenDomctlSettimeoffset(NamedTuple):
    """Seconds that the domain's wall clock is ahead of the machine's."""

    time_offset_seconds: Annotated[int, Scalar("q", 8)]


XEN_DOMCTL_SETTIMEOFFSET = Layout("xen_domctl_settimeoffset", XenDomctlSettimeoffset)


class XenDomctlAddressSize(NamedTuple):
    """Of get_address_size and set_address_size: 32 or 64."""

    size: U32


XEN_DOMCTL_ADDRESS_SIZE = Layout("xen_domctl_address_size", XenDomctlAddressSize)


class XenDomctlSetVirqHandler(NamedTuple):
    """The global virtual interrupt that the domain is to get from now on."""

    virq: U32


XEN_DOMCTL_SET_VIRQ_HANDLER = Layout("xen_domctl_set_virq_handler", XenDomctlSetVirqHandler)
