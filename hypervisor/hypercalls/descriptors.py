"""Descriptor tables (public/xen.h): set_gdt and update_descriptor. The LDT is mmuext_op's."""

from typing import TYPE_CHECKING

from paravane.abi.hypercall import Hypercall
from paravane.hypercalls.table import Hex, Ptr, UInt, hypercall
from paravane.memory.descriptor_tables import read_gdt_frames
from paravane.memory.descriptor_tables import update_descriptor as update

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller


@hypercall(Hypercall.set_gdt)
def set_gdt(caller: "Caller", frame_list: Ptr, entries: UInt) -> int:
    """Install up to 14 frames of descriptors as the vcpu's GDT."""
    caller.paging.set_gdt(read_gdt_frames(caller, frame_list, entries), entries)
    return 0


@hypercall(Hypercall.update_descriptor)
def update_descriptor(caller: "Caller", pa_lo: Hex, pa_hi: Hex, desc_lo: Hex, desc_hi: Hex) -> int:
    """Change one descriptor, named by its machine address."""
    update(caller.domain.memory, pa_hi << 32 | pa_lo, desc_hi << 32 | desc_lo)
    return 0
