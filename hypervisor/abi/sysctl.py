"""sysctl (public/sysctl.h): what a control domain asks of the machine, as Xen 4.17's tools do.

The `u` of a request is one of the layouts here, by `cmd`; alignment and pointers are as in `domctl`.
"""

from enum import IntEnum
from typing import Annotated, Any, Final

from paravane.abi.domctl import HANDLE_64
from paravane.abi.domid import DOMID
from paravane.abi.layout import S32, U8, U32, U64_ALIGNED, UINT32, Array, Chars, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

XEN_SYSCTL_INTERFACE_VERSION: Final = 0x15
"""Xen 4.17's; callers with another version are refused with -EACCES."""


@c_names("XEN_SYSCTL_")
class SysctlCmd(IntEnum):
    """Commands of sysctl."""

    readconsole = 1
    tbuf_op = 2
    physinfo = 3
    sched_id = 4
    perfc_op = 5
    getdomaininfolist = 6
    debug_keys = 7
    getcpuinfo = 8
    availheap = 9
    get_pmstat = 10
    cpu_hotplug = 11
    pm_op = 12
    page_offline_op = 14
    lockprof_op = 15
    cputopoinfo = 16
    numainfo = 17
    cpupool_op = 18
    scheduler_op = 19
    coverage_op = 20
    psr_cmt_op = 21
    pcitopoinfo = 22
    psr_alloc = 23
    get_cpu_levelling_caps = 25
    get_cpu_featureset = 26
    livepatch_op = 27
    get_cpu_policy = 29


class XenSysctl(NamedTuple):
    """Argument of sysctl; `u` depends on the command: bytes, where it is not decoded by that."""

    cmd: Annotated[int, UINT32, SysctlCmd]
    interface_version: U32
    u: Annotated[Any, Chars(128)]


XEN_SYSCTL = Layout("xen_sysctl", XenSysctl)


class XenSysctlReadconsole(NamedTuple):
    """Read the hypervisor's console: from the byte `index` on if `incremental`, else what was not read yet;
    `clear` forgets it afterwards. `index` and `count` come back."""

    clear: U8
    incremental: U8
    pad0: U8
    pad1: U8
    index_: U32
    buffer: HANDLE_64
    count_: U32


XEN_SYSCTL_READCONSOLE = Layout("xen_sysctl_readconsole", XenSysctlReadconsole)


@c_names("XEN_SYSCTL_PHYSCAP_")
class PhysicalCapability(IntEnum):
    """`capabilities` of physinfo."""

    hvm = 1 << 0
    pv = 1 << 1
    directio = 1 << 2
    hap = 1 << 3
    shadow = 1 << 4
    iommu_hap_pt_share = 1 << 5
    vmtrace = 1 << 6
    vpmu = 1 << 7
    gnttab_v1 = 1 << 8
    gnttab_v2 = 1 << 9


class XenSysctlPhysinfo(NamedTuple):
    """The machine: processors, its clock in kHz, memory in pages; `hw_cap` are CPUID's feature words."""

    threads_per_core: U32
    cores_per_socket: U32
    nr_cpus: U32
    max_cpu_id: U32
    nr_nodes: U32
    max_node_id: U32
    cpu_khz: U32
    capabilities: U32
    arch_capabilities: U32
    pad: U32
    total_pages: U64_ALIGNED
    free_pages: U64_ALIGNED
    scrub_pages: U64_ALIGNED
    outstanding_pages: U64_ALIGNED
    max_mfn: U64_ALIGNED
    hw_cap: Annotated[tuple[int, ...], Array("I", 8)]


XEN_SYSCTL_PHYSINFO = Layout("xen_sysctl_physinfo", XenSysctlPhysinfo)


class XenSysctlSchedId(NamedTuple):
    """The scheduler (XEN_SCHEDULER_*)."""

    sched_id: U32


XEN_SYSCTL_SCHED_ID = Layout("xen_sysctl_sched_id", XenSysctlSchedId)


class XenSysctlGetdomaininfolist(NamedTuple):
    """As many xen_domctl_getdomaininfo as there are, at most `max_domains`, from `first_domain` on, into
    `buffer`."""

    first_domain: DOMID
    max_domains: U32
    buffer: HANDLE_64
    num_domains: U32


XEN_SYSCTL_GETDOMAININFOLIST = Layout("xen_sysctl_getdomaininfolist", XenSysctlGetdomaininfolist)


class XenSysctlAvailheap(NamedTuple):
    """Free bytes of memory with addresses of `min_bitwidth` to `max_bitwidth` bits; `node` -1: anywhere."""

    min_bitwidth: U32
    max_bitwidth: U32
    node: S32
    avail_bytes: U64_ALIGNED


XEN_SYSCTL_AVAILHEAP = Layout("xen_sysctl_availheap", XenSysctlAvailheap)
