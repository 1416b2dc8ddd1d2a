"""What a domain finds in ESI at its first instruction (public/xen.h, "start of day")."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import PTR, U32, ULONG, Chars, Layout, Union
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

MAGIC_PAE: Final = "xen-3.0-x86_32p"
"""`start_info.magic` and the guest's word for its ABI: 3-level page tables."""

MAGIC_TWO_LEVEL: Final = "xen-3.0-x86_32"
"""The same for 2-level page tables."""

MAX_GUEST_CMDLINE: Final = 1024


@c_names("SIF_")
class StartInfoFlag(IntEnum):
    """`start_info.flags`."""

    PRIVILEGED = 1 << 0
    INITDOMAIN = 1 << 1
    MULTIBOOT_MOD = 1 << 2
    MOD_START_PFN = 1 << 3
    VIRT_P2M_4TOOLS = 1 << 4
    PM_MASK = 0xFF << 8


class StartInfoConsoleDomU(NamedTuple):
    """Console of an ordinary domain: frame of its ring, its event channel."""

    mfn: ULONG
    evtchn: U32


START_INFO_CONSOLE_DOMU = Layout("start_info.console.domU", StartInfoConsoleDomU)


class StartInfoConsoleDom0(NamedTuple):
    """Console of the control domain: where its video information lies in the start_info page."""

    info_off: U32
    info_size: U32


START_INFO_CONSOLE_DOM0 = Layout("start_info.console.dom0", StartInfoConsoleDom0)


class StartInfo(NamedTuple):
    """`shared_info` is a machine address; `pt_base`, `mfn_list`, `mod_start` are virtual addresses
    (`mod_start` a pfn with SIF_MOD_START_PFN); `store_mfn` and `console.mfn` are machine frames."""

    magic: Annotated[bytes, Chars(32)]
    nr_pages: ULONG
    shared_info: ULONG
    flags: U32
    store_mfn: ULONG
    store_evtchn: U32
    console: Annotated[
        StartInfoConsoleDomU, Union({"domU": START_INFO_CONSOLE_DOMU, "dom0": START_INFO_CONSOLE_DOM0})
    ]
    pt_base: ULONG
    nr_pt_frames: ULONG
    mfn_list: PTR
    mod_start: ULONG
    mod_len: ULONG
    cmd_line: Annotated[bytes, Chars(MAX_GUEST_CMDLINE)]
    first_p2m_pfn: ULONG
    nr_p2m_frames: ULONG


START_INFO = Layout("start_info", StartInfo)


class MultibootModule(NamedTuple):
    """One module of the list at `mod_start` under SIF_MULTIBOOT_MOD; `cmdline` is a physical address."""

    mod_start: U32
    mod_end: U32
    cmdline: U32
    pad: U32


XEN_MULTIBOOT_MOD_LIST = Layout("xen_multiboot_mod_list", MultibootModule)
