"""What shadow page tables are made of: their frames, their entries, and who maps a guest's frame writable."""

from __future__ import annotations

from dataclasses import field
from itertools import compress
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple, dataclass
from paravane.x86 import PAGE_SHIFT, Pte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from paravane.cpu import Ram
    from paravane.full.shadow_counts import ShadowCounts

PRESENT, RW, USER, LARGE = int(Pte.PRESENT), int(Pte.RW), int(Pte.USER), int(Pte.PSE)
ACCESSED, DIRTY = int(Pte.ACCESSED), int(Pte.DIRTY)
RIGHTS: Final = RW | USER
MAPPED: Final = PRESENT | ACCESSED | DIRTY
"""What every entry has that maps something: the engine has nothing to mark in it."""

POINTER: Final = MAPPED | RW | USER
"""What an entry of a directory has: rights are those of the leaves."""

ENTRIES: Final = 512
SLOTS: Final = 4
"""Directories of a root, one a gigabyte."""

LARGE_SHIFT: Final = 21
REGION: Final = 1 << LARGE_SHIFT
"""Bytes of a large page of the shadow."""

NOWHERE: Final = 1 << 52
"""Where a region begins that has no memory: all of them are one."""

_INDICES: Final = range(ENTRIES)
_ADDRESS: Final = 0x000F_FFFF_FFFF_F000
_FRAMES_IN_REGION: Final = REGION >> PAGE_SHIFT


def frame_of(entry: int) -> int:
    """The frame that an entry of PAE tables names."""
    return (entry & _ADDRESS) >> PAGE_SHIFT


class Source(NamedTuple):
    """What a shadow table shows: the guest's page table in frame `frame`, of a table of 1024 entries the half
    `half`, under a directory entry with `rights`; or a region of a large page from frame `frame` on, its
    leaves with `rights`."""

    frame: int
    half: int
    rights: int
    large: bool


@dataclass(slots=True, eq=False)
class LeafTable:
    """A shadow page table in the monitor's frame `frame`; `links` are the places of directory entries that
    point to it."""

    frame: int
    source: Source
    links: set[int] = field(default_factory=set)

    def place(self, index: int) -> int:
        """The place of an entry."""
        return self.frame * ENTRIES + index


@dataclass(slots=True, eq=False)
class Root:
    """A shadow of one address space: the frames of its tables, and for each gigabyte the frame of the guest's
    directory that is shown there, if any was looked at."""

    frame: int
    directories: Sequence[int]
    shown: list[int | None] = field(default_factory=lambda: [None] * SLOTS)

    def place(self, va: int) -> int:
        """The place of the directory entry for linear `va`."""
        return self.directories[va >> 30] * ENTRIES + (va >> LARGE_SHIFT & ENTRIES - 1)


@dataclass(slots=True, eq=False)
class TableUse:
    """What is shown of one of the guest's frames: its entries as leaves, and as a directory's at these roots
    and slots. While it is `loose` it can be written, and what is shown may be stale, as in a TLB. `stores`
    are those since something was last filled in from it."""

    loose: bool
    leaves: list[LeafTable] = field(default_factory=list)
    directories: list[tuple[Root, int]] = field(default_factory=list)
    stores: int = 0


class ShadowEntries:
    """The entries of all shadow tables, by place: frame * 512 + index. With `tracks` it is known where a
    guest's frame can be written: `writers` has the places of leaves by frame, `large_writers` those of large
    pages by region."""

    def __init__(
        self,
        ram: Ram,
        allocate: Callable[[int], Sequence[int]],
        most: int,
        counts: ShadowCounts,
        *,
        tracks: bool,
    ) -> None:
        """`allocate` gives zeroed frames, of which `most` are asked for."""
        self._ram, self._allocate, self._most, self._counts = ram, allocate, most, counts
        self._tracks = tracks
        self._quads = ram.quads
        self.frames: list[int] = []
        self.spare: list[int] = []
        self.writers: dict[int, set[int]] = {}
        self.large_writers: dict[int, set[int]] = {}

    @property
    def free(self) -> int:
        """Frames that can be taken."""
        return self._most - len(self.frames) + len(self.spare)

    def take(self) -> int:
        """A frame of zeroes, one of those that are `free`. MemoryError."""
        if self.spare:
            return self.spare.pop()
        frame = self._allocate(1)[0]
        self.frames.append(frame)
        return frame

    def give_back(self, frame: int) -> None:
        """A table is not used any more."""
        self._ram.clear_frame(frame)
        self.spare.append(frame)

    def get(self, place: int) -> int:
        return self._quads[place]

    def used(self, frame: int) -> list[tuple[int, int]]:
        """The entries of a table that are not zero, with their places."""
        first = frame * ENTRIES
        found = self._quads[first : first + ENTRIES].tolist()
        # Most are zero: who looks at each takes ten times as long, at each flush.
        return [(first + index, found[index]) for index in compress(_INDICES, found)]

    def set_leaf(self, place: int, entry: int) -> None:
        """In a table of leaves."""
        if self._tracks:
            before = self._quads[place]
            if before & RW:
                _discard(self.writers, frame_of(before), place)
            if entry & RW:
                self.writers.setdefault(frame_of(entry), set()).add(place)
        self._quads[place] = entry
        self._counts.writes += 1

    def set_upper(self, place: int, entry: int) -> None:
        """In a directory."""
        if self._tracks:
            before = self._quads[place]
            if before & (RW | LARGE) == RW | LARGE:
                _discard(self.large_writers, region_of(before), place)
            if entry & (RW | LARGE) == RW | LARGE:
                self.large_writers.setdefault(region_of(entry), set()).add(place)
        self._quads[place] = entry
        self._counts.writes += 1

    def fill(self, table: LeafTable, entries: Iterable[int]) -> None:
        """All of a new table."""
        for index, entry in enumerate(entries):
            self.set_leaf(table.place(index), entry)

    def clear(self, table: LeafTable) -> None:
        """All of a table, which is given back."""
        if self._tracks:
            for place, entry in self.used(table.frame):
                if entry & RW:
                    _discard(self.writers, frame_of(entry), place)
        self.give_back(table.frame)

    def forbid(self, frame: int) -> bool:
        """Have no leaf map `frame` writable; large pages that do are taken away. Whether there was any."""
        leaves = self.writers.pop(frame, ())
        for place in leaves:
            self._quads[place] &= ~RW
        large = self.large_writers.pop(frame // _FRAMES_IN_REGION, ())
        for place in large:
            self._quads[place] = 0
        return bool(leaves or large)


def region_of(entry: int) -> int:
    """The region that a large page maps, counted from 0."""
    return frame_of(entry) // _FRAMES_IN_REGION


def _discard(places: dict[int, set[int]], key: int, place: int) -> None:
    places[key].discard(place)
    if not places[key]:
        del places[key]
