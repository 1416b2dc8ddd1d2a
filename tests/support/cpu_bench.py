"""A bare machine for processor tests: flat segments for rings 1 and 3, page tables, a recording handler."""

import struct
from typing import TYPE_CHECKING, NamedTuple

from paravane.cpu import PAE, PAGE_SHIFT, PAGE_SIZE, Cpu, Geometry, Ram

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu.native_fill import NativeFill
    from paravane.cpu.trap_entry import TrapEntry

ROOT, TABLES, GDT = 1, 2, 7
CODE_MFN, DATA_MFN, STACK_MFN, USER_MFN = 16, 17, 18, 19
CODE, DATA, STACK, USER = 0x10000, 0x11000, 0x12000, 0x13000
GDT_VA = 0x1F000
KERNEL_CS, KERNEL_DS, USER_CS, USER_DS = 0x09, 0x11, 0x1B, 0x23
NX = 1 << 63
KERNEL_PAGE, USER_PAGE, READ_ONLY = 0x3, 0x7, 0x1

# index -> descriptor: ring 1 code and data, ring 3 code and data, then odd ones for refusals.
DESCRIPTORS = {
    1: 0x00CFBB000000FFFF,
    2: 0x00CFB3000000FFFF,
    3: 0x00CFFB000000FFFF,
    4: 0x00CFF3000000FFFF,
    5: 0x00CF3B000000FFFF,  # code, not present
    6: 0x00CF33000000FFFF,  # data, not present
    7: 0x00CF9B000000FFFF,  # ring 0 code
    8: 0x00CF93000000FFFF,  # ring 0 data
    9: 0x00CFB1000000FFFF,  # ring 1 read-only data
    10: 0x00CFB9000000FFFF,  # ring 1 execute-only code
    11: 0x0040B2002340000F,  # ring 1 data, base 0x2340, not accessed
    12: 0x00008B0000000067,  # a task-state segment
    13: 0x00CF9F000000FFFF,  # conforming ring 0 code
    14: 0x0040BB000000FFFF,  # ring 1 code, limit 64 KiB
}


class Trap(NamedTuple):
    """One delivered trap, as the handler saw it."""

    kind: str
    vector: int
    error_code: int
    eip: int
    cpl: int


class Recorder:
    """A handler that writes down every trap and then does what the test says (default: stop)."""

    def __init__(self) -> None:
        self.cpu: Cpu
        self.traps: list[Trap] = []
        self.on_trap: Callable[[Trap], None] = lambda trap: self.cpu.stop()
        self.leaves: list[tuple[int, int]] = []

    def exception(self, vector: int, error_code: int) -> None:
        self._record("exception", vector, error_code)

    def interrupt(self, vector: int) -> None:
        self._record("interrupt", vector, 0)

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        self.leaves.append((leaf, subleaf))
        return leaf + 1, leaf + 2, leaf + 3, leaf + 4

    def _record(self, kind: str, vector: int, error_code: int) -> None:
        trap = Trap(kind, vector, error_code, self.cpu.eip, self.cpu.cpl)
        self.traps.append(trap)
        self.on_trap(trap)


class Bench:
    """A processor with `nr_frames` frames; linear 0x10000-0x1ffff maps mfn 16-31, one of them for ring 3."""

    def __init__(
        self,
        nr_frames: int = 64,
        geometry: Geometry = PAE,
        ram: Ram | None = None,
        spins: "Callable[[], None] | None" = None,
        trap_entry: "TrapEntry | None" = None,
        tlb_fill: "NativeFill | None" = None,
    ) -> None:
        self.ram = ram or Ram(nr_frames)
        self._owns_ram = ram is None
        self.geometry = geometry
        self.handler = Recorder()
        self.cpu = Cpu(
            self.ram, self.handler, geometry, spins=spins, trap_entry=trap_entry, tlb_fill=tlb_fill
        )
        self.handler.cpu = self.cpu
        self._build_tables()
        self.cpu.cr3 = ROOT << PAGE_SHIFT
        self.ram.write(0x1F << PAGE_SHIFT, struct.pack("<32Q", *(DESCRIPTORS.get(i, 0) for i in range(32))))
        self.cpu.set_gdt(GDT_VA, 32 * 8 - 1)
        self.kernel()

    @property
    def traps(self) -> list[Trap]:
        return self.handler.traps

    def _build_tables(self) -> None:
        if self.geometry.pae:
            self.ram.quads[ROOT << 9] = TABLES << PAGE_SHIFT | 1
            self.ram.quads[TABLES << 9] = (TABLES + 1) << PAGE_SHIFT | 7
        else:
            self.ram.words[ROOT << 10] = (TABLES + 1) << PAGE_SHIFT | 7
        for mfn in range(16, 32):
            self.map(mfn << PAGE_SHIFT, mfn, KERNEL_PAGE)
        self.map(USER, USER_MFN, USER_PAGE)

    def map(self, va: int, mfn: int, flags: int) -> None:
        """Map one page below 2 MiB."""
        self.set_pte(va, mfn << PAGE_SHIFT | flags)

    def pte_slot(self, va: int) -> int:
        """Machine address of the leaf entry of `va`."""
        return ((TABLES + 1) << PAGE_SHIFT) + (va >> PAGE_SHIFT) * self.geometry.entry_size

    def set_pte(self, va: int, entry: int) -> None:
        if self.geometry.pae:
            self.ram.quads[self.pte_slot(va) >> 3] = entry
        else:
            self.ram.words[self.pte_slot(va) >> 2] = entry & 0xFFFFFFFF

    def pte(self, va: int) -> int:
        slot = self.pte_slot(va)
        return self.ram.quads[slot >> 3] if self.geometry.pae else self.ram.words[slot >> 2]

    def kernel(self, eip: int = CODE, eflags: int = 0x202) -> None:
        """Ring 1 at `eip`, flat, with a stack."""
        self.cpu.enter(cs=KERNEL_CS, eip=eip, eflags=eflags, cpl=1, ss=KERNEL_DS, esp=STACK + PAGE_SIZE)
        for name in ("ds", "es"):
            self.cpu.load_segment(name, KERNEL_DS)

    def user(self, eip: int = USER, eflags: int = 0x202) -> None:
        """Ring 3 at `eip`, flat."""
        self.cpu.enter(cs=USER_CS, eip=eip, eflags=eflags, cpl=3, ss=USER_DS, esp=USER + PAGE_SIZE)
        for name in ("ds", "es"):
            self.cpu.load_segment(name, USER_DS)

    def code(self, code: bytes, at: int = CODE) -> None:
        """Put instructions at linear `at`."""
        self.ram.write(at, code)

    def run(self, code: bytes = b"", at: int = CODE) -> list[Trap]:
        """Put `code` at `at` and run it from the current EIP; the traps of this run."""
        if code:
            self.code(code, at)
        before = len(self.traps)
        self.cpu.run()
        return self.traps[before:]

    def close(self) -> None:
        self.cpu.close()
        if self._owns_ram:
            self.ram.close()
