"""sysctl (public/sysctl.h): what the control domain asks of the machine. Everybody else is refused."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from paravane.abi.domctl_domain import XEN_DOMCTL_GETDOMAININFO
from paravane.abi.domctl_sched import XenScheduler
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.layout import Layout
from paravane.abi.sysctl import (
    XEN_SYSCTL,
    XEN_SYSCTL_AVAILHEAP,
    XEN_SYSCTL_GETDOMAININFOLIST,
    XEN_SYSCTL_INTERFACE_VERSION,
    XEN_SYSCTL_PHYSINFO,
    XEN_SYSCTL_READCONSOLE,
    XEN_SYSCTL_SCHED_ID,
    PhysicalCapability,
    SysctlCmd,
    XenSysctl,
    XenSysctlAvailheap,
    XenSysctlGetdomaininfolist,
    XenSysctlPhysinfo,
    XenSysctlReadconsole,
    XenSysctlSchedId,
)
from paravane.hypercalls.domain_info import domain_info
from paravane.hypercalls.interface import require_version
from paravane.hypercalls.struct_family import StructFamily
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

_POINTER = 0xFFFF_FFFF
_MOST_BITS = 64
_LAST_NODE = 63
"""`max_node_id`: the nodes that Xen is built for, less one."""

Run = Callable[["Caller", Any], "tuple[Any, ...]"]


def _enter(caller: "Caller", op: XenSysctl) -> XenSysctl:
    require_version(op.interface_version, XEN_SYSCTL_INTERFACE_VERSION)
    if not caller.domain.privileged:
        raise Refusal(Errno.EPERM, f"sysctl {op.cmd} is for the control domain")
    return op


sysctl = StructFamily(Hypercall.sysctl, SysctlCmd, XEN_SYSCTL, "u_sysctl", _enter)


def _command(cmd: SysctlCmd, part: Layout[Any]) -> Callable[[Run], Run]:
    """Declare the function below as a command: it is given its part of the struct, and gives what is copied
    back."""

    def declare(run: Run) -> Run:
        @wraps(run)
        def command(caller: "Caller", op: XenSysctl) -> XenSysctl:
            return op._replace(u=run(caller, op.u))

        sysctl.command(cmd, part)(command)
        return run

    return declare


@_command(SysctlCmd.readconsole, XEN_SYSCTL_READCONSOLE)
def readconsole(caller: "Caller", part: XenSysctlReadconsole) -> XenSysctlReadconsole:
    """The hypervisor's messages, lines of guests among them."""
    ring = caller.platform.console_ring
    data, index = ring.read(part.count_, part.index_ if part.incremental else None)
    caller.copy_to_guest(part.buffer & _POINTER, data)
    if part.clear:
        ring.clear(index)
    return part._replace(index_=index, count_=len(data))


@_command(SysctlCmd.physinfo, XEN_SYSCTL_PHYSINFO)
def physinfo(caller: "Caller", part: XenSysctlPhysinfo) -> XenSysctlPhysinfo:
    """One processor, whose features are those that guests see."""
    memory = caller.platform.memory
    cpuid = caller.traps.cpuid
    basic, extended = cpuid(1, 0), cpuid(0x8000_0001, 0)
    features = (basic[3], extended[3], 0, 0, basic[2], 0, extended[2], 0)
    return XenSysctlPhysinfo(
        threads_per_core=1,
        cores_per_socket=1,
        nr_cpus=1,
        max_cpu_id=0,
        nr_nodes=1,
        max_node_id=_LAST_NODE,
        cpu_khz=caller.vcpu.host.tsc_khz,
        capabilities=PhysicalCapability.pv | PhysicalCapability.gnttab_v1 | PhysicalCapability.gnttab_v2,
        arch_capabilities=0,
        pad=0,
        total_pages=memory.frames.nr_frames,
        free_pages=memory.nr_free,
        scrub_pages=0,
        outstanding_pages=0,
        max_mfn=memory.frames.nr_frames - 1,
        hw_cap=features,
    )


@_command(SysctlCmd.sched_id, XEN_SYSCTL_SCHED_ID)
def sched_id(caller: "Caller", part: XenSysctlSchedId) -> XenSysctlSchedId:
    """Xen's number of the scheduler that is nearest to the machine's policy."""
    return XenSysctlSchedId(XenScheduler.CREDIT)


@_command(SysctlCmd.getdomaininfolist, XEN_SYSCTL_GETDOMAININFOLIST)
def getdomaininfolist(caller: "Caller", part: XenSysctlGetdomaininfolist) -> XenSysctlGetdomaininfolist:
    at, size = part.buffer & _POINTER, XEN_DOMCTL_GETDOMAININFO.size
    told = 0
    for domain in caller.control.guests():
        if told == part.max_domains:
            break
        if domain.domid >= part.first_domain:
            caller.copy_to_guest(at + told * size, XEN_DOMCTL_GETDOMAININFO.pack(domain_info(domain)))
            told += 1
    return part._replace(num_domains=told)


@_command(SysctlCmd.availheap, XEN_SYSCTL_AVAILHEAP)
def availheap(caller: "Caller", part: XenSysctlAvailheap) -> XenSysctlAvailheap:
    """Free memory below 2**`max_bitwidth` bytes. There is one node."""
    memory = caller.platform.memory
    low, high = min(part.min_bitwidth, _MOST_BITS), min(part.max_bitwidth or _MOST_BITS, _MOST_BITS)
    first = 1 << low - PAGE_SHIFT if low > PAGE_SHIFT else 0
    end = 1 << high - PAGE_SHIFT if high > PAGE_SHIFT else 0
    free = 0 if part.node not in (-1, 0) else memory.nr_free_between(first, end)
    return part._replace(avail_bytes=free << PAGE_SHIFT)
