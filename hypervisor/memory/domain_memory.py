"""One domain's memory: its page-table shape, its reservation, the hypervisor's part of its address space."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from paravane.abi.e820 import E820Entry, E820Type
from paravane.abi.errno import Errno
from paravane.abi.hypercall import VmassistCmd, VmassistType
from paravane.memory.address_space import (
    DESCRIPTOR_AREA,
    MAX_VCPUS,
    RESERVED_GDT_PAGE,
    VCPU_STRIDE,
    gdt_address,
    space_for,
)
from paravane.memory.frames import ALLOCATED, LEAVING, NONE, VALIDATED, WRITABLE, XEN_HEAP
from paravane.memory.instruction import StoreDecoder
from paravane.memory.owner import Owner
from paravane.memory.pins import pin
from paravane.memory.saved import DomainMemoryState
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Pte

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.cpu.geometry import Geometry
    from paravane.memory.machine_memory import MachineMemory
    from paravane.memory.owner import Installed


class DomainMemory(Owner):
    """The memory of one domain of `machine`, without any frames of its own yet."""

    def __init__(
        self,
        machine: MachineMemory,
        domid: int,
        geometry: Geometry,
        *,
        max_pages: int,
        memory_map_pages: int | None = None,
        max_vcpus: int = 1,
        privileged: bool = False,
        area_tables: Sequence[int] | None = None,
    ) -> None:
        """Raises MemoryError when the hypervisor has no frames for its own tables. The memory map that the
        domain can ask for has `memory_map_pages` of RAM, by default all it may have.

        The rules for its frames are found by its number: before it has any, whoever makes the domain enters
        it among those of the machine.

        `area_tables`: the frames that its descriptor area has already, of a domain that is made again; what
        they hold is written once more.
        """
        if not 1 <= max_vcpus <= MAX_VCPUS:
            raise ValueError(f"a domain has 1 to {MAX_VCPUS} vcpus, not {max_vcpus}")
        space = space_for(geometry)
        mapped = max_pages if memory_map_pages is None else memory_map_pages
        super().__init__(
            domid=domid,
            space=space,
            entries=getattr(machine.ram, space.view),
            max_pages=max_pages,
            max_vcpus=max_vcpus,
            privileged=privileged,
            target=mapped,
            e820=[E820Entry(0, mapped << PAGE_SHIFT, E820Type.RAM)],
        )
        self.machine = machine
        self.geometry = geometry
        self.store_decoder = StoreDecoder()
        machine.m2p_tables(space)  # shared by all domains; made first so that a failure leaks nothing
        nr_tables = -(-max_vcpus * VCPU_STRIDE // (1 << space.l2_shift))
        if area_tables is None:
            self._area_tables: Sequence[int] = machine.allocate_own(nr_tables)
        elif len(area_tables) == nr_tables:
            self._area_tables = area_tables
            for mfn in area_tables:
                machine.ram.clear_frame(mfn)
        else:
            raise ValueError(f"{len(area_tables)} tables cannot map the descriptors of {max_vcpus} vcpus")
        self.xen_slots = self._template()
        for vcpu_id in range(max_vcpus):
            self._prepare_gdt(vcpu_id)

    def save(self) -> DomainMemoryState:
        """All that has to be kept of it besides its frames and what its vcpus have installed."""
        return DomainMemoryState(
            self.max_pages,
            self.tot_pages,
            self.xen_frames,
            self.target,
            self.vm_assist,
            tuple(self.e820),
            tuple(self._area_tables),
        )

    def restore(self, state: DomainMemoryState) -> None:
        """Go on from what `save` gave; made with its `area_tables`."""
        self.max_pages, self.target, self.vm_assist = state.max_pages, state.target, state.vm_assist
        self.tot_pages, self.xen_frames, self.e820 = state.tot_pages, state.xen_frames, list(state.e820)

    def pin(self, mfn: int) -> None:
        """Validate the root table a domain was built with and keep it validated. Raises Refusal."""
        pin(self.machine.types, self, mfn, self.space.root)

    def set_assist(self, command: int, kind: int) -> None:
        """vm_assist: turn one of the aids Xen offers a 32-bit guest on or off. Raises Refusal."""
        if kind > VmassistType.runstate_update_flag:
            raise Refusal(Errno.EINVAL, f"a 32-bit guest has no assist of type {kind}")
        if command == VmassistCmd.enable:
            self.vm_assist |= 1 << kind
        elif command == VmassistCmd.disable:
            self.vm_assist &= ~(1 << kind)
        else:
            raise Refusal(Errno.ENOSYS, f"vm_assist has no command {command}")

    @property
    def writable_page_tables(self) -> bool:
        """Whether stores to read-only mapped L1 tables are emulated (VMASST_TYPE_writable_pagetables)."""
        return bool(self.vm_assist >> VmassistType.writable_pagetables & 1)

    @property
    def pae_extended_cr3(self) -> bool:
        """Whether the guest understands base pointers above 4 GiB (VMASST_TYPE_pae_extended_cr3)."""
        return bool(self.vm_assist >> VmassistType.pae_extended_cr3 & 1)

    @property
    def architectural_iopl(self) -> bool:
        """Whether the guest sees its IOPL in EFLAGS (VMASST_TYPE_architectural_iopl)."""
        return bool(self.vm_assist >> VmassistType.architectural_iopl & 1)

    @property
    def runstate_update_flag(self) -> bool:
        """Whether the guest is to see that its run states are being written
        (VMASST_TYPE_runstate_update_flag)."""
        return bool(self.vm_assist >> VmassistType.runstate_update_flag & 1)

    # The hypervisor's slots

    def _template(self) -> bytes:
        """The hypervisor's entries of an L2: the m2p table, then the descriptor area.

        Nothing a guest asks for ever changes them.
        """
        space = self.space
        table = Pte.PRESENT | Pte.ACCESSED | Pte.DIRTY
        slots = [0] * space.xen_slots
        for at, mfn in enumerate(self.machine.m2p_tables(space)):
            slots[at] = mfn << PAGE_SHIFT | table
        area = (DESCRIPTOR_AREA - space.hole) >> space.l2_shift
        for at, mfn in enumerate(self._area_tables):
            slots[area + at] = mfn << PAGE_SHIFT | table
        return array(space.code, slots).tobytes()

    def _area_entry(self, address: int) -> int:
        """Index, in `entries`, of the L1 entry for a page of the descriptor area."""
        page = (address - DESCRIPTOR_AREA) // PAGE_SIZE
        table, slot = divmod(page, self.space.entries)
        return (self._area_tables[table] << self.space.table_shift) + slot

    def _read_only_entry(self, mfn: int) -> int:
        """An entry by which the processor reads a descriptor table and nobody writes it."""
        return mfn << PAGE_SHIFT | Pte.PRESENT | Pte.ACCESSED | Pte.DIRTY | self.space.nx

    def _prepare_gdt(self, vcpu_id: int) -> None:
        for page in range(RESERVED_GDT_PAGE):
            self.set_area_page(gdt_address(vcpu_id) + page * PAGE_SIZE, self.machine.zero_frame)
        self.set_area_page(gdt_address(vcpu_id) + RESERVED_GDT_PAGE * PAGE_SIZE, self.machine.flat_gdt_frame)

    def set_area_page(self, address: int, mfn: int | None) -> None:
        """Map a frame at a page of the descriptor area, or nothing."""
        self.entries[self._area_entry(address)] = 0 if mfn is None else self._read_only_entry(mfn)

    # The reservation

    def populate(self, nr_frames: int, first_pfn: int = 0) -> array[int]:
        """Give the domain frames for pfns from `first_pfn` on, set the m2p, and return its p2m list.

        Raises MemoryError when the machine has too few, ValueError when that is beyond the domain's limit.
        """
        if nr_frames > self.max_pages - self.tot_pages:
            raise ValueError(
                f"{nr_frames} frames would exceed the limit of {self.max_pages} for d{self.domid}"
            )
        p2m = array("I")
        m2p = self.machine.m2p
        for run in self.machine.take(self.domid, nr_frames, ALLOCATED):
            pfn = first_pfn + len(p2m)
            m2p[run.start : run.stop : run.step] = memoryview(array("I", range(pfn, pfn + len(run))))
            p2m.extend(run)
        self.tot_pages += nr_frames
        return p2m

    def share_xen_frame(self, *, writable: bool = True) -> int:
        """A fresh frame of the hypervisor's that the domain may map (shared_info, grant tables).

        It is no part of the reservation. The extra type count keeps it writable, or never writable, for good.
        """
        frames = self.machine.frames
        (run,) = self.machine.take(self.domid, 1, ALLOCATED | XEN_HEAP)
        mfn = run.start
        # Two references: the guest may give its own away, but the frame remains the hypervisor's.
        frames.count[mfn] = 2
        frames.type[mfn] = WRITABLE if writable else NONE
        frames.type_count[mfn] = 1
        frames.flags[mfn] |= VALIDATED
        self.xen_frames += 1
        return mfn

    def free_stolen(self, mfn: int) -> None:
        """Give up a frame that was taken out of use (`exchange.steal`)."""
        frames = self.machine.frames
        frames.count[mfn], frames.flags[mfn] = 1, 0
        self.machine.types.put_page(mfn)

    def adopt(self, giver: Owner, mfn: int, *, pfn: int) -> None:
        """Have a frame that was taken out of use in `giver`, with what it holds. The machine-to-phys table
        says `pfn` of it."""
        frames = self.machine.frames
        giver.tot_pages -= 1
        giver.flush_tlb()
        # The giver's processors may hold code of it, which this domain changes without their noticing.
        self.machine.ram.code_changed(mfn)
        frames.reset(mfn)
        frames.give(range(mfn, mfn + 1), self.domid, ALLOCATED)
        self.tot_pages += 1
        self.machine.m2p[mfn] = pfn

    def is_xen_frame_in_use(self, mfn: int) -> bool:
        """Whether anybody has a shared frame mapped: whether it has more references than the hypervisor's and
        the one that the guest may give away."""
        frames = self.machine.frames
        return frames.count[mfn] > 1 + bool(frames.flags[mfn] & ALLOCATED)

    def write_frame(self, mfn: int, data: bytes) -> None:
        """Fill a frame of the domain's for it. Raises Refusal for one that is not its own or not writable."""
        types = self.machine.types
        types.get_page_and_type(mfn, self.domid, WRITABLE)
        self.machine.ram.write(mfn << PAGE_SHIFT, data)
        types.put_page_and_type(mfn)

    def release_xen_frame(self, mfn: int) -> None:
        """Take a shared frame back; it is free once the guest has no mapping of it."""
        frames, types = self.machine.frames, self.machine.types
        frames.type_count[mfn] -= 1
        frames.flags[mfn] |= LEAVING
        if frames.flags[mfn] & ALLOCATED:
            frames.flags[mfn] &= ~ALLOCATED
            types.put_page(mfn)
        types.put_page(mfn)

    def destroy(self) -> None:
        """Give everything back. Frames that others still have mapped stay until they let go of them.

        The processors must not run any more.
        """
        self.dying = True
        for vcpu in self.vcpus:
            self._uninstall(vcpu)
        self.vcpus.clear()
        self.machine.release_domain(self)
        self.machine.free_own(self._area_tables)

    def _uninstall(self, vcpu: Installed) -> None:
        """Let go of everything a vcpu has installed. What maps it goes with the descriptor area."""
        types = self.machine.types
        for mfn in (*vcpu.ldt_frames.values(), *vcpu.gdt_frames):
            types.put_page_and_type(mfn)
        vcpu.ldt_frames, vcpu.gdt_frames = {}, []
        base, vcpu.base_mfn = vcpu.base_mfn, 0
        if base:
            types.put_page_and_type(base)
