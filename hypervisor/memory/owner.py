"""Who owns frames and who uses them: the state that the rules about page tables look at.

An `Owner` is one domain's side of the frame table, an `Installed` what one of its vcpus has its processor
use. Both are plain state (numbers, lists, dicts) but for the processors and the view of machine memory, so
that a domain's memory can be saved and made again. What may be done with them stands above: `DomainMemory` is
an owner, `VcpuPaging` an `Installed`.
"""

from __future__ import annotations

from array import array
from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol

from paravane.classes import dataclass
from paravane.x86 import PAGE_SHIFT, Selector

if TYPE_CHECKING:
    from paravane.abi.e820 import E820Entry
    from paravane.memory.address_space import AddressSpace


DESCRIPTORS_PER_PAGE: Final = 512

# Of `Installed.cell`.
BASE_MFN: Final = 0
NR_LDT_PAGES: Final = 1


class Processor(Protocol):
    """What this folder asks of a vcpu's processor (`paravane.cpu.Cpu` has it all).

    The flushes hold from the guest's next instruction on, so they may be asked for at any time before it.
    """

    cr2: int
    cr3: int
    eip: int
    eflags: int

    @property
    def cpl(self) -> int: ...
    @property
    def cs(self) -> int: ...
    @property
    def ss(self) -> int: ...

    def flush_tlb(self) -> None: ...
    def flush_page(self, va: int) -> None: ...
    def set_gdt(self, base: int, limit: int) -> None: ...
    def set_ldt(self, base: int, limit: int, selector: int) -> None: ...
    def set_task_selector(self, selector: int) -> None: ...
    def reload_segments(self) -> None: ...


class HasMemory(Protocol):
    """A domain as this folder sees it. The control domain has no memory of this machine."""

    @property
    def domid(self) -> int: ...
    @property
    def memory(self) -> Owner | None: ...


@dataclass(eq=False)
class Installed:
    """What one vcpu has installed: frames (by mfn) that its processor uses as root table, GDT and LDT.

    `base_mfn` is 0 before there is a root table. `ldt_frames` are the LDT's pages used so far, by number.
    `cell` has the former, and how many of the latter there are, where native code finds them.
    """

    vcpu_id: int
    cpu: Processor
    cell: array[int] = field(default_factory=lambda: array("q", (0, 0)))
    gdt_frames: list[int] = field(default_factory=list)
    gdt_entries: int = 0
    ldt_base: int = 0
    ldt_entries: int = 0
    ldt_frames: dict[int, int] = field(default_factory=dict)

    @property
    def base_mfn(self) -> int:
        return self.cell[BASE_MFN]

    @base_mfn.setter
    def base_mfn(self, mfn: int) -> None:
        self.cell[BASE_MFN] = mfn

    def runs_on(self, mfn: int, slot: int) -> bool:
        """Whether CS or SS is descriptor `slot` of the table in frame `mfn`."""
        for selector in (self.cpu.cs, self.cpu.ss):
            page = selector >> PAGE_SHIFT
            if selector & Selector.LDT:
                frame = self.ldt_frames.get(page)
            else:
                frame = self.gdt_frames[page] if page < len(self.gdt_frames) else None
            if frame == mfn and selector >> 3 & DESCRIPTORS_PER_PAGE - 1 == slot:
                return True
        return False


NO_PROCESSOR: Final = 0
UNSEEN: Final = 1
"""There is one, whose state native code cannot see."""


@dataclass(eq=False)
class Owner:
    """One domain as the owner of frames.

    `tot_pages` counts the frames of its reservation, `max_pages` bounds them, `target` is what its
    administrator asks of its balloon (all in frames); `xen_frames` are the hypervisor's that it shares.
    `privileged` lets it name the frames and tables of other domains. `assists` is `vm_assist` where
    native code reads it. `entries` is all machine memory as page-table entries of the domain's shape,
    `xen_slots` the hypervisor's entries of its L2 tables. `states` is for native code as well: where the
    state of each vcpu's processor is seen in this process, `NO_PROCESSOR` or `UNSEEN`.
    """

    domid: int
    space: AddressSpace
    entries: memoryview
    max_pages: int
    max_vcpus: int
    privileged: bool
    target: int
    e820: list[E820Entry]
    tot_pages: int = 0
    xen_frames: int = 0
    assists: array[int] = field(default_factory=lambda: array("q", (0,)))
    dying: bool = False
    xen_slots: bytes = b""
    vcpus: list[Installed] = field(default_factory=list)
    states: array[int] = field(init=False)

    def __post_init__(self) -> None:
        self.states = array("Q", (NO_PROCESSOR,)) * self.max_vcpus

    @property
    def vm_assist(self) -> int:
        """A bit for each aid the guest asked for (VMASST_TYPE_*)."""
        return self.assists[0]

    @vm_assist.setter
    def vm_assist(self, mask: int) -> None:
        self.assists[0] = mask

    def table(self, mfn: int) -> list[int]:
        """All entries of a page table."""
        first = mfn << self.space.table_shift
        entries: list[int] = self.entries[first : first + self.space.entries].tolist()
        return entries

    def flush_tlb(self) -> None:
        """Have every processor of the domain forget its translations before it executes anything more.

        Whoever takes a mapping away, or makes a frame the guest could write into a table, asks for it at
        once: it costs a flag, and a translation that outlives its mapping would be a hole.
        """
        for vcpu in self.vcpus:
            vcpu.cpu.flush_tlb()

    def descriptor_changed(self, mfn: int, slot: int) -> None:
        """Descriptor `slot` of frame `mfn` is another one now, also for those that run on it.

        All others load it when they come to use it, and check it then.
        """
        for vcpu in self.vcpus:
            if vcpu.runs_on(mfn, slot):
                vcpu.cpu.reload_segments()
