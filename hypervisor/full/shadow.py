"""The page tables that the engine walks for a guest of a bare PC: PAE ones of the monitor's own.

While the guest has paging off they map its physical memory, by pages of 2 MiB where there is memory, and
beyond it a frame of ones that cannot be written. With paging on they are a cache of the guest's tables, as a
TLB is (`vtlb`): filled by page faults, dropped whenever the guest's processor would drop its TLB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.full.physical_memory import NOTHING
from paravane.full.shadow_counts import ShadowCounts
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Pte

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.cpu import Cpu, Ram
    from paravane.full.linear_memory import Translation

_PRESENT, _RW, _USER, _LARGE = int(Pte.PRESENT), int(Pte.RW), int(Pte.USER), int(Pte.PSE)
_BITS: Final = int(Pte.PRESENT | Pte.RW | Pte.USER | Pte.ACCESSED | Pte.DIRTY)
_ENTRIES: Final = 512
_DIRECTORIES: Final = 4
_LARGE_SHIFT: Final = 21
_MOST_TABLES: Final = 256
"""Leaf tables before all are dropped: half a gigabyte that the guest uses at a time."""

FIXED_FRAMES: Final = _DIRECTORIES + 4
"""Frames that a shadow has from the beginning: root, directories, the hole and its table, a mixed table."""


class Shadow:
    """The tables of one processor. `allocate` gives zeroed frames, as many as it is asked for."""

    def __init__(self, ram: Ram, cpu: Cpu, size: int, allocate: Callable[[int], Sequence[int]]) -> None:
        """`size` is the guest's memory in bytes. MemoryError as `allocate`."""
        self._ram, self._cpu, self._allocate = ram, cpu, allocate
        self._size = size
        self.counts = ShadowCounts()
        frames = [*allocate(FIXED_FRAMES)]
        self._root, self._hole, self._hole_table, self._mixed_table = frames[:4]
        self._directories = frames[4:]
        self._spare: list[int] = []
        self._used: list[int] = []
        ram.write(self._hole << PAGE_SHIFT, bytes((NOTHING,)) * PAGE_SIZE)
        for index in range(_ENTRIES):
            self._set(self._hole_table, index, self._beyond)
            self._set(
                self._mixed_table,
                index,
                self._leaf((size >> _LARGE_SHIFT << _LARGE_SHIFT) + index * PAGE_SIZE),
            )
        for index, directory in enumerate(self._directories):
            self._set(self._root, index, directory << PAGE_SHIFT | _PRESENT)
        self.map_physical()
        cpu.cr3 = self._root << PAGE_SHIFT

    def map_physical(self) -> None:
        """The guest has no paging."""
        self._recycle()
        whole = self._size >> _LARGE_SHIFT
        for index in range(_DIRECTORIES * _ENTRIES):
            if index < whole:
                entry = index << _LARGE_SHIFT | _BITS | _LARGE
            elif index == whole and self._size & (1 << _LARGE_SHIFT) - 1:
                entry = self._mixed_table << PAGE_SHIFT | _BITS
            else:
                entry = self._hole_table << PAGE_SHIFT | _BITS
            self._set(self._directories[index // _ENTRIES], index % _ENTRIES, entry)
        self._cpu.flush_tlb()

    def drop(self) -> None:
        """Forget what was filled: the guest's processor would drop its TLB."""
        self._recycle()
        self.counts.flushes += 1
        for directory in self._directories:
            self._ram.clear_frame(directory)
        self._cpu.flush_tlb()

    def drop_page(self, va: int) -> None:
        """Forget the page of linear `va`."""
        self.counts.page_flushes += 1
        entry = self._get(self._directory(va), va >> _LARGE_SHIFT & _ENTRIES - 1)
        if entry:
            self._set(entry >> PAGE_SHIFT, va >> PAGE_SHIFT & _ENTRIES - 1, 0)
            self.counts.writes += 1
            self._cpu.flush_page(va)

    def fill(self, va: int, found: Translation) -> None:
        """Map the page of linear `va` as the guest's tables do. One without a dirty bit cannot be written
        yet, so that the first store is noticed."""
        index = va >> _LARGE_SHIFT & _ENTRIES - 1
        entry = self._get(self._directory(va), index)
        if not entry:
            if not self._spare and len(self._used) >= _MOST_TABLES:
                self.drop()
            table = self._spare.pop() if self._spare else self._allocate(1)[0]
            self._used.append(table)
            entry = table << PAGE_SHIFT | _BITS
            self._set(self._directory(va), index, entry)
            self.counts.writes += 1
        leaf = self._leaf(found.address)
        if not found.writable or found.clean:
            leaf &= ~_RW
        if not found.user:
            leaf &= ~_USER
        self._set(entry >> PAGE_SHIFT, va >> PAGE_SHIFT & _ENTRIES - 1, leaf)
        self.counts.writes += 1
        self._cpu.flush_page(va)

    @property
    def _beyond(self) -> int:
        return self._hole << PAGE_SHIFT | _BITS & ~_RW

    def _leaf(self, address: int) -> int:
        return address & -PAGE_SIZE | _BITS if address < self._size else self._beyond

    def _directory(self, va: int) -> int:
        return self._directories[va >> 30 & _DIRECTORIES - 1]

    def _recycle(self) -> None:
        for table in self._used:
            self._ram.clear_frame(table)
        self._spare += self._used
        self._used.clear()

    def _get(self, frame: int, index: int) -> int:
        return self._ram.quads[(frame << PAGE_SHIFT) // 8 + index]

    def _set(self, frame: int, index: int, entry: int) -> None:
        self._ram.quads[(frame << PAGE_SHIFT) // 8 + index] = entry
