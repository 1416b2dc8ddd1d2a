"""A small machine without an engine, to drive the memory folder directly."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from paravane.abi.arch import FlatSelector
from paravane.cpu.faults import PageFault
from paravane.cpu.geometry import PAE, Geometry
from paravane.cpu.ram import Ram
from paravane.memory import DomainMemory, MachineMemory, VcpuPaging
from paravane.preemption import PreemptionBudget
from paravane.x86 import Pte
from tests.support.residents import new_domain_memory, new_machine_memory

if TYPE_CHECKING:
    from array import array
    from struct import Struct

P, RW, USER, A, D = Pte.PRESENT, Pte.RW, Pte.USER, Pte.ACCESSED, Pte.DIRTY
DATA = int(P | RW | USER | A | D)
READ_ONLY = int(P | USER | A | D)
TABLE = int(P | RW | USER | A | D)
ROOT_ENTRY = int(P)


@dataclass
class FakeCpu:
    """A processor that only remembers what it was asked.

    `tlb` is for a test to fill: linear addresses of pages that it may still translate as it once did.
    """

    cr2: int = 0
    cr3: int = 0
    eip: int = 0
    eflags: int = 2
    cpl: int = 1
    tlb: set[int] = field(default_factory=set)
    gdt: tuple[int, int] = (0, 0)
    ldt: tuple[int, int] = (0, 0)
    ldt_selector: int = 0
    task_selector: int = 0
    segments_due: bool = False
    cs: int = int(FlatSelector.RING1_CS)
    ss: int = int(FlatSelector.RING1_DS)

    def flush_tlb(self) -> None:
        self.tlb.clear()

    def flush_page(self, va: int) -> None:
        self.tlb.discard(va)

    def set_gdt(self, base: int, limit: int) -> None:
        self.gdt = (base, limit)

    def set_ldt(self, base: int, limit: int, selector: int) -> None:
        self.ldt = (base, limit)
        self.ldt_selector = selector

    def set_task_selector(self, selector: int) -> None:
        self.task_selector = selector

    def reload_segments(self) -> None:
        self.segments_due = True


class Guest:
    """A vcpu for the operations, whose hypercall arguments live in a flat buffer from address 0x1000 on.

    `entry` numbers the entries into the hypervisor; None: the budget of an entry is never used up. Nothing is
    written that starts at a `read_only` address.
    """

    BASE = 0x1000

    def __init__(self, paging: VcpuPaging, size: int = 1 << 16) -> None:
        self.paging = paging
        self.buffer = bytearray(size)
        self.read_only = range(0)
        self.entry: int | None = None
        self._ever_new = count()
        self.budget = PreemptionBudget(
            self._entry_number, lambda: False, paging.domain.machine.types.tables_walked
        )

    def _entry_number(self) -> int:
        return next(self._ever_new) if self.entry is None else self.entry

    def copy_from_guest(self, va: int, size: int) -> bytes:
        self._check(va, size, 4)
        return bytes(self.buffer[va - self.BASE : va - self.BASE + size])

    def words_from_guest(self, layout: Struct, va: int) -> tuple[int, ...]:
        return layout.unpack(self.copy_from_guest(va, layout.size))

    def copy_to_guest(self, va: int, data: bytes) -> None:
        self._check(va, len(data), 6)
        if va in self.read_only:
            raise PageFault(va, 7)
        self.buffer[va - self.BASE : va - self.BASE + len(data)] = data

    def put(self, data: bytes, va: int = BASE) -> int:
        self._check(va, len(data), 6)
        self.buffer[va - self.BASE : va - self.BASE + len(data)] = data
        return va

    def word(self, va: int) -> int:
        return int.from_bytes(self.copy_from_guest(va, 4), "little")

    def _check(self, va: int, size: int, error_code: int) -> None:
        end = self.BASE + len(self.buffer)
        if va < self.BASE or va > end:
            raise PageFault(va, error_code)
        if va + size > end:
            raise PageFault(end, error_code)


@dataclass
class Bench:
    """One machine; `frame(pfn)` numbers the frames of the first domain."""

    ram: Ram
    machine: MachineMemory
    domain: DomainMemory
    paging: VcpuPaging
    cpu: FakeCpu
    guest: Guest
    p2m: array[int]

    def frame(self, pfn: int) -> int:
        return self.p2m[pfn]

    def write_entry(self, pfn: int, slot: int, entry: int) -> None:
        """Put an entry into a frame, as a guest with a writable mapping of it would."""
        self.domain.entries[(self.p2m[pfn] << self.domain.space.table_shift) + slot] = entry

    def read_entry(self, pfn: int, slot: int) -> int:
        value: int = self.domain.entries[(self.p2m[pfn] << self.domain.space.table_shift) + slot]
        return value

    def xen_entries(self) -> list[int]:
        """What the hypervisor's slots of the domain's L2 tables hold."""
        return memoryview(self.domain.xen_slots).cast(self.domain.space.code).tolist()

    def entry(self, pfn: int, flags: int = DATA) -> int:
        return self.p2m[pfn] << 12 | flags

    def maddr(self, pfn: int, slot: int) -> int:
        return (self.p2m[pfn] << 12) + (slot << self.domain.space.entry_shift)

    def build_tables(self, *, root: int = 0, mapped: int = 1 << 20) -> int:
        """PAE tables in pfns root..root+5: L3, four L2, one L1 that maps the first `mapped` pfns at address
        0.

        Frames that are tables are mapped read-only. Returns the L3's mfn. Nothing is validated yet.
        """
        for slot in range(4):
            self.write_entry(root, slot, self.entry(root + 1 + slot, ROOT_ENTRY))
        self.write_entry(root + 1, 0, self.entry(root + 5, TABLE))
        for pfn in range(min(mapped, len(self.p2m))):
            is_table = root <= pfn <= root + 5
            self.write_entry(root + 5, pfn, self.entry(pfn, READ_ONLY if is_table else DATA))
        return self.p2m[root]

    def build_two_level(self, *, mapped: int = 1 << 20) -> int:
        """Two-level tables in pfns 0 and 5: an L2, and one L1 that maps the first `mapped` pfns at address
        0.
        """
        self.write_entry(0, 0, self.entry(5, TABLE))
        for pfn in range(min(mapped, len(self.p2m))):
            self.write_entry(5, pfn, self.entry(pfn, READ_ONLY if pfn in (0, 5) else DATA))
        return self.p2m[0]

    def boot(self, *, mapped: int = 1 << 20) -> None:
        """Build tables in pfns 0 to 5, pin the root and load it as the base pointer."""
        pae = self.domain.space.root == 3
        root = self.build_tables(mapped=mapped) if pae else self.build_two_level(mapped=mapped)
        self.domain.pin(root)
        self.paging.load_base(root)


def make_bench(frames: int = 256, pages: int = 64, *, geometry: Geometry = PAE, max_vcpus: int = 1) -> Bench:
    """A machine of `frames` frames with one domain of `pages` pages and one vcpu."""
    ram = Ram(frames)
    machine = new_machine_memory(ram, seed=1, low_frames=1)
    domain = new_domain_memory(machine, 1, geometry, max_pages=pages + 32, max_vcpus=max_vcpus)
    cpu = FakeCpu()
    paging = VcpuPaging(domain, 0, cpu)
    p2m = domain.populate(pages)
    return Bench(ram, machine, domain, paging, cpu, Guest(paging), p2m)
