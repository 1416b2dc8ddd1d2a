"""domctl (public/domctl.h): what a control domain asks of one domain, as Xen 4.17's tools do.

The header is for tools built with one hypervisor: 64-bit members are aligned to 8 bytes, and pointers are 64
bits wide whatever the size of a caller's own. The `u` of a request is, by `cmd`, one of the layouts of the
files whose names begin like this one's.
"""

from enum import IntEnum
from typing import Annotated, Any, Final

from paravane.abi.domid import DOMID
from paravane.abi.layout import (
    U32,
    U64_ALIGNED,
    UINT32,
    Array,
    Chars,
    Layout,
    Named,
)
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

XEN_DOMCTL_INTERFACE_VERSION: Final = 0x15
"""Xen 4.17's; callers with another version are refused with -EACCES."""

HANDLE_64 = U64_ALIGNED
"""A pointer in the structs of tools: 64 bits wide, of which the lower 32 count for a 32-bit caller."""


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
    """Argument of domctl; `u` depends on the command: bytes, where it is not decoded by that."""

    cmd: Annotated[int, UINT32, DomctlCmd]
    interface_version: U32
    domain: DOMID
    pad: Annotated[tuple[int, ...], Array("H", 3), Named("_pad")]
    u: Annotated[Any, Chars(128)]


XEN_DOMCTL = Layout("xen_domctl", XenDomctl)
