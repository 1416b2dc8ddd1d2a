"""Segments and address space that Xen gives a 32-bit PV guest (public/arch-x86/xen.h, xen-x86_32.h)."""

from enum import IntEnum
from typing import Final

from paravane.abi.names import c_names
from paravane.x86 import PAGE_SIZE

KERNEL_RING: Final = 1
APPLICATION_RING: Final = 3
"""Where a 32-bit guest runs its kernel and its applications: ring 0 is the hypervisor's."""


@c_names("FLAT_")
class FlatSelector(IntEnum):
    """Flat segments in the reserved part of every GDT. Xen's KERNEL and USER names are aliases."""

    RING1_CS = 0xE019
    RING1_DS = 0xE021
    RING1_SS = 0xE021
    RING3_CS = 0xE02B
    RING3_DS = 0xE033
    RING3_SS = 0xE033
    KERNEL_CS = 0xE019
    KERNEL_DS = 0xE021
    KERNEL_SS = 0xE021
    USER_CS = 0xE02B
    USER_DS = 0xE033
    USER_SS = 0xE033


FIRST_RESERVED_GDT_PAGE: Final = 14
"""GDT pages from here on are the hypervisor's."""

FIRST_RESERVED_GDT_BYTE: Final = FIRST_RESERVED_GDT_PAGE * PAGE_SIZE
FIRST_RESERVED_GDT_ENTRY: Final = FIRST_RESERVED_GDT_BYTE // 8

HYPERVISOR_VIRT_START_PAE: Final = 0xF5800000
"""First linear address a PAE guest does not own; its machine-to-phys table starts there."""

MACH2PHYS_VIRT_START_PAE: Final = 0xF5800000
MACH2PHYS_VIRT_END_PAE: Final = 0xF6800000
HYPERVISOR_VIRT_START_NONPAE: Final = 0xFC000000
MACH2PHYS_VIRT_START_NONPAE: Final = 0xFC000000
MACH2PHYS_VIRT_END_NONPAE: Final = 0xFC400000

# Xen's unqualified names mean PAE.
HYPERVISOR_VIRT_START: Final = HYPERVISOR_VIRT_START_PAE
MACH2PHYS_VIRT_START: Final = MACH2PHYS_VIRT_START_PAE
MACH2PHYS_VIRT_END: Final = MACH2PHYS_VIRT_END_PAE
MACH2PHYS_NR_ENTRIES: Final = (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) >> 2

XEN_EMULATE_PREFIX: Final = b"\x0f\x0bxen"
"""`ud2; "xen"`: before CPUID, asks the hypervisor to emulate the instruction that follows."""


def xen_pfn_to_cr3(pfn: int) -> int:
    """The 32-bit CR3 format of a PV guest: the frame number rotated left by 12, so that 32 bits of it fit."""
    return ((pfn << 12) | (pfn >> 20)) & 0xFFFFFFFF


def xen_cr3_to_pfn(cr3: int) -> int:
    """Inverse of `xen_pfn_to_cr3`."""
    return ((cr3 >> 12) | (cr3 << 20)) & 0xFFFFFFFF
