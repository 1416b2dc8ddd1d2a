"""domctl (public/domctl.h): what a control domain asks of one domain, as Xen 4.17's tools do.

The header is for tools built with one hypervisor: 64-bit members are aligned to 8 bytes, and pointers are 64
bits wide whatever the size of a caller's own. The `u` of a request is one of the layouts here, by `cmd`.
"""

from enum import IntEnum
from typing import Annotated, Final, NamedTuple

from paravane.abi.domid import DOMID
from paravane.abi.layout import (
    S32,
    U8,
    U16,
    U32,
    U64_ALIGNED,
    UINT32,
    Array,
    Chars,
    Layout,
    Named,
    Scalar,
    Union,
)
from paravane.abi.names import c_names
from paravane.abi.version import XEN_DOMAIN_HANDLE_LEN

XEN_DOMCTL_INTERFACE_VERSION: Final = 0x15
"""Xen 4.17's; callers with another version are refused with -EACCES."""

HANDLE_64 = U64_ALIGNED
"""A pointer in the structs of tools: 64 bits wide, of which the lower 32 count for a 32-bit caller."""

_HANDLE = Annotated[bytes, Chars(XEN_DOMAIN_HANDLE_LEN)]


@c_names("XEN_DOMCTL_")
class DomctlCmd(IntEnum):
    """Commands of domctl."""

    createdomain = 1
    destroydomain = 2
    pausedomain = 3
    unpausedomain = 4
    getdomaininfo = 5
    setvcpuaffinity = 9
    shadow_op = 10
    max_mem = 11
    setvcpucontext = 12
    getvcpucontext = 13
    getvcpuinfo = 14
    max_vcpus = 15
    scheduler_op = 16
    setdomainhandle = 17
    setdebugging = 18
    irq_permission = 19
    iomem_permission = 20
    ioport_permission = 21
    hypercall_init = 22
    settimeoffset = 24
    getvcpuaffinity = 25
    real_mode_area = 26
    resumedomain = 27
    sendtrigger = 28
    subscribe = 29
    gethvmcontext = 33
    sethvmcontext = 34
    set_address_size = 35
    get_address_size = 36
    assign_device = 37
    bind_pt_irq = 38
    memory_mapping = 39
    ioport_mapping = 40
    set_ext_vcpucontext = 42
    get_ext_vcpucontext = 43
    set_opt_feature = 44
    test_assign_device = 45
    set_target = 46
    deassign_device = 47
    unbind_pt_irq = 48
    get_device_group = 50
    debug_op = 54
    gethvmcontext_partial = 55
    vm_event_op = 56
    mem_sharing_op = 57
    gettscinfo = 59
    settscinfo = 60
    getpageframeinfo3 = 61
    setvcpuextstate = 62
    getvcpuextstate = 63
    set_access_required = 64
    audit_p2m = 65
    set_virq_handler = 66
    set_broken_page_p2m = 67
    setnodeaffinity = 68
    getnodeaffinity = 69
    cacheflush = 71
    get_vcpu_msrs = 72
    set_vcpu_msrs = 73
    setvnumainfo = 74
    psr_cmt_op = 75
    monitor_op = 77
    psr_alloc = 78
    soft_reset = 79
    vuart_op = 81
    get_cpu_policy = 82
    set_cpu_policy = 83
    vmtrace_op = 84
    get_paging_mempool_size = 85
    set_paging_mempool_size = 86
    gdbsx_guestmemio = 1000
    gdbsx_pausevcpu = 1001
    gdbsx_unpausevcpu = 1002
    gdbsx_domstatus = 1003


class XenDomctl(NamedTuple):
    """Argument of domctl; `u` depends on the command."""

    cmd: Annotated[int, UINT32, DomctlCmd]
    interface_version: U32
    domain: DOMID
    pad: Annotated[tuple[int, ...], Array("H", 3), Named("_pad")]
    u: Annotated[bytes, Chars(128)]


XEN_DOMCTL = Layout("xen_domctl", XenDomctl)


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

XEN_DOMCTL_PFINFO_LTAB_SHIFT: Final = 28
XEN_DOMCTL_PFINFO_NOTAB: Final = 0x0 << 28
XEN_DOMCTL_PFINFO_L1TAB: Final = 0x1 << 28
XEN_DOMCTL_PFINFO_L2TAB: Final = 0x2 << 28
XEN_DOMCTL_PFINFO_L3TAB: Final = 0x3 << 28
XEN_DOMCTL_PFINFO_L4TAB: Final = 0x4 << 28
XEN_DOMCTL_PFINFO_LTABTYPE_MASK: Final = 0x7 << 28
XEN_DOMCTL_PFINFO_LPINTAB: Final = 0x1 << 31
XEN_DOMCTL_PFINFO_XTAB: Final = 0xF << 28
XEN_DOMCTL_PFINFO_BROKEN: Final = 0xD << 28
"""Types of frames in getpageframeinfo3's answer; LPINTAB is set in one that is pinned."""


class XenDomctlGetpageframeinfo3(NamedTuple):
    """`array` holds `num` machine frame numbers of 32 bits; each is replaced by its type."""

    num: U64_ALIGNED
    array: HANDLE_64


XEN_DOMCTL_GETPAGEFRAMEINFO3 = Layout("xen_domctl_getpageframeinfo3", XenDomctlGetpageframeinfo3)


class XenDomctlMaxMem(NamedTuple):
    """`max_memkb`: the most memory the domain may have, in KiB."""

    max_memkb: U64_ALIGNED


XEN_DOMCTL_MAX_MEM = Layout("xen_domctl_max_mem", XenDomctlMaxMem)


class XenDomctlVcpucontext(NamedTuple):
    """Of setvcpucontext and getvcpucontext; `ctxt` points to a vcpu_guest_context."""

    vcpu: U32
    ctxt: HANDLE_64


XEN_DOMCTL_VCPUCONTEXT = Layout("xen_domctl_vcpucontext", XenDomctlVcpucontext)


class XenDomctlGetvcpuinfo(NamedTuple):
    """`cpu_time` in nanoseconds; `cpu` is the physical processor."""

    vcpu: U32
    online: U8
    blocked: U8
    running: U8
    cpu_time: U64_ALIGNED
    cpu: U32


XEN_DOMCTL_GETVCPUINFO = Layout("xen_domctl_getvcpuinfo", XenDomctlGetvcpuinfo)


class XenDomctlMaxVcpus(NamedTuple):
    """`max`: how many vcpus createdomain said."""

    max: U32


XEN_DOMCTL_MAX_VCPUS = Layout("xen_domctl_max_vcpus", XenDomctlMaxVcpus)


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


class XenDomctlSetdomainhandle(NamedTuple):
    """The domain's UUID."""

    handle: _HANDLE


XEN_DOMCTL_SETDOMAINHANDLE = Layout("xen_domctl_setdomainhandle", XenDomctlSetdomainhandle)


class XenDomctlHypercallInit(NamedTuple):
    """`gmfn`: the frame that becomes a hypercall page."""

    gmfn: U64_ALIGNED


XEN_DOMCTL_HYPERCALL_INIT = Layout("xen_domctl_hypercall_init", XenDomctlHypercallInit)


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
