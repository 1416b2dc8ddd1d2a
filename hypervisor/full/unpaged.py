"""The tables of a guest without paging: its physical memory, by pages of 2 MiB where there is memory, and
beyond it a frame of ones that cannot be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.full.physical_memory import NOTHING
from paravane.full.shadow_tables import (
    ENTRIES,
    LARGE,
    LARGE_SHIFT,
    POINTER,
    PRESENT,
    REGION,
    RW,
    SLOTS,
)
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.cpu import Ram

_FRAMES: Final = SLOTS + 4


class UnpagedTables:
    """They never change. `root` is the frame of their root, `beyond` a leaf for where there is no memory."""

    def __init__(self, ram: Ram, size: int, allocate: Callable[[int], Sequence[int]]) -> None:
        """`size` is the guest's memory in bytes; `allocate` gives zeroed frames. MemoryError as it does."""
        self.frames = [*allocate(_FRAMES)]
        self.root, hole, hole_table, mixed_table = self.frames[:4]
        ram.write(hole << PAGE_SHIFT, bytes((NOTHING,)) * PAGE_SIZE)
        self.beyond = hole << PAGE_SHIFT | POINTER & ~RW
        whole = size >> LARGE_SHIFT
        last = whole << LARGE_SHIFT
        quads = ram.quads
        for index in range(ENTRIES):
            address = last + index * PAGE_SIZE
            quads[hole_table * ENTRIES + index] = self.beyond
            quads[mixed_table * ENTRIES + index] = address | POINTER if address < size else self.beyond
        for index in range(SLOTS * ENTRIES):
            if index < whole:
                entry = index << LARGE_SHIFT | POINTER | LARGE
            else:
                mixed = index == whole and size % REGION
                entry = (mixed_table if mixed else hole_table) << PAGE_SHIFT | POINTER
            quads[self.frames[4 + index // ENTRIES] * ENTRIES + index % ENTRIES] = entry
        for slot in range(SLOTS):
            quads[self.root * ENTRIES + slot] = self.frames[4 + slot] << PAGE_SHIFT | PRESENT
