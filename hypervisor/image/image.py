"""A kernel image as Xen's domain builder sees it: where its bytes go and what it asks of its start."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING

from paravane.abi.elfnote import ElfNote
from paravane.abi.start_info import MAGIC_PAE, MAGIC_TWO_LEVEL
from paravane.classes import dataclass
from paravane.cpu.geometry import PAE, TWO_LEVEL
from paravane.image.elf import PF_W, PF_X, SHF_EXECINSTR
from paravane.image.lines import Lines, read_lines
from paravane.image.notes import PaeMode
from paravane.image.symbols import Symbols, read_symbols

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.cpu.geometry import Geometry
    from paravane.image.elf import Elf
    from paravane.image.notes import Notes


@dataclass(frozen=True, slots=True)
class Segment:
    """`data` goes to virtual address `address`; zeroes follow it up to `memory_size` bytes in all.

    `p_vaddr` and `p_paddr` are what the file says; only the second one counts (elfnote.h, PADDR_OFFSET).
    """

    address: int
    data: memoryview
    memory_size: int
    flags: int
    p_vaddr: int
    p_paddr: int

    @property
    def end(self) -> int:
        return self.address + self.memory_size

    @property
    def writable(self) -> bool:
        return bool(self.flags & PF_W)

    @property
    def executable(self) -> bool:
        return bool(self.flags & PF_X)


@dataclass(frozen=True)
class Image:
    """A checked kernel image. Addresses are the guest's virtual ones, in bytes.

    `virt_base` is where pseudo-physical frame 0 will be mapped; the kernel, its BSD symbol table included,
    fills `virt_start` (a page boundary) to `virt_end`. `hypercall_page` is the page to fill in, or None.
    """

    elf: Elf = field(repr=False)
    notes: Notes = field(repr=False)
    segments: tuple[Segment, ...] = field(repr=False)
    virt_base: int
    elf_paddr_offset: int
    virt_start: int
    virt_end: int
    entry: int
    hypercall_page: int | None
    bsd_symtab: Segment | None = field(repr=False)

    @property
    def contents(self) -> tuple[Segment, ...]:
        """Everything that has to be in memory: the segments and the BSD symbol table, if it is wanted."""
        return self.segments if self.bsd_symtab is None else (*self.segments, self.bsd_symtab)

    @property
    def pae(self) -> PaeMode:
        return self.notes.pae

    @property
    def two_level(self) -> bool:
        """Whether the kernel knows two-level page tables only (ABI xen-3.0-x86_32)."""
        return self.notes.pae is PaeMode.NO

    @property
    def geometry(self) -> Geometry:
        """Shape of the page tables the kernel runs on; one that copes with both gets PAE."""
        return TWO_LEVEL if self.two_level else PAE

    @property
    def guest_type(self) -> str:
        """Xen's name of the ABI, which `start_info.magic` repeats."""
        return MAGIC_TWO_LEVEL if self.two_level else MAGIC_PAE

    @property
    def loader(self) -> str:
        return self.notes.text(ElfNote.LOADER)

    @property
    def guest_os(self) -> str:
        return self.notes.text(ElfNote.GUEST_OS)

    @property
    def guest_version(self) -> str:
        return self.notes.text(ElfNote.GUEST_VERSION)

    @property
    def xen_version(self) -> str:
        return self.notes.text(ElfNote.XEN_VERSION)

    @property
    def hv_start_low(self) -> int | None:
        """Lowest address at which the kernel copes with the hypervisor's hole."""
        return self.notes.numbers.get(ElfNote.HV_START_LOW)

    @property
    def init_p2m(self) -> int | None:
        """Where the kernel would like its list of frames. Xen moves it for 64-bit kernels only; so do we."""
        return self.notes.numbers.get(ElfNote.INIT_P2M)

    @property
    def mod_start_pfn(self) -> bool:
        """Whether a ramdisk may be handed over by its first pfn, outside the initial mapping."""
        return bool(self.notes.numbers.get(ElfNote.MOD_START_PFN))

    @property
    def suspend_cancel(self) -> bool:
        return bool(self.notes.numbers.get(ElfNote.SUSPEND_CANCEL))

    @property
    def l1_mfn_valid(self) -> tuple[tuple[int, int], ...]:
        """(mask, value) pairs that tell which non-present L1 entries hold a valid mfn."""
        return self.notes.l1_mfn_valid

    @cached_property
    def symbols(self) -> Symbols:
        """The symbol table, read at first use."""
        return read_symbols(self.elf)

    @cached_property
    def lines(self) -> Lines:
        """The DWARF line tables, read at first use."""
        return read_lines(self.elf)

    def symbol_at(self, address: int) -> tuple[str, int] | None:
        """Name and offset in bytes of a kernel address; None outside the kernel or without a symbol below."""
        return self.symbols.at(address) if self.virt_start <= address < self.virt_end else None

    def line_at(self, address: int) -> tuple[str, int] | None:
        """Source file and line (from 1) of the instruction at `address`, if the image tells."""
        return self.lines.at(address) if self.virt_start <= address < self.virt_end else None

    def is_code(self, address: int) -> bool:
        """Whether `address` holds the kernel's instructions, as far as its headers tell."""
        index = bisect_right(self.code_ranges, (address, 1 << 64)) - 1
        return index >= 0 and address < self.code_ranges[index][1]

    @cached_property
    def code_ranges(self) -> tuple[tuple[int, int], ...]:
        """Where instructions lie, in order and apart: the executable sections, or the file's bytes of
        executable segments."""
        segments = [s for s in self.segments if s.executable]
        offset = segments[0].address - segments[0].p_vaddr if segments else 0
        ranges = [
            (section.sh_addr + offset, section.sh_addr + offset + section.sh_size)
            for section in self.elf.sections
            if section.sh_flags & SHF_EXECINSTR and section.sh_size
        ]
        return _union(ranges or [(s.address, s.address + len(s.data)) for s in segments])


def _union(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """What ranges (start, end) cover together. A file may name the same megabyte thousands of times."""
    apart: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return tuple(apart)
