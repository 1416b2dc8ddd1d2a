"""xen_version and feature flags (public/version.h, public/features.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import U32, ULONG, Chars, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("XENVER_")
class XenVersion(IntEnum):
    """Commands of xen_version."""

    version = 0
    extraversion = 1
    compile_info = 2
    capabilities = 3
    changeset = 4
    platform_parameters = 5
    get_features = 6
    pagesize = 7
    guest_handle = 8
    commandline = 9
    build_id = 10


# Sizes in bytes of the fixed buffers that the text commands fill.
XEN_EXTRAVERSION_LEN: Final = 16
XEN_CAPABILITIES_INFO_LEN: Final = 1024
XEN_CHANGESET_INFO_LEN: Final = 64
XEN_COMMANDLINE_LEN: Final = 1024
XEN_DOMAIN_HANDLE_LEN: Final = 16


class XenCompileInfo(NamedTuple):
    """Answer of XENVER_compile_info."""

    compiler: Annotated[bytes, Chars(64)]
    compile_by: Annotated[bytes, Chars(16)]
    compile_domain: Annotated[bytes, Chars(32)]
    compile_date: Annotated[bytes, Chars(32)]


XEN_COMPILE_INFO = Layout("xen_compile_info", XenCompileInfo)


class XenPlatformParameters(NamedTuple):
    """Answer of XENVER_platform_parameters: first linear address of the hypervisor."""

    virt_start: ULONG


XEN_PLATFORM_PARAMETERS = Layout("xen_platform_parameters", XenPlatformParameters)


class XenFeatureInfo(NamedTuple):
    """Question: which word of 32 features; answer: that word."""

    submap_idx: U32
    submap: U32


XEN_FEATURE_INFO = Layout("xen_feature_info", XenFeatureInfo)


class XenBuildId(NamedTuple):
    """Header of XENVER_build_id; `len` bytes follow."""

    len: U32


XEN_BUILD_ID = Layout("xen_build_id", XenBuildId)


@c_names("XENFEAT_")
class XenFeature(IntEnum):
    """Bit numbers of the feature map. The names are those of XEN_ELFNOTE_FEATURES strings too."""

    writable_page_tables = 0
    writable_descriptor_tables = 1
    auto_translated_physmap = 2
    supervisor_mode_kernel = 3
    pae_pgdir_above_4gb = 4
    mmu_pt_update_preserve_ad = 5
    highmem_assist = 6
    gnttab_map_avail_bits = 7
    hvm_callback_vector = 8
    hvm_safe_pvclock = 9
    hvm_pirqs = 10
    dom0 = 11
    memory_op_vnode_supported = 13
    ARM_SMCCC_supported = 14
    linux_rsdp_unrestricted = 15
    not_direct_mapped = 16
    direct_mapped = 17


XENFEAT_NR_SUBMAPS: Final = 1
