"""sysctl (public/sysctl.h): what the control domain asks of the machine. Everybody else is refused."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from paravane.abi.domctl import XEN_DOMCTL_GETDOMAININFO, XenScheduler
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
from paravane.hypercalls.table import InOut, hypercall
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

_POINTER = 0xFFFF_FFFF
_MOST_BITS = 64
_LAST_NODE = 63
"""`max_node_id`: the nodes that Xen is built for, less one."""

Run = Callable[["Caller", Any], "tuple[Any, ...]"]


class _Command(NamedTuple):
    """What carries a command out, given its part of `u`: gives the part that is copied back."""

    layout: Layout[Any]
    run: Run


_COMMANDS: dict[int, _Command] = {}


def _command(cmd: SysctlCmd, layout: Layout[Any]) -> Callable[[Run], Run]:
    def declare(run: Run) -> Run:
        _COMMANDS[cmd] = _Command(layout, run)
        return run

    return declare


@hypercall(Hypercall.sysctl)
def sysctl(caller: "Caller", u_sysctl: Annotated[XenSysctl, InOut(XEN_SYSCTL)]) -> XenSysctl:
    """One command about the machine."""
    op = u_sysctl
    require_version(op.interface_version, XEN_SYSCTL_INTERFACE_VERSION)
    if not caller.domain.privileged:
        raise Refusal(Errno.EPERM, f"sysctl {op.cmd} is for the control domain")
    command = _COMMANDS.get(op.cmd)
    if command is None:
        raise Refusal(Errno.ENOSYS, f"sysctl has no command {op.cmd} here")
    data = command.layout.pack(command.run(caller, command.layout.unpack(op.u)))
    return op._replace(u=data + op.u[len(data) :])


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
        capabilities=PhysicalCapability.pv | PhysicalCapability.gnttab_v1,
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
