"""The page tables that the engine walks for a guest of a bare PC: PAE ones of the monitor's own.

While the guest has paging off they map its physical memory. With paging on they are a cache of its tables,
filled by page faults, that a TLB is the model of: what they hold the guest's tables allow now, or did when
the guest last flushed that. How much survives a flush is the policy's (`Policy`).

A shadow page table shows one of the guest's under one set of rights of its directory entry, wherever and in
however many address spaces that is; a large page is one entry, or a table where a part of it must be mapped
otherwise. Rights, accessed and dirty bits of the guest's entries are all in the leaves: without an accessed
bit there is none, without a dirty bit it cannot be written.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from paravane.full.shadow_counts import ShadowCounts
from paravane.full.shadow_tables import (
    ACCESSED,
    DIRTY,
    ENTRIES,
    LARGE,
    LARGE_SHIFT,
    MAPPED,
    NOWHERE,
    POINTER,
    PRESENT,
    REGION,
    RW,
    SLOTS,
    USER,
    LeafTable,
    Root,
    ShadowEntries,
    Source,
    TableUse,
    frame_of,
)
from paravane.full.unpaged import UnpagedTables
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.cpu import Ram
    from paravane.full.guest_tables import GuestTables
    from paravane.full.linear_memory import Translation

MOST_FRAMES: Final = 384
"""Frames of tables at a time, besides those that there are from the beginning."""

MOST_ROOTS: Final = 16
"""Address spaces whose shadows are kept; the least recently used goes first."""

MOST_STORES: Final = 8
"""Stores to a table without its being used in between: it is none any more, or is being filled."""

_TABLE_SIZES: Final = (4, 8)
_RIGHTS: Final = RW | USER
_ROOT_FRAMES: Final = 1 + SLOTS


class Policy(Enum):
    """How long a shadow lasts.

    `VTLB`: it is a TLB of the guest's, and gone when that would be. `WP`: the guest's tables are
    write-protected, each store is seen, and shadows outlast flushes.
    """

    VTLB = "vtlb"
    WP = "wp"


class Engine(Protocol):
    """What the shadow asks of the processor."""

    cr3: int

    def flush_tlb(self) -> None: ...
    def flush_page(self, va: int) -> None: ...


class Shadow:
    """The tables of one processor, whose guest has `size` bytes of memory."""

    def __init__(
        self,
        ram: Ram,
        cpu: Engine,
        size: int,
        allocate: Callable[[int], Sequence[int]],
        guest: GuestTables,
        policy: Policy = Policy.VTLB,
    ) -> None:
        """`allocate` gives zeroed frames, as many as it is asked for; `guest` reads the guest's tables.
        MemoryError as `allocate`."""
        self._cpu, self._size, self._guest = cpu, size, guest
        self.policy = policy
        self.protects = policy is Policy.WP
        self.counts = ShadowCounts()
        self.unpaged = UnpagedTables(ram, size, allocate)
        self.entries = ShadowEntries(ram, allocate, MOST_FRAMES, self.counts, tracks=self.protects)
        self.roots: dict[int, Root] = {}
        self.current: Root | None = None
        self.tables: dict[Source, LeafTable] = {}
        self.by_frame: dict[int, LeafTable] = {}
        self.uses: dict[int, TableUse] = {}
        self.protected: set[int] = set()
        self.loose: set[int] = set()
        self.map_physical()

    # What the guest's processor does.

    def map_physical(self) -> None:
        """The guest has no paging."""
        self._drop_all()
        self._cpu.cr3 = self.unpaged.root << PAGE_SHIFT

    def change_mode(self) -> None:
        """Its entries mean something else from now on, or paging is on."""
        self._drop_all()
        self.load_root()

    def load_root(self) -> None:
        """CR3 was loaded, or the TLB is to be flushed otherwise. Global pages are flushed with the others
        where these are flushed."""
        self.counts.flushes += 1
        for frame in tuple(self.loose):
            self._forget(frame)
        self.loose.clear()
        key = self._guest.root if self.protects else 0
        root = self.roots.pop(key, None)
        if root is None:
            while self.roots and (
                len(self.roots) >= MOST_ROOTS or self.entries.free < _ROOT_FRAMES or not self.protects
            ):
                self._drop_root(next(iter(self.roots)))
            root = Root(self.entries.take(), [self.entries.take() for _ in range(SLOTS)])
            for slot, directory in enumerate(root.directories):
                self.entries.set_upper(root.frame * ENTRIES + slot, directory << PAGE_SHIFT | PRESENT)
        self.roots[key] = self.current = root
        for slot in range(SLOTS):
            if root.shown[slot] not in (None, self._guest.directory(slot)):
                self._hide(root, slot)
        self._cpu.cr3 = root.frame << PAGE_SHIFT

    def drop_page(self, va: int) -> None:
        """INVLPG: forget the page of linear `va`, as far as it may be stale."""
        self.counts.page_flushes += 1
        root = self.current
        directory = None if root is None else root.shown[va >> 30]
        if root is None or directory is None:
            return
        self._cpu.flush_page(va)
        if self.uses[directory].loose:
            self._drop_stale(root, va, directory)
        entry = self.entries.get(root.place(va))
        table = None if entry & LARGE else self.by_frame.get(frame_of(entry))
        if table is not None and not table.source.large and self.uses[table.source.frame].loose:
            self.entries.set_leaf(table.place(va >> PAGE_SHIFT & ENTRIES - 1), 0)
            if len(table.links) > 1:
                self._cpu.flush_tlb()

    def _drop_stale(self, root: Root, va: int, directory: int) -> None:
        """Forget the large page at linear `va`, and a table that the guest's entry does not name any more."""
        upper = self._guest.upper(directory, va)
        first = root.place(va) & -self._guest.halves
        for half in range(self._guest.halves):
            entry = self.entries.get(first + half)
            large = entry & LARGE or (entry and self.by_frame[frame_of(entry)].source.large)
            if entry and (large or not self.shows(entry, upper, half)):
                self._set_upper(first + half, 0)

    def fill(self, va: int, found: Translation, *, write: bool = False) -> None:
        """Map the page of linear `va` as the guest's tables do, where a store (`write`) or another access has
        faulted and may go on."""
        walk, root = found.walk, self.current
        if walk is None or root is None:
            return  # without paging all is mapped that there is
        self.counts.fills += 1
        effective = walk.upper & walk.leaf & _RIGHTS
        # With CR0.WP clear ring 0 may store what its tables do not allow; ring 3 faults, and is mapped then.
        beside_rights = write and found.writable and not effective & RW
        self._show(root, va >> 30, walk.directory)
        place = root.place(va)
        if walk.table is None:
            rights = RW if beside_rights else effective & ~(0 if walk.leaf & DIRTY else RW)
            self._fill_large(place, va, found.address & -REGION, rights)
        else:
            half = va >> LARGE_SHIFT & self._guest.halves - 1
            table = self._linked(place, Source(walk.table, half, walk.upper & _RIGHTS, large=False))
            leaf = self.leaf(walk.leaf, RW if beside_rights else walk.upper, beside_rights=beside_rights)
            self.entries.set_leaf(table.place(va >> PAGE_SHIFT & ENTRIES - 1), leaf)
            self.uses[walk.table].stores = 0
        self.uses[walk.directory].stores = 0
        self._cpu.flush_page(va)

    def is_protected(self, address: int) -> bool:
        """Whether a physical address lies in a table of the guest's that is write-protected."""
        return address >> PAGE_SHIFT in self.protected

    def is_busy(self, address: int) -> bool:
        """A store is about to be made in a protected table: whether there were too many of them."""
        use = self.uses[address >> PAGE_SHIFT]
        use.stores += 1
        self.counts.stores += 1
        return use.stores > MOST_STORES

    def loosen(self, address: int) -> None:
        """What lies at a physical address is no table any more, as it seems: let it be written. What is shown
        of it may be stale until the next flush, and is gone then."""
        frame = address >> PAGE_SHIFT
        use = self.uses.get(frame)
        if use is not None and not use.loose:
            self.counts.loosened += 1
            use.loose = True
            self.protected.discard(frame)
            self.loose.add(frame)

    def stored(self, address: int, size: int) -> None:
        """The monitor has stored `size` bytes at a physical address: what is shown of them follows."""
        for frame in range(address >> PAGE_SHIFT, (address + size - 1 >> PAGE_SHIFT) + 1):
            use = self.uses.get(frame)
            if use is None or use.loose:
                continue
            first, last = max(address, frame << PAGE_SHIFT), min(address + size, frame + 1 << PAGE_SHIFT) - 1
            if size not in _TABLE_SIZES or last - first + 1 != size:
                self.loosen(first)
                continue
            width = self._guest.entry_size
            for index in range(first % PAGE_SIZE // width, last % PAGE_SIZE // width + 1):
                self._follow(frame, use, index)

    # Entries as they should be.

    def leaf(self, entry: int, rights: int, *, beside_rights: bool = False) -> int:
        """What shows an entry of a guest's page table, under `rights` of the directory's entry."""
        if entry & (PRESENT | ACCESSED) != PRESENT | ACCESSED:
            return 0
        allowed = RW if beside_rights else entry & rights & _RIGHTS
        if not entry & DIRTY:
            allowed &= ~RW
        return self.mapping(self._guest.address(entry), allowed)

    def mapping(self, address: int, rights: int) -> int:
        """A leaf for the frame at a physical address."""
        if address >= self._size:
            return self.unpaged.beyond & ~USER | rights & USER
        if address >> PAGE_SHIFT in self.protected:
            rights &= ~RW
        return address & -PAGE_SIZE | MAPPED | rights

    def is_whole(self, base: int, rights: int) -> bool:
        """Whether a region of a large page, from physical `base` on, can be mapped by one entry."""
        first = base >> PAGE_SHIFT
        return base + REGION <= self._size and not (
            rights & RW and not self.protected.isdisjoint(range(first, first + ENTRIES))
        )

    def shows(self, entry: int, upper: int, half: int) -> bool:
        """Whether an entry of a shadow directory is what an entry `upper` of the guest's may have there."""
        guest = self._guest
        if not guest.is_page(upper):
            if upper & (PRESENT | ACCESSED) != PRESENT | ACCESSED or entry & LARGE:
                return False
            source = Source(guest.address(upper) >> PAGE_SHIFT, half, upper & _RIGHTS, large=False)
            return self.by_frame[frame_of(entry)].source == source
        if upper & (PRESENT | ACCESSED) != PRESENT | ACCESSED:
            return False
        base, allowed = guest.page(upper) + half * REGION, upper & _RIGHTS
        if entry & LARGE:
            source = Source(frame_of(entry), 0, entry & _RIGHTS, large=True)
        else:
            source = self.by_frame[frame_of(entry)].source
        allowed &= ~(0 if upper & DIRTY else RW)
        beside = guest.may_ignore_rights and upper & DIRTY and not upper & RW and source.rights == RW
        return (
            source.large and source.frame == self._region(base) and (source.rights == allowed or bool(beside))
        )

    def _region(self, base: int) -> int:
        return (base if base < self._size else NOWHERE) >> PAGE_SHIFT

    # Tables, and what they show.

    def _fill_large(self, place: int, va: int, base: int, rights: int) -> None:
        if self.is_whole(base, rights):
            self._set_upper(place, base | MAPPED | LARGE | rights)
            return
        table = self._linked(place, Source(self._region(base), 0, rights, large=True))
        index = va >> PAGE_SHIFT & ENTRIES - 1
        self.entries.set_leaf(table.place(index), self.mapping(base + index * PAGE_SIZE, rights))

    def _linked(self, place: int, source: Source) -> LeafTable:
        """The table for `source`, which the entry of a directory at `place` points to."""
        table = self.tables.get(source)
        if table is None:
            self._make_room()
            table = LeafTable(self.entries.take(), source)
            self.tables[source] = self.by_frame[table.frame] = table
            if source.large:
                base = source.frame << PAGE_SHIFT
                at = range(base, base + REGION, PAGE_SIZE)
                self.entries.fill(table, (self.mapping(address, source.rights) for address in at))
            else:
                self._use(source.frame).leaves.append(table)
        if place not in table.links:
            self._set_upper(place, table.frame << PAGE_SHIFT | POINTER)
            table.links.add(place)
        return table

    def _make_room(self) -> None:
        """There is a frame for another table."""
        while not self.entries.free:
            oldest = next(iter(self.roots))
            if self.roots[oldest] is not self.current:
                self._drop_root(oldest)
                continue
            for directory in self.roots[oldest].directories:
                self._empty(directory)

    def _use(self, frame: int) -> TableUse:
        """A frame of the guest's that is shown from now on, and protected unless it is loose."""
        use = self.uses.get(frame)
        if use is None:
            use = self.uses[frame] = TableUse(loose=not self.protects)
            if not self.protects:
                self.loose.add(frame)
            else:
                self.protected.add(frame)
                if self.entries.forbid(frame):
                    self._cpu.flush_tlb()
        return use

    def _unused(self, frame: int) -> None:
        """Something of a frame is not shown any more."""
        use = self.uses[frame]
        if not use.leaves and not use.directories:
            del self.uses[frame]
            self.protected.discard(frame)
            self.loose.discard(frame)

    def _is_loose(self, frame: int | None) -> bool:
        return frame is not None and self.uses[frame].loose

    def _show(self, root: Root, slot: int, directory: int) -> None:
        """The guest's directory for a gigabyte is that in frame `directory`."""
        if root.shown[slot] == directory:
            return
        self._hide(root, slot)
        root.shown[slot] = directory
        self._use(directory).directories.append((root, slot))

    def _hide(self, root: Root, slot: int) -> None:
        directory = root.shown[slot]
        if directory is not None:
            self._empty(root.directories[slot])
            root.shown[slot] = None
            self.uses[directory].directories.remove((root, slot))
            self._unused(directory)

    def _set_upper(self, place: int, entry: int) -> None:
        """In a directory; the table that was linked there may go."""
        before = self.entries.get(place)
        self.entries.set_upper(place, entry)
        if not before:
            return
        self._cpu.flush_tlb()
        if not before & LARGE:
            table = self.by_frame[frame_of(before)]
            table.links.discard(place)
            if not table.links:
                self._drop_table(table)

    def _drop_table(self, table: LeafTable) -> None:
        self.counts.dropped += 1
        self.entries.clear(table)
        del self.tables[table.source], self.by_frame[table.frame]
        if not table.source.large:
            self.uses[table.source.frame].leaves.remove(table)
            self._unused(table.source.frame)

    def _empty(self, directory: int) -> None:
        for place, _ in self.entries.used(directory):
            self._set_upper(place, 0)

    def _drop_root(self, key: int) -> None:
        root = self.roots.pop(key)
        for slot in range(SLOTS):
            self._hide(root, slot)
        for frame in (root.frame, *root.directories):
            self.entries.give_back(frame)
        if root is self.current:
            self.current = None

    def _drop_all(self) -> None:
        for key in tuple(self.roots):
            self._drop_root(key)
        self.loose.clear()

    def _forget(self, frame: int) -> None:
        """Nothing of a frame is shown any more."""
        use = self.uses.get(frame)
        if use is None:
            return
        for table in tuple(use.leaves):
            for place in tuple(table.links):
                self._set_upper(place, 0)
        for root, slot in tuple(use.directories):
            self._hide(root, slot)

    def _follow(self, frame: int, use: TableUse, index: int) -> None:
        """Entry `index` of a table has changed."""
        halves, entry = self._guest.halves, self._guest.entry(frame, index)
        for table in use.leaves:
            if index // ENTRIES == table.source.half:
                place = table.place(index % ENTRIES)
                before, now = self.entries.get(place), self.leaf(entry, table.source.rights)
                if before != now:
                    self.entries.set_leaf(place, now)
                    if before:
                        self._cpu.flush_tlb()
        for root, slot in tuple(use.directories):
            at = index * halves - (slot * ENTRIES if halves > 1 else 0)
            if not 0 <= at < ENTRIES:
                continue
            for half in range(halves):
                place = root.directories[slot] * ENTRIES + at + half
                shown = self.entries.get(place)
                if shown and not self.shows(shown, entry, half):
                    self._set_upper(place, 0)
