"""set_gdt's list of frames, and update_descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.arch import FIRST_RESERVED_GDT_ENTRY
from paravane.abi.errno import Errno
from paravane.cpu.faults import PageFault
from paravane.memory.descriptors import check_descriptor, explain
from paravane.memory.frames import SEG_DESC, WRITABLE
from paravane.memory.owner import DESCRIPTORS_PER_PAGE
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.memory.domain_memory import DomainMemory
    from paravane.memory.guest import Caller


def read_gdt_frames(caller: Caller, pointer: int, entries: int) -> list[int]:
    """The frame numbers at `pointer` that hold `entries` descriptors. Raises Refusal (-EINVAL, -EFAULT)."""
    if entries > FIRST_RESERVED_GDT_ENTRY:
        limit = FIRST_RESERVED_GDT_ENTRY
        raise Refusal(
            Errno.EINVAL, f"a GDT of {entries} entries; from entry {limit} on it is the hypervisor's"
        )
    size = 4 * -(-entries // DESCRIPTORS_PER_PAGE)
    try:
        data = caller.copy_from_guest(pointer, size) if size else b""
    except PageFault as fault:
        raise Refusal(Errno.EFAULT, f"the list of GDT frames cannot be read at {fault.va:#010x}") from None
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, size, 4)]


def update_descriptor(domain: DomainMemory, maddr: int, raw: int) -> None:
    """Store one descriptor at a machine address. Raises Refusal (-EINVAL).

    The frame is either a descriptor table, and stays a good one, or it is one the guest could write anyway.
    """
    machine, mfn = domain.machine, maddr >> 12
    stored = check_descriptor(raw, domain.space.hole)
    if maddr & 7:
        raise Refusal(Errno.EINVAL, f"a descriptor at {maddr:#x} would lie across two")
    if stored is None:
        raise Refusal(Errno.EINVAL, f"descriptor {raw:#018x} is {explain(raw)}")
    kind = (
        SEG_DESC if 0 <= mfn < machine.frames.nr_frames and machine.frames.type[mfn] == SEG_DESC else WRITABLE
    )
    machine.types.get_page_and_type(mfn, domain.domid, kind)
    machine.ram.quads[maddr >> 3] = stored
    machine.ram.code_changed(mfn)
    if kind == SEG_DESC:
        domain.descriptor_changed(mfn, (maddr & 0xFFF) >> 3)
    machine.types.put_page_and_type(mfn)
