"""What one vcpu has installed: its base pointer, its GDT, its LDT."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from paravane.abi.arch import FIRST_RESERVED_GDT_ENTRY
from paravane.abi.errno import Errno
from paravane.classes import NamedTuple
from paravane.memory.address_space import (
    DESCRIPTOR_AREA,
    GDT_LIMIT,
    GDT_PAGES,
    LDT_PAGES,
    LDT_SELECTOR,
    TASK_SELECTOR,
    VCPU_STRIDE,
    gdt_address,
    ldt_address,
)
from paravane.memory.descriptors import used
from paravane.memory.frames import L1, SEG_DESC
from paravane.memory.owner import DESCRIPTORS_PER_PAGE, NR_LDT_PAGES, Installed
from paravane.memory.saved import InstalledState, check_own
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, PageFaultCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.memory.domain_memory import DomainMemory
    from paravane.memory.owner import Processor

MAX_LDT_ENTRIES: Final = 8192


class Fix(Enum):
    """What became of a fault in the descriptor area."""

    NOT_OURS = 0
    RETRY = 1
    DELIVER = 2


class DescriptorFault(NamedTuple):
    """`RETRY`: what the load needs is there now. `DELIVER`: the guest's #PF is at `cr2`."""

    fix: Fix
    cr2: int = 0


class VcpuPaging(Installed):
    """The address space and descriptor tables of one vcpu.

    Making one claims the vcpu's place in its domain, points the processor at its GDT and gives it an empty
    LDT.
    """

    def __init__(self, domain: DomainMemory, vcpu_id: int, cpu: Processor) -> None:
        if not 0 <= vcpu_id < domain.max_vcpus or any(vcpu.vcpu_id == vcpu_id for vcpu in domain.vcpus):
            raise ValueError(f"d{domain.domid} cannot have a vcpu {vcpu_id}")
        super().__init__(vcpu_id, cpu)
        self.domain: DomainMemory = domain
        domain.vcpus.append(self)
        cpu.set_gdt(gdt_address(self.vcpu_id), GDT_LIMIT)
        cpu.set_task_selector(TASK_SELECTOR)
        cpu.set_ldt(0, 0, 0)

    def save(self) -> InstalledState:
        """All that has to be kept of it."""
        return InstalledState(
            self.base_mfn,
            tuple(self.gdt_frames),
            self.gdt_entries,
            self.ldt_base,
            self.ldt_entries,
            dict(self.ldt_frames),
        )

    def restore(self, state: InstalledState) -> None:
        """Have installed what `save` told of, whose frames are counted already. Raises ValueError, a
        sentence, for what cannot be."""
        machine, domid = self.domain.machine, self.domain.domid
        frames = (*state.gdt_frames, *state.ldt_frames.values(), *(state.base_mfn,) * bool(state.base_mfn))
        check_own(machine, frames, domid)
        pages = -(-state.gdt_entries // DESCRIPTORS_PER_PAGE)
        if state.gdt_entries > FIRST_RESERVED_GDT_ENTRY or len(state.gdt_frames) != pages:
            raise ValueError(f"{len(state.gdt_frames)} frames are no GDT of {state.gdt_entries} entries")
        if state.ldt_entries > MAX_LDT_ENTRIES or not all(0 <= page < LDT_PAGES for page in state.ldt_frames):
            raise ValueError(f"an LDT has no {state.ldt_entries} entries")
        self.base_mfn, self.cpu.cr3 = state.base_mfn, state.base_mfn << PAGE_SHIFT
        self._map_gdt(list(state.gdt_frames))
        self.gdt_entries = state.gdt_entries
        self.ldt_base, self.ldt_entries = state.ldt_base, state.ldt_entries
        if state.ldt_entries:
            self.cpu.set_ldt(ldt_address(self.vcpu_id), state.ldt_entries * 8 - 1, LDT_SELECTOR)
        self.ldt_frames = dict(state.ldt_frames)
        self.cell[NR_LDT_PAGES] = len(self.ldt_frames)
        for page, mfn in self.ldt_frames.items():
            self.domain.set_area_page(ldt_address(self.vcpu_id) + page * PAGE_SIZE, mfn)

    # Address space

    def load_base(self, mfn: int) -> None:
        """Walk the tables from root table `mfn` from now on (MMUEXT_NEW_BASEPTR). Raises Refusal.

        The LDT's pages are looked up again by their linear address when next used, as in Xen.
        """
        types = self.domain.machine.types
        if mfn != self.base_mfn or not mfn:  # 0 stands for none, and as a frame it is nobody's
            types.get_page_and_type(mfn, self.domain.domid, self.domain.space.root)
        old, self.base_mfn = self.base_mfn, mfn
        self.drop_ldt_pages()
        self.cpu.cr3 = mfn << 12
        if old and old != mfn:
            types.put_page_and_type(old)

    def l1_entry(self, va: int) -> tuple[int, int] | None:
        """The mfn of the L1 table that maps `va` and the index of its entry, or None where there is no
        table.
        """
        space, entries, table = self.domain.space, self.domain.entries, self.base_mfn
        geometry, shift = space.geometry, PAGE_SHIFT - space.entry_shift
        if not table:
            return None
        index = -1
        for below, bits in zip(geometry.shifts, geometry.index_bits, strict=True):
            if index >= 0:
                entry = entries[index]
                if not entry & 1:
                    return None
                table = (entry & geometry.address_mask) >> PAGE_SHIFT
            index = (table << shift) + (va >> below & (1 << bits) - 1)
        return table, index

    def own_l1_entry(self, va: int) -> int:
        """The index of the L1 entry that maps `va`, in a table of the domain's own that is in use. Raises
        Refusal (-EINVAL).
        """
        found = self.l1_entry(va)
        if found is None:
            raise Refusal(Errno.EINVAL, f"{va:#010x} has no L1 table to hold an entry")
        table, index = found
        frames, domid = self.domain.machine.frames, self.domain.domid
        if not (
            table < frames.nr_frames
            and frames.type[table] == L1
            and frames.type_count[table]
            and frames.owner[table] == domid
            and frames.count[table] < frames.count_limit
        ):
            self.check_own_l1(table)
        return index

    def check_own_l1(self, table: int) -> None:
        """Raises Refusal (-EINVAL) unless frame `table` is an L1 table of the domain's own that is in use."""
        frames, domid = self.domain.machine.frames, self.domain.domid
        if not frames.in_use_as(table, domid, L1):
            raise Refusal(Errno.EINVAL, f"{frames.describe(table)} is not an L1 table of d{domid} in use")

    def read_l1_entry(self, va: int) -> int:
        """The L1 entry that maps `va`, 0 where there is none."""
        found = self.l1_entry(va)
        return self.domain.entries[found[1]] if found else 0

    # GDT

    def set_gdt(self, frames: Sequence[int], entries: int) -> None:
        """Install `entries` descriptors in `frames` as the GDT. Raises Refusal, leaving the old one in
        place.
        """
        if entries > FIRST_RESERVED_GDT_ENTRY:
            limit = FIRST_RESERVED_GDT_ENTRY
            raise Refusal(
                Errno.EINVAL, f"a GDT of {entries} entries; from entry {limit} on it is the hypervisor's"
            )
        types, old = self.domain.machine.types, self.gdt_frames
        taken = self._take_gdt(frames[: -(-entries // DESCRIPTORS_PER_PAGE)])
        self._map_gdt(taken)
        self.cpu.reload_segments()
        self.gdt_entries = entries
        for mfn in old:
            types.put_page_and_type(mfn)
        self.cpu.flush_tlb()

    def _take_gdt(self, frames: Sequence[int]) -> list[int]:
        """Use all of `frames` as descriptor tables, or none and raise Refusal (-EINVAL)."""
        types, taken = self.domain.machine.types, list[int]()
        for mfn in frames:
            try:
                types.get_page_and_type(mfn, self.domain.domid, SEG_DESC)
            except Refusal as refusal:
                for other in taken:
                    types.put_page_and_type(other)
                raise Refusal(Errno.EINVAL, refusal.sentence) from None
            taken.append(mfn)
        return taken

    def _map_gdt(self, frames: list[int]) -> None:
        base, zero = gdt_address(self.vcpu_id), self.domain.machine.zero_frame
        for page in range(max(len(frames), len(self.gdt_frames))):
            self.domain.set_area_page(base + page * PAGE_SIZE, frames[page] if page < len(frames) else zero)
        self.gdt_frames = frames

    # LDT

    def set_ldt(self, base: int, entries: int) -> None:
        """Use `entries` descriptors at linear address `base` as the LDT (MMUEXT_SET_LDT). Raises Refusal."""
        if entries > MAX_LDT_ENTRIES or (entries and base % PAGE_SIZE):
            raise Refusal(
                Errno.EINVAL, f"an LDT of {entries} entries at {base:#x}: at most 8192, on a page boundary"
            )
        base = base if entries else 0
        if (base, entries) == (self.ldt_base, self.ldt_entries):
            return
        if self.drop_ldt_pages():
            self.cpu.flush_tlb()
        self.ldt_base, self.ldt_entries = base, entries
        if entries:
            self.cpu.set_ldt(ldt_address(self.vcpu_id), entries * 8 - 1, LDT_SELECTOR)
        else:
            self.cpu.set_ldt(0, 0, 0)

    def drop_ldt_pages(self) -> bool:
        """Unmap every LDT page; whether there was one."""
        dropped, self.ldt_frames = self.ldt_frames, {}
        self.cell[NR_LDT_PAGES] = 0
        if dropped:
            self.cpu.reload_segments()
        for page, mfn in dropped.items():
            self.domain.set_area_page(ldt_address(self.vcpu_id) + page * PAGE_SIZE, None)
            self.domain.machine.types.put_page_and_type(mfn)
        return bool(dropped)

    def map_ldt_page(self, offset: int) -> bool:
        """Check and map the LDT page that holds byte `offset` of it; False if the guest has no good page
        there.
        """
        page = offset // PAGE_SIZE
        if offset >> 3 >= self.ldt_entries or page >= LDT_PAGES:
            return False
        if page in self.ldt_frames:
            return True
        entry = self.read_l1_entry(self.ldt_base + offset & 0xFFFF_FFFF)
        mfn = (entry & self.domain.space.geometry.address_mask) >> 12
        if not entry & 1:
            return False
        try:
            self.domain.machine.types.get_page_and_type(mfn, self.domain.domid, SEG_DESC)
        except Refusal:
            return False
        self.ldt_frames[page] = mfn
        self.cell[NR_LDT_PAGES] = len(self.ldt_frames)
        self.domain.set_area_page(ldt_address(self.vcpu_id) + page * PAGE_SIZE, mfn)
        return True

    def descriptor_fault(self, va: int, error_code: int) -> DescriptorFault:
        """A #PF at `va`: if a segment load ran into this vcpu's descriptor area, what to do about it.

        LDT pages are mapped when first used. One that cannot be is a #PF at the guest's own address of it. A
        store is the processor's own that sets the Accessed bit of what it loads, in a table that is read-only
        to it: it is done here, and the load is tried again. (A store of the guest's to such a descriptor has
        the same effect, and then faults, for the bit is set.)
        """
        offset = va - gdt_address(self.vcpu_id)
        user_or_reserved = PageFaultCode.user_mode | PageFaultCode.reserved_bit
        if va < DESCRIPTOR_AREA or not 0 <= offset < VCPU_STRIDE or error_code & user_or_reserved:
            return DescriptorFault(Fix.NOT_OURS)
        if error_code & PageFaultCode.page_present:
            return DescriptorFault(Fix.RETRY if self._mark_accessed(va) else Fix.NOT_OURS)
        offset -= GDT_PAGES * PAGE_SIZE
        if offset < 0 or offset >> 3 >= self.ldt_entries:
            return DescriptorFault(Fix.NOT_OURS)
        if self.map_ldt_page(offset):
            return DescriptorFault(Fix.RETRY)
        return DescriptorFault(Fix.DELIVER, self.ldt_base + offset & 0xFFFF_FFFF)

    def _mark_accessed(self, va: int) -> bool:
        """Set the Accessed bit of the descriptor at `va` in this vcpu's tables; False if nothing loads it."""
        mfn = (self.read_l1_entry(va) & self.domain.space.geometry.address_mask) >> 12
        ram = self.domain.machine.ram
        at = (mfn << 12 | va & 0xFF8) >> 3
        marked = used(ram.quads[at])
        if marked is None:
            return False
        ram.quads[at] = marked
        ram.code_changed(mfn)
        return True
