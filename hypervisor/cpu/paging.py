"""Page walks and guest copies: the guest's memory as Python sees it (SDM volume 3, chapter 4)."""

from array import array
from collections.abc import Iterator

from paravane.classes import NamedTuple
from paravane.cpu.faults import PageFault
from paravane.cpu.geometry import (
    PAGE_MASK,
    PF_PRESENT,
    PF_RESERVED,
    PF_USER,
    PF_WRITE,
    PTE_ACCESSED,
    PTE_DIRTY,
    PTE_LARGE,
    PTE_NX,
    PTE_PRESENT,
    PTE_RW,
    PTE_USER,
    Geometry,
)
from paravane.cpu.ram import Ram
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

_LINEAR = 0xFFFFFFFF
_ADDRESS = 0x000F_FFFF_FFFF_F000
# In the fast path anything unusual in an upper entry (large page, reserved bits) means: take the slow path.
_PDE_ODD = 0x7FFF_FF00_0000_0000 | PTE_LARGE
_PTE_ODD = 0x7FFF_FF00_0000_0000
_READY_READ = PTE_PRESENT | PTE_ACCESSED
_READY_WRITE = _READY_READ | PTE_RW


class WalkStep(NamedTuple):
    """One entry met on the way down: level (1 = leaf), the entry's machine address, its value."""

    level: int
    maddr: int
    entry: int


class GuestMemory:
    """Linear memory of one processor, through its current page tables.

    Everything here walks the tables in machine memory and never asks the engine's TLB. Accesses are made as
    ring 0-2 would (`user=False`) or as ring 3 would (`user=True`); accessed and dirty bits are set as
    hardware does.
    """

    def __init__(self, ram: Ram, geometry: Geometry) -> None:
        self.ram = ram
        self.geometry = geometry
        self.cr3_cell = array("q", (0,))
        """CR3, where native code reads and writes it."""
        self._write_protect = True
        self._pae = geometry.pae
        self._large_pages = geometry.pae
        self._ram_size = ram.size
        self._ram_bytes = ram.bytes
        self._ram_words = ram.words
        self._ram_quads = ram.quads
        self._code_map = ram.code_map

    def translate(self, va: int, *, write: bool = False, user: bool = False) -> int:
        """Machine address of linear `va`. PageFault when the access is refused or leaves machine memory."""
        if self._pae:
            quads = self._ram_quads
            need = (_READY_WRITE if write else _READY_READ) | (PTE_USER if user else 0)
            try:
                entry = quads[(self.cr3_cell[0] & 0xFFFFFFE0 | va >> 27 & 0x18) >> 3]
                if entry & PTE_PRESENT and not entry & _PTE_ODD:
                    entry = quads[(entry & _ADDRESS | va >> 18 & 0xFF8) >> 3]
                    if entry & need == need and not entry & _PDE_ODD:
                        entry = quads[(entry & _ADDRESS | va >> 9 & 0xFF8) >> 3]
                        if write:
                            need |= PTE_DIRTY
                        if entry & need == need and not entry & _PTE_ODD:
                            maddr = entry & _ADDRESS | va & PAGE_MASK
                            if maddr < self._ram_size:
                                return maddr
            except IndexError:
                pass
        return self._translate_slowly(va, write, user)

    def read(self, va: int, size: int, *, user: bool = False) -> bytes:
        """`size` bytes from linear `va` (addresses wrap at 4 GiB). PageFault names the first bad byte."""
        if (va & PAGE_MASK) + size <= PAGE_SIZE and size > 0:
            maddr = self.translate(va, user=user)
            return self._ram_bytes[maddr : maddr + size].tobytes()
        parts = []
        while size > 0:
            va &= _LINEAR
            step = min(size, PAGE_SIZE - (va & PAGE_MASK))
            maddr = self.translate(va, user=user)
            parts.append(self._ram_bytes[maddr : maddr + step].tobytes())
            va += step
            size -= step
        return b"".join(parts)

    def write(self, va: int, data: bytes | bytearray | memoryview, *, user: bool = False) -> None:
        """Store `data` at linear `va`. On PageFault what precedes the first bad byte has been written."""
        size = len(data)
        if (va & PAGE_MASK) + size <= PAGE_SIZE and size:
            maddr = self.translate(va, write=True, user=user)
            self._ram_bytes[maddr : maddr + size] = data
            if self._code_map[maddr >> PAGE_SHIFT]:
                self.ram.code_changed(maddr >> PAGE_SHIFT)
            return
        view = memoryview(data)
        done = 0
        while done < size:
            at = va + done & _LINEAR
            step = min(size - done, PAGE_SIZE - (at & PAGE_MASK))
            self.write(at, view[done : done + step], user=user)
            done += step

    def read_u32(self, va: int) -> int:
        """The 32-bit word at linear `va`."""
        if va & 3 == 0:
            return self._ram_words[self.translate(va) >> 2]
        return int.from_bytes(self.read(va, 4), "little")

    def write_u32(self, va: int, value: int) -> None:
        """Store the low 32 bits of `value` at linear `va`."""
        if va & 3:
            self.write(va, (value & 0xFFFFFFFF).to_bytes(4, "little"))
            return
        maddr = self.translate(va, write=True)
        self._ram_words[maddr >> 2] = value & 0xFFFFFFFF
        if self._code_map[maddr >> PAGE_SHIFT]:
            self.ram.code_changed(maddr >> PAGE_SHIFT)

    def walk(self, va: int, root: int | None = None) -> list[WalkStep]:
        """The entries that `va` meets, from the top, ending at the first one that maps nothing further, in
        the tables at machine address `root` (None: those that are in use)."""
        steps: list[WalkStep] = []
        level = self.geometry.levels
        table = self._root() if root is None else root
        while level:
            maddr = table + self.geometry.index(va & _LINEAR, level) * self.geometry.entry_size
            if maddr >= self.ram.size:
                break
            entry = self._entry(maddr)
            steps.append(WalkStep(level, maddr, entry))
            if not entry & PTE_PRESENT or self._is_large(entry, level):
                break
            table = entry & self.geometry.address_mask
            level -= 1
        return steps

    def differences(self) -> list[str]:
        """How what is walked differs from what is to be, in sentences: for audits. The guest's own tables are
        what they are."""
        return []

    def walks(self, va: int) -> Iterator[tuple[str, list[WalkStep]]]:
        """What there is to show of `va`: what is walked, in words where that is not just the guest's tables,
        and the entries."""
        yield "", self.walk(va)

    def frame_at(self, va: int) -> int | None:
        """The mfn that linear `va` is mapped to whatever the rights, or None. Sets no bits."""
        if self._pae:
            # As `translate` does: this is asked for every block of code that is translated.
            quads = self._ram_quads
            try:
                entry = quads[(self.cr3_cell[0] & 0xFFFFFFE0 | va >> 27 & 0x18) >> 3]
                if entry & PTE_PRESENT and not entry & _PTE_ODD:
                    entry = quads[(entry & _ADDRESS | va >> 18 & 0xFF8) >> 3]
                    if entry & PTE_PRESENT and not entry & _PDE_ODD:
                        entry = quads[(entry & _ADDRESS | va >> 9 & 0xFF8) >> 3]
                        if entry & PTE_PRESENT and not entry & _PTE_ODD:
                            maddr = entry & _ADDRESS
                            return maddr >> PAGE_SHIFT if maddr < self._ram_size else None
            except IndexError:
                pass
        steps = self.walk(va)
        if not steps or not steps[-1].entry & PTE_PRESENT:
            return None
        last = steps[-1]
        if last.level > 1 and not self._is_large(last.entry, last.level):
            return None
        mfn = self._leaf_address(last, va) >> PAGE_SHIFT
        return mfn if mfn < self.ram.nr_frames else None

    def _root(self) -> int:
        return self.cr3_cell[0] & (0xFFFFFFE0 if self.geometry.pae else 0xFFFFF000)

    def _entry(self, maddr: int) -> int:
        return self._ram_quads[maddr >> 3] if self.geometry.pae else self._ram_words[maddr >> 2]

    def _is_large(self, entry: int, level: int) -> bool:
        return level == 2 and self._large_pages and entry & PTE_LARGE != 0

    def _leaf_address(self, step: WalkStep, va: int) -> int:
        span = 1 << self.geometry.shifts[self.geometry.levels - step.level]
        return step.entry & self.geometry.address_mask & -span | va & span - 1

    def _set_bits(self, step: WalkStep, bits: int) -> None:
        if step.entry & bits == bits:
            return
        if self.geometry.pae:
            self._ram_quads[step.maddr >> 3] = step.entry | bits
        else:
            self._ram_words[step.maddr >> 2] = step.entry | bits

    def _translate_slowly(self, va: int, write: bool, user: bool) -> int:
        va &= _LINEAR
        error_code = (PF_WRITE if write else 0) | (PF_USER if user else 0)
        steps = self.walk(va)
        rights = PTE_RW | PTE_USER
        for step in steps:
            if not step.entry & PTE_PRESENT:
                raise PageFault(va, error_code)
            if self._has_reserved_bits(step):
                raise PageFault(va, error_code | PF_RESERVED | PF_PRESENT)
            if step.level < 3:
                rights &= step.entry
        complete = steps and (steps[-1].level == 1 or self._is_large(steps[-1].entry, steps[-1].level))
        if not complete:
            # A table outside machine memory: nothing there can be present.
            raise PageFault(va, error_code)
        refused_user = user and not rights & PTE_USER
        refused_write = write and not rights & PTE_RW and (user or self._write_protect)
        maddr = self._leaf_address(steps[-1], va)
        if refused_user or refused_write or maddr >= self.ram.size:
            raise PageFault(va, error_code | PF_PRESENT)
        for step in steps[:-1]:
            if step.level < 3:
                self._set_bits(step, PTE_ACCESSED)
        self._set_bits(steps[-1], PTE_ACCESSED | PTE_DIRTY if write else PTE_ACCESSED)
        return maddr

    def _has_reserved_bits(self, step: WalkStep) -> bool:
        reserved = self.geometry.reserved_mask
        if step.level == 3:
            reserved |= PTE_NX
        elif self._is_large(step.entry, step.level):
            reserved |= 0x1FE000 if self.geometry.pae else 0x200000
        return step.entry & reserved != 0
