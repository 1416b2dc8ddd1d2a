"""xen_version (public/version.h): which Xen this is and what it offers. We answer as Xen 4.17 does."""

from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.version import (
    XEN_COMPILE_INFO,
    XEN_FEATURE_INFO,
    XEN_PLATFORM_PARAMETERS,
    XenCompileInfo,
    XenFeature,
    XenPlatformParameters,
    XenVersion,
)
from paravane.hypercalls.table import Ptr, commands
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

MAJOR, MINOR, EXTRA = 4, 17, ".7"
CAPABILITIES = "xen-3.0-x86_32p xen-3.0-x86_32"
CHANGESET = "unavailable"
_DENIED = b"<denied>\0"

version = commands(Hypercall.xen_version, XenVersion)

NUMBER: Final = MAJOR << 16 | MINOR
CONSTANT_ANSWERS: Final = {(int(Hypercall.xen_version), int(XenVersion.version)): NUMBER}
"""Number and first argument of the hypercalls whose result is the same for good -> that result."""


def _copy_text(caller: "Caller", pointer: int, text: str, size: int) -> int:
    caller.copy_to_guest(pointer, text.encode("ascii").ljust(size, b"\0"))
    return 0


@version(XenVersion.version)
def number(caller: "Caller", arg: Ptr) -> int:
    return NUMBER


@version(XenVersion.extraversion)
def extraversion(caller: "Caller", arg: Ptr) -> int:
    return _copy_text(caller, arg, EXTRA, 16)


@version(XenVersion.compile_info)
def compile_info(caller: "Caller", arg: Ptr) -> int:
    info = XenCompileInfo(compiler=b"Python", compile_by=b"paravane", compile_domain=b"", compile_date=b"")
    caller.copy_to_guest(arg, XEN_COMPILE_INFO.pack(info))
    return 0


@version(XenVersion.capabilities)
def capabilities(caller: "Caller", arg: Ptr) -> int:
    return _copy_text(caller, arg, CAPABILITIES, 1024)


@version(XenVersion.changeset)
def changeset(caller: "Caller", arg: Ptr) -> int:
    return _copy_text(caller, arg, CHANGESET, 64)


@version(XenVersion.platform_parameters)
def platform_parameters(caller: "Caller", arg: Ptr) -> int:
    parameters = XenPlatformParameters(virt_start=caller.domain.memory.space.hole)
    caller.copy_to_guest(arg, XEN_PLATFORM_PARAMETERS.pack(parameters))
    return 0


@version(XenVersion.get_features)
def get_features(caller: "Caller", arg: Ptr) -> int:
    """The first submap is that of an ordinary PV domain; there is no second one."""
    info = XEN_FEATURE_INFO.unpack(caller.copy_from_guest(arg, XEN_FEATURE_INFO.size))
    if info.submap_idx != 0:
        raise Refusal(Errno.EINVAL, f"feature submap {info.submap_idx} does not exist, only 0 does")
    features = (
        1 << XenFeature.memory_op_vnode_supported
        | 1 << XenFeature.mmu_pt_update_preserve_ad
        | 1 << XenFeature.highmem_assist
        | 1 << XenFeature.gnttab_map_avail_bits
        | 1 << XenFeature.direct_mapped
    )
    if caller.domain.memory.pae_extended_cr3:
        features |= 1 << XenFeature.pae_pgdir_above_4gb
    caller.copy_to_guest(arg, XEN_FEATURE_INFO.pack(info._replace(submap=features)))
    return 0


@version(XenVersion.pagesize)
def pagesize(caller: "Caller", arg: Ptr) -> int:
    if arg:
        raise Refusal(Errno.EINVAL, "the page size is a result, it takes no buffer")
    return PAGE_SIZE


@version(XenVersion.guest_handle)
def guest_handle(caller: "Caller", arg: Ptr) -> int:
    caller.copy_to_guest(arg, caller.domain.handle.bytes)
    return 0


@version(XenVersion.commandline)
def commandline(caller: "Caller", arg: Ptr) -> int:
    """The hypervisor's own command line is not for guests; Xen answers with a fixed text and success."""
    caller.copy_to_guest(arg, _DENIED)
    return 0


@version(XenVersion.build_id)
def build_id(caller: "Caller", arg: Ptr) -> int:
    raise Refusal(Errno.EPERM, "the build id is for privileged domains")
