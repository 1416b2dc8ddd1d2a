"""domctl's createdomain: what a new domain may be."""

from typing import TYPE_CHECKING
from uuid import UUID

from paravane.abi.domctl import DomctlCmd, XenDomctl
from paravane.abi.domctl_domain import (
    XEN_DOMCTL_CREATEDOMAIN,
    XEN_X86_MSR_RELAXED,
    CreateFlag,
    XEN_DOMCTL_GRANT_version_mask,
    XenDomctlCreatedomain,
)
from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.control_plane import NewDomain
from paravane.grants import MAX_GRANT_FRAMES, MAX_GRANT_VERSION, MAX_MAPTRACK_FRAMES, GrantLimits
from paravane.hypercalls.domctl import domctl
from paravane.memory import MAX_VCPUS
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

_KNOWN_FLAGS = sum(CreateFlag)
_REFUSED_FLAGS = int(
    CreateFlag.hvm
    | CreateFlag.hap
    | CreateFlag.s3_integrity
    | CreateFlag.iommu
    | CreateFlag.nested_virt
    | CreateFlag.vpmu
)
_MOST_PORTS = (1 << 31) - 1
_EMULATED_PIT = 1 << 8


@domctl.command(DomctlCmd.createdomain, XEN_DOMCTL_CREATEDOMAIN)
def createdomain(caller: "Caller", op: XenDomctl) -> XenDomctl:
    """An empty, paused domain of the number that is asked for, or of any."""
    asked = op.domain if 0 < op.domain < DomId.FIRST_RESERVED else None
    if asked is not None and caller.platform.domains.find(asked) is not None:
        raise Refusal(Errno.EEXIST, f"domain {asked} exists already")
    _check_wanted(wanted := op.u)
    handle = UUID(bytes=wanted.handle)
    max_port = min(wanted.max_evtchn_port, _MOST_PORTS)
    new = NewDomain(asked, handle, wanted.max_vcpus, max_port, _grant_limits(wanted))
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
    if not 1 <= wanted.grant_opts <= MAX_GRANT_VERSION:
        raise Refusal(Errno.EINVAL, f"there are no grant tables of version {wanted.grant_opts}")
    if not 1 <= wanted.max_vcpus <= MAX_VCPUS:
        raise Refusal(Errno.EINVAL, f"a domain has from 1 to {MAX_VCPUS} vcpus, not {wanted.max_vcpus}")
    if wanted.iommu_opts or wanted.vmtrace_size or wanted.cpupool_id:
        raise Refusal(Errno.EINVAL, "there is no IOMMU, no vmtrace, and one pool of processors")
    if wanted.arch.misc_flags & ~XEN_X86_MSR_RELAXED or wanted.arch.emulation_flags & ~_EMULATED_PIT:
        raise Refusal(Errno.EINVAL, "a PV domain has no emulated devices but for the PIT")
    if wanted.max_grant_frames == 0 or wanted.max_grant_frames > MAX_GRANT_FRAMES:
        raise Refusal(Errno.EINVAL, f"a grant table has from 1 to {MAX_GRANT_FRAMES} frames")
    if wanted.max_maptrack_frames > MAX_MAPTRACK_FRAMES:
        raise Refusal(Errno.EINVAL, f"handles of grants have {MAX_MAPTRACK_FRAMES} frames at most")


def _grant_limits(wanted: XenDomctlCreatedomain) -> GrantLimits:
    """Less than none stands for as many as there can be."""
    frames, handles = wanted.max_grant_frames, wanted.max_maptrack_frames
    return GrantLimits(
        MAX_GRANT_FRAMES if frames < 0 else frames,
        MAX_MAPTRACK_FRAMES if handles < 0 else handles,
        wanted.grant_opts,
    )
