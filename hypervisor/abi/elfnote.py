"""How a kernel image describes itself (public/elfnote.h): ELF notes named "Xen", or a `__xen_guest` text."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from paravane.abi.names import c_names

NOTE_NAME: Final = b"Xen\0"
"""The name field of every note."""

GUEST_SECTION: Final = "__xen_guest"
"""ELF section that holds the older form: `KEY=value,KEY,KEY=value` in ASCII."""


@c_names("XEN_ELFNOTE_")
class ElfNote(IntEnum):
    """Note types."""

    INFO = 0
    ENTRY = 1
    HYPERCALL_PAGE = 2
    VIRT_BASE = 3
    PADDR_OFFSET = 4
    XEN_VERSION = 5
    GUEST_OS = 6
    GUEST_VERSION = 7
    LOADER = 8
    PAE_MODE = 9
    FEATURES = 10
    BSD_SYMTAB = 11
    HV_START_LOW = 12
    L1_MFN_VALID = 13
    SUSPEND_CANCEL = 14
    INIT_P2M = 15
    MOD_START_PFN = 16
    SUPPORTED_FEATURES = 17
    PHYS32_ENTRY = 18
    MAX = 18
    CRASH_INFO = 0x1000001
    CRASH_REGS = 0x1000002
    DUMPCORE_NONE = 0x2000000
    DUMPCORE_HEADER = 0x2000001
    DUMPCORE_XEN_VERSION = 0x2000002
    DUMPCORE_FORMAT_VERSION = 0x2000003


LEGACY_KEYS: Final[Mapping[str, ElfNote]] = MappingProxyType(
    {
        "VIRT_ENTRY": ElfNote.ENTRY,
        "HYPERCALL_PAGE": ElfNote.HYPERCALL_PAGE,
        "VIRT_BASE": ElfNote.VIRT_BASE,
        "ELF_PADDR_OFFSET": ElfNote.PADDR_OFFSET,
        "XEN_VER": ElfNote.XEN_VERSION,
        "GUEST_OS": ElfNote.GUEST_OS,
        "GUEST_VER": ElfNote.GUEST_VERSION,
        "LOADER": ElfNote.LOADER,
        "PAE": ElfNote.PAE_MODE,
        "FEATURES": ElfNote.FEATURES,
        "BSD_SYMTAB": ElfNote.BSD_SYMTAB,
    }
)
"""Keys of a `__xen_guest` string and the notes they stand for. Two differ in value: HYPERCALL_PAGE is a frame
number relative to VIRT_BASE, not an address; ELF_PADDR_OFFSET defaults to VIRT_BASE, not to 0."""
