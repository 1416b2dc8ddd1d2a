"""domctl (public/domctl.h): what the control domain does to domains. Everybody else is refused.

A program that probes for its privileges sees Xen's errnos in Xen's order: -EFAULT for a struct that cannot be
read, -EACCES for another version of the interface, -ESRCH for a domain that does not exist, then -EPERM.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from uuid import UUID

from paravane.abi.domctl import (
    XEN_DOMCTL,
    XEN_DOMCTL_ADDRESS_SIZE,
    XEN_DOMCTL_CREATEDOMAIN,
    XEN_DOMCTL_GETDOMAININFO,
    XEN_DOMCTL_GETPAGEFRAMEINFO3,
    XEN_DOMCTL_GETVCPUINFO,
    XEN_DOMCTL_HYPERCALL_INIT,
    XEN_DOMCTL_INTERFACE_VERSION,
    XEN_DOMCTL_MAX_MEM,
    XEN_DOMCTL_MAX_VCPUS,
    XEN_DOMCTL_PFINFO_LPINTAB,
    XEN_DOMCTL_PFINFO_LTAB_SHIFT,
    XEN_DOMCTL_PFINFO_NOTAB,
    XEN_DOMCTL_PFINFO_XTAB,
    XEN_DOMCTL_SCHED_CREDIT,
    XEN_DOMCTL_SCHEDULER_OP,
    XEN_DOMCTL_SETDOMAINHANDLE,
    XEN_DOMCTL_VCPUCONTEXT,
    XEN_X86_MSR_RELAXED,
    CreateFlag,
    DomctlCmd,
    DomctlSchedop,
    XEN_DOMCTL_GRANT_version_mask,
    XenDomctl,
    XenDomctlAddressSize,
    XenDomctlCreatedomain,
    XenDomctlGetdomaininfo,
    XenDomctlGetpageframeinfo3,
    XenDomctlGetvcpuinfo,
    XenDomctlHypercallInit,
    XenDomctlMaxMem,
    XenDomctlMaxVcpus,
    XenDomctlSchedCredit,
    XenDomctlSchedulerOp,
    XenDomctlSetdomainhandle,
    XenDomctlVcpucontext,
    XenScheduler,
)
from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.layout import Layout
from paravane.abi.vcpu import VCPU_GUEST_CONTEXT, Runstate
from paravane.builder import hypercall_page
from paravane.control_plane import NewDomain
from paravane.hypercalls.domain_info import domain_info
from paravane.hypercalls.interface import require_version
from paravane.hypercalls.table import In, InOut, hypercall
from paravane.memory import MAX_VCPUS
from paravane.memory.frames import L1, L3, FrameFlag
from paravane.memory.grants import MAX_GRANT_FRAMES
from paravane.refusal import Refusal
from paravane.sched import MAX_CAP
from paravane.vcpu_context import vcpu_context
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from paravane.domain import Domain
    from paravane.hypercalls.caller import Caller
    from paravane.vcpu import Vcpu

MOST_FRAMES = 1024
"""Frames whose kinds one getpageframeinfo3 tells."""

_ANY_DOMAIN = (DomctlCmd.test_assign_device, DomctlCmd.vm_event_op)
"""Commands that may be about no domain: DOMID_INVALID."""

_ASSIGNMENTS = (DomctlCmd.assign_device, DomctlCmd.deassign_device)

_KNOWN_FLAGS = sum(CreateFlag)
_REFUSED_FLAGS = int(
    CreateFlag.hvm
    | CreateFlag.hap
    | CreateFlag.s3_integrity
    | CreateFlag.iommu
    | CreateFlag.nested_virt
    | CreateFlag.vpmu
)
_GRANT_VERSION = 1
_MOST_PORTS, _MOST_PAGES = (1 << 31) - 1, (1 << 32) - 1
_ADDRESS_SIZE = 32
_SAME_CAP = 0xFFFF
_EMULATED_PIT = 1 << 8
_POINTER = 0xFFFF_FFFF

Run = Callable[["Caller", "Domain", Any], "tuple[Any, ...] | None"]


class _Command(NamedTuple):
    """What carries a command out, given its part of `u`: gives the part that is copied back, or None."""

    layout: Layout[Any] | None
    run: Run


_COMMANDS: dict[int, _Command] = {}


def _command(cmd: DomctlCmd, layout: Layout[Any] | None = None) -> Callable[[Run], Run]:
    def declare(run: Run) -> Run:
        _COMMANDS[cmd] = _Command(layout, run)
        return run

    return declare


@hypercall(Hypercall.domctl)
def domctl(caller: "Caller", u_domctl: Annotated[XenDomctl, InOut(XEN_DOMCTL)]) -> "XenDomctl | int":
    """Domains that do not exist are told apart from those that are not the caller's to control."""
    op = u_domctl
    require_version(op.interface_version, XEN_DOMCTL_INTERFACE_VERSION)
    number = _named_domain(caller, op)
    if not caller.domain.privileged:
        raise Refusal(Errno.EPERM, f"domctl {op.cmd} is for the control domain")
    if op.cmd == DomctlCmd.createdomain:
        return _create(caller, op)
    command = _COMMANDS.get(op.cmd)
    if command is None:
        raise Refusal(Errno.ENOSYS, f"domctl has no command {op.cmd} here")
    domain = caller.control.guest(number)
    if domain is None:
        raise Refusal(Errno.EPERM, f"domain {number} is the host, which nobody controls")
    part = None if command.layout is None else command.layout.unpack(op.u)
    answer = command.run(caller, domain, part)
    if answer is None or command.layout is None:
        return 0
    data = command.layout.pack(answer)
    return op._replace(domain=number, u=data + op.u[len(data) :])


def _named_domain(caller: "Caller", op: XenDomctl) -> int:
    """The number of the domain that a command is about, which exists. Raises Refusal for a command that does
    not go on to ask for privileges."""
    if op.cmd == DomctlCmd.createdomain:
        return op.domain
    if op.cmd in _ASSIGNMENTS and op.domain == DomId.IO:
        return op.domain
    if op.cmd in _ANY_DOMAIN and op.domain == DomId.INVALID:
        return op.domain
    if op.cmd == DomctlCmd.getdomaininfo and caller.platform.domains.find(op.domain) is None:
        if op.domain >= DomId.FIRST_RESERVED:
            raise Refusal(Errno.EINVAL, f"{op.domain:#x} is no domain's number")
        # It takes the next domain where there is none with that number.
        found = caller.platform.domains.first_from(op.domain)
        if found is None:
            raise Refusal(Errno.ESRCH, f"there is no domain from {op.domain} on")
        return found
    return caller.platform.domains.by_id(op.domain).domid


@hypercall(Hypercall.arch_1)
def paging_domctl_cont(caller: "Caller", u_domctl: Annotated[XenDomctl, In(XEN_DOMCTL)]) -> None:
    """The rest of a preempted XEN_DOMCTL_shadow_op."""
    if u_domctl.interface_version != XEN_DOMCTL_INTERFACE_VERSION or u_domctl.cmd != DomctlCmd.shadow_op:
        raise Refusal(Errno.EOPNOTSUPP, f"domctl {u_domctl.cmd} is not continued here")
    caller.platform.domains.by_id(u_domctl.domain)
    raise Refusal(Errno.EPERM, "the paging of a domain is for the control domain")


def _create(caller: "Caller", op: XenDomctl) -> XenDomctl:
    """An empty, paused domain of the number that is asked for, or of any."""
    asked = op.domain if 0 < op.domain < DomId.FIRST_RESERVED else None
    if asked is not None and caller.platform.domains.find(asked) is not None:
        raise Refusal(Errno.EEXIST, f"domain {asked} exists already")
    wanted = XEN_DOMCTL_CREATEDOMAIN.unpack(op.u)
    _check_wanted(wanted)
    handle = UUID(bytes=wanted.handle)
    max_port = min(wanted.max_evtchn_port, _MOST_PORTS)
    grant_frames = MAX_GRANT_FRAMES if wanted.max_grant_frames < 0 else wanted.max_grant_frames
    new = NewDomain(asked, handle, wanted.max_vcpus, max_port, grant_frames)
    try:
        domain = caller.control.found(new)
    except (MemoryError, ValueError) as error:
        raise Refusal(Errno.ENOMEM, f"no domain more: {error}") from None
    return op._replace(domain=domain.domid)


def _check_wanted(wanted: XenDomctlCreatedomain) -> None:
    """What Xen refuses (sanitise_domain_config), on a machine with neither IOMMU nor HVM."""
    if wanted.flags & ~_KNOWN_FLAGS or wanted.flags & _REFUSED_FLAGS:
        raise Refusal(Errno.EINVAL, f"flags {wanted.flags:#x}: only PV domains without devices are made here")
    if wanted.grant_opts & ~XEN_DOMCTL_GRANT_version_mask:
        raise Refusal(Errno.EINVAL, f"unknown grant options {wanted.grant_opts:#x}")
    if wanted.grant_opts != _GRANT_VERSION:
        raise Refusal(Errno.EINVAL, f"grant tables here are of version 1, not {wanted.grant_opts}")
    if not 1 <= wanted.max_vcpus <= MAX_VCPUS:
        raise Refusal(Errno.EINVAL, f"a domain has from 1 to {MAX_VCPUS} vcpus, not {wanted.max_vcpus}")
    if wanted.iommu_opts or wanted.vmtrace_size or wanted.cpupool_id:
        raise Refusal(Errno.EINVAL, "there is no IOMMU, no vmtrace, and one pool of processors")
    if wanted.arch.misc_flags & ~XEN_X86_MSR_RELAXED or wanted.arch.emulation_flags & ~_EMULATED_PIT:
        raise Refusal(Errno.EINVAL, "a PV domain has no emulated devices but for the PIT")
    if wanted.max_grant_frames == 0 or wanted.max_grant_frames > MAX_GRANT_FRAMES:
        raise Refusal(Errno.EINVAL, f"a grant table has from 1 to {MAX_GRANT_FRAMES} frames")


@_command(DomctlCmd.destroydomain)
def destroydomain(caller: "Caller", domain: "Domain", part: None) -> None:
    """It is gone before the caller executes anything more."""
    _not_oneself(caller, domain)
    if not domain.memory.dying:
        caller.control.destroy(domain)
        caller.vcpu.stop()


@_command(DomctlCmd.pausedomain)
def pausedomain(caller: "Caller", domain: "Domain", part: None) -> None:
    _not_oneself(caller, domain)
    try:
        domain.pause()
    except ValueError as error:
        raise Refusal(Errno.EOVERFLOW, str(error)) from None


@_command(DomctlCmd.unpausedomain)
def unpausedomain(caller: "Caller", domain: "Domain", part: None) -> None:
    try:
        domain.unpause()
    except ValueError as error:
        raise Refusal(Errno.EINVAL, str(error)) from None


@_command(DomctlCmd.getdomaininfo, XEN_DOMCTL_GETDOMAININFO)
def getdomaininfo(caller: "Caller", domain: "Domain", part: XenDomctlGetdomaininfo) -> XenDomctlGetdomaininfo:
    return domain_info(domain)


@_command(DomctlCmd.max_mem, XEN_DOMCTL_MAX_MEM)
def max_mem(caller: "Caller", domain: "Domain", part: XenDomctlMaxMem) -> None:
    """Less than the domain has now is all right: it gets no more before it has given some back."""
    domain.memory.max_pages = min(part.max_memkb >> PAGE_SHIFT - 10, _MOST_PAGES)


@_command(DomctlCmd.max_vcpus, XEN_DOMCTL_MAX_VCPUS)
def max_vcpus(caller: "Caller", domain: "Domain", part: XenDomctlMaxVcpus) -> None:
    _not_oneself(caller, domain)
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


@_command(DomctlCmd.setvcpucontext, XEN_DOMCTL_VCPUCONTEXT)
def setvcpucontext(caller: "Caller", domain: "Domain", part: XenDomctlVcpucontext) -> None:
    """The registers a vcpu goes on with; without a pointer it is as if it had never had any."""
    _not_oneself(caller, domain)
    vcpu, pointer = _vcpu(domain, part.vcpu), part.ctxt & _POINTER
    if pointer:
        vcpu.set_context(VCPU_GUEST_CONTEXT.unpack(caller.copy_from_guest(pointer, VCPU_GUEST_CONTEXT.size)))
    else:
        vcpu.reset()


@_command(DomctlCmd.getvcpucontext, XEN_DOMCTL_VCPUCONTEXT)
def getvcpucontext(caller: "Caller", domain: "Domain", part: XenDomctlVcpucontext) -> XenDomctlVcpucontext:
    vcpu = _vcpu(domain, part.vcpu)
    if vcpu is caller.vcpu:
        raise Refusal(Errno.EINVAL, "a vcpu cannot be stopped to look at itself")
    if not vcpu.run_state.initialised:
        raise Refusal(Errno.ENODATA, f"vcpu {part.vcpu} of d{domain.domid} has no context yet")
    caller.copy_to_guest(part.ctxt & _POINTER, VCPU_GUEST_CONTEXT.pack(vcpu_context(vcpu)))
    return part


@_command(DomctlCmd.getvcpuinfo, XEN_DOMCTL_GETVCPUINFO)
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


@_command(DomctlCmd.scheduler_op, XEN_DOMCTL_SCHEDULER_OP)
def scheduler_op(caller: "Caller", domain: "Domain", part: XenDomctlSchedulerOp) -> XenDomctlSchedulerOp:
    """The weight and cap of a domain, which every policy here calls by the names of credit."""
    if part.sched_id != XenScheduler.CREDIT or part.cmd not in (DomctlSchedop.putinfo, DomctlSchedop.getinfo):
        raise Refusal(Errno.EINVAL, f"scheduler {part.sched_id} has no command {part.cmd} here")
    share = domain.share
    if part.cmd == DomctlSchedop.putinfo:
        wanted = XEN_DOMCTL_SCHED_CREDIT.unpack(part.u)
        share.weight = wanted.weight or share.weight
        if wanted.cap != _SAME_CAP:
            if wanted.cap > MAX_CAP:
                raise Refusal(Errno.EINVAL, f"a cap is at most {MAX_CAP} percent, not {wanted.cap}")
            share.cap = wanted.cap
        return part
    data = XEN_DOMCTL_SCHED_CREDIT.pack(XenDomctlSchedCredit(share.weight, share.cap))
    return part._replace(u=data + part.u[len(data) :])


@_command(DomctlCmd.setdomainhandle, XEN_DOMCTL_SETDOMAINHANDLE)
def setdomainhandle(caller: "Caller", domain: "Domain", part: XenDomctlSetdomainhandle) -> None:
    domain.handle = UUID(bytes=part.handle)


@_command(DomctlCmd.hypercall_init, XEN_DOMCTL_HYPERCALL_INIT)
def hypercall_init(caller: "Caller", domain: "Domain", part: XenDomctlHypercallInit) -> None:
    """Write the entries of a hypercall page into a frame of the domain."""
    memory = domain.memory
    if not memory.machine.frames.owned_by(part.gmfn, domain.domid):
        raise Refusal(
            Errno.EINVAL, f"{memory.machine.frames.describe(part.gmfn)} is not a frame of d{domain.domid}"
        )
    try:
        memory.write_frame(part.gmfn, hypercall_page())
    except Refusal as refusal:
        raise Refusal(Errno.EPERM, refusal.sentence) from None


@_command(DomctlCmd.set_address_size, XEN_DOMCTL_ADDRESS_SIZE)
def set_address_size(caller: "Caller", domain: "Domain", part: XenDomctlAddressSize) -> None:
    if part.size != _ADDRESS_SIZE:
        raise Refusal(Errno.EINVAL, f"domains here have {_ADDRESS_SIZE}-bit addresses, not {part.size}-bit")


@_command(DomctlCmd.get_address_size, XEN_DOMCTL_ADDRESS_SIZE)
def get_address_size(caller: "Caller", domain: "Domain", part: XenDomctlAddressSize) -> XenDomctlAddressSize:
    return part._replace(size=_ADDRESS_SIZE)


@_command(DomctlCmd.getpageframeinfo3, XEN_DOMCTL_GETPAGEFRAMEINFO3)
def getpageframeinfo3(caller: "Caller", domain: "Domain", part: XenDomctlGetpageframeinfo3) -> None:
    """Replace each number of a list by what its frame is used for."""
    if part.num > MOST_FRAMES:
        raise Refusal(Errno.E2BIG, f"{part.num} frames to tell of, at most {MOST_FRAMES} are allowed")
    for at in range(part.array & _POINTER, (part.array & _POINTER) + 4 * part.num, 4):
        mfn = int.from_bytes(caller.copy_from_guest(at, 4), "little")
        caller.copy_to_guest(at, _use(domain, mfn).to_bytes(4, "little"))


def _use(domain: "Domain", mfn: int) -> int:
    """A frame's use, as XEN_DOMCTL_PFINFO_*."""
    frames = domain.memory.machine.frames
    if not frames.owned_by(mfn, domain.domid) or frames.flags[mfn] & FrameFlag.XEN_HEAP:
        return XEN_DOMCTL_PFINFO_XTAB
    kind = frames.type[mfn]
    use = kind << XEN_DOMCTL_PFINFO_LTAB_SHIFT if L1 <= kind <= L3 else XEN_DOMCTL_PFINFO_NOTAB
    if frames.flags[mfn] & FrameFlag.PINNED:
        return use | XEN_DOMCTL_PFINFO_LPINTAB
    return use if frames.flags[mfn] & FrameFlag.VALIDATED else XEN_DOMCTL_PFINFO_NOTAB


def _vcpu(domain: "Domain", number: int) -> "Vcpu":
    if number >= len(domain.vcpus):
        raise Refusal(Errno.EINVAL, f"d{domain.domid} has no vcpu {number}")
    return domain.vcpus[number]


def _not_oneself(caller: "Caller", domain: "Domain") -> None:
    if domain is caller.domain:
        raise Refusal(Errno.EINVAL, "no domain can be stopped by what it does itself")
