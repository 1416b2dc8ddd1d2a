"""Where things are in a PV guest's linear address space, and which bits its page tables may hold.

Both shapes of page table are data here; the code that validates them is the same. Sources: Xen's
public/arch-x86/xen-x86_32.h for the reserved area, Intel SDM volume 3 chapter 4 for the bits. Addresses are
linear addresses, sizes are bytes unless a name says otherwise.
"""

from __future__ import annotations

from typing import Final, Literal

from paravane.abi.arch import (
    HYPERVISOR_VIRT_START_NONPAE,
    HYPERVISOR_VIRT_START_PAE,
    MACH2PHYS_VIRT_END_NONPAE,
)
from paravane.classes import dataclass
from paravane.cpu.geometry import PAE, TWO_LEVEL, Geometry
from paravane.memory.frames import FrameType
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Pte

MAX_VCPUS: Final = 32
"""Virtual processors a domain can have (XEN_LEGACY_MAX_VCPUS)."""

DESCRIPTOR_AREA: Final = 0xFFC0_0000
"""GDT and LDT of every vcpu of a domain: the last 4 MiB, read-only and for supervisors only."""

GDT_PAGES: Final = 16
LDT_PAGES: Final = 16
VCPU_STRIDE: Final = (GDT_PAGES + LDT_PAGES) * PAGE_SIZE
"""Distance between the areas of two vcpus: 16 pages of GDT, then 16 pages of LDT."""

RESERVED_GDT_PAGE: Final = 14
GDT_LIMIT: Final = (RESERVED_GDT_PAGE + 1) * PAGE_SIZE - 1
"""Limit of every GDT: the guest's 14 pages and the hypervisor's one."""

TASK_SELECTOR: Final = RESERVED_GDT_PAGE * PAGE_SIZE + 64
LDT_SELECTOR: Final = TASK_SELECTOR + 16
"""What STR and, with an LDT, SLDT read: Xen's own descriptors, which no guest can use."""

MAX_FRAMES: Final = 1 << 20
"""A base pointer is 32 bits wide, so every frame must lie below 4 GiB."""

M2P_END: Final = {PAE.name: 0xFFE0_0000, TWO_LEVEL.name: MACH2PHYS_VIRT_END_NONPAE}
"""Where Xen says the machine-to-phys table ends, by geometry; what lies beyond this machine's frames is not
mapped.
"""

INVALID_M2P_ENTRY: Final = 0xFFFF_FFFF

ACCESSED_DIRTY: Final = int(Pte.ACCESSED | Pte.DIRTY)
_SAFE_FLAGS: Final = int(Pte.AVAIL | Pte.GLOBAL | Pte.DIRTY | Pte.ACCESSED | Pte.USER)
_CACHE_FLAGS: Final = int(Pte.PWT | Pte.PCD | Pte.PSE)
_AVAIL_HIGH: Final = 0x7FF << 52
_NX: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class AddressSpace:
    """One geometry with the rules a guest's entries of that shape obey.

    `refused[level]` are the entry bits that make an update -EINVAL; `dropped` are bits Xen leaves to software
    that this processor would fault on: they are cleared as an entry is written. `unchecked` are the bits that
    may change without the entry being checked again. `first_xen_slot` counts in the table that maps the
    hypervisor's area: the L2 of L3 slot 3 (PAE), every L2 (two-level).
    """

    geometry: Geometry
    root: FrameType
    hole: int
    view: str
    entry_shift: int
    entry_mask: int
    entries: int
    refused: tuple[int, ...]
    dropped: int
    unchecked: int
    no_frame: int
    first_xen_slot: int
    nx: int

    @property
    def m2p_start(self) -> int:
        """Linear address of the machine-to-phys table, as the guest sees it."""
        return self.hole

    @property
    def table_shift(self) -> int:
        """Shift from a frame number to the index of its first entry in the view of all machine memory."""
        return PAGE_SHIFT - self.entry_shift

    @property
    def code(self) -> Literal["Q", "I"]:
        """The struct code of an entry."""
        return "Q" if self.entry_shift == 3 else "I"

    @property
    def l2_shift(self) -> int:
        """log2 of the bytes one L2 entry maps."""
        return self.geometry.shifts[-2]

    @property
    def xen_slots(self) -> int:
        """Entries of an L2 that belong to the hypervisor, from `first_xen_slot` to the end."""
        return self.entries - self.first_xen_slot


PAE_SPACE: Final = AddressSpace(
    geometry=PAE,
    root=FrameType.L3_PAGE_TABLE,
    hole=HYPERVISOR_VIRT_START_PAE,
    view="quads",
    entry_shift=3,
    entry_mask=(1 << 64) - 1,
    entries=512,
    refused=(0, _CACHE_FLAGS, _CACHE_FLAGS | Pte.GLOBAL, _CACHE_FLAGS | Pte.GLOBAL | 0xFFF << 52),
    dropped=_AVAIL_HIGH,
    unchecked=_SAFE_FLAGS | _AVAIL_HIGH | _NX,
    no_frame=(1 << 40) - 1,
    first_xen_slot=(HYPERVISOR_VIRT_START_PAE & 0x3FFF_FFFF) >> 21,
    nx=_NX,
)
TWO_LEVEL_SPACE: Final = AddressSpace(
    geometry=TWO_LEVEL,
    root=FrameType.L2_PAGE_TABLE,
    hole=HYPERVISOR_VIRT_START_NONPAE,
    view="words",
    entry_shift=2,
    entry_mask=(1 << 32) - 1,
    entries=1024,
    refused=(0, _CACHE_FLAGS, _CACHE_FLAGS | Pte.GLOBAL, 0),
    dropped=0,
    unchecked=_SAFE_FLAGS,
    no_frame=(1 << 20) - 1,
    first_xen_slot=HYPERVISOR_VIRT_START_NONPAE >> 22,
    nx=0,
)

_SPACES = {space.geometry.name: space for space in (PAE_SPACE, TWO_LEVEL_SPACE)}


def space_for(geometry: Geometry) -> AddressSpace:
    """The address space of a processor geometry."""
    return _SPACES[geometry.name]


def space_named(name: str) -> AddressSpace:
    """The address space of the geometry that is called so. Raises ValueError when none is."""
    if name not in _SPACES:
        raise ValueError(f"no page tables are called {name[:40]!r}")
    return _SPACES[name]


def gdt_address(vcpu_id: int) -> int:
    """Linear address of a vcpu's GDT."""
    return DESCRIPTOR_AREA + vcpu_id * VCPU_STRIDE


def ldt_address(vcpu_id: int) -> int:
    """Linear address of a vcpu's LDT."""
    return gdt_address(vcpu_id) + GDT_PAGES * PAGE_SIZE


_FLAG_NAMES: Final = {
    int(Pte.PWT): "PWT",
    int(Pte.PCD): "PCD",
    int(Pte.PSE): "PSE or PAT",
    int(Pte.GLOBAL): "GLOBAL",
    _NX: "NX",
}


def flag_names(bits: int) -> str:
    """Entry bits by name, for refusals: `PWT, PCD`; those without a name as one number."""
    named = [name for bit, name in _FLAG_NAMES.items() if bits & bit]
    rest = bits & ~sum(_FLAG_NAMES)
    return ", ".join(named + [f"{rest:#x}"] * bool(rest))
