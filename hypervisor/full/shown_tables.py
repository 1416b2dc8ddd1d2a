"""What is shown of the guest's page tables, where that is, and which of them can be written meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.full.shadow_tables import (
    ENTRIES,
    LARGE,
    POINTER,
    PRESENT,
    REGION,
    RIGHTS,
    SLOTS,
    LeafTable,
    Root,
    Source,
    TableUse,
    frame_of,
)
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.full.guest_tables import GuestTables
    from paravane.full.shadow_counts import ShadowCounts
    from paravane.full.shadow_rules import ShadowRules
    from paravane.full.shadow_tables import ShadowEntries


_ROOT_FRAMES: Final = 1 + SLOTS


class Engine(Protocol):
    """What the shadow asks of the processor."""

    cr3: int

    def flush_tlb(self) -> None: ...
    def flush_page(self, va: int) -> None: ...


class ShownTables:
    """Roots by CR3, the least recently used first; tables by what they show and by their frame; the guest's
    frames that are shown. Of these, `protected` ones cannot be written, `loose` ones can."""

    def __init__(
        self,
        cpu: Engine,
        guest: GuestTables,
        entries: ShadowEntries,
        counts: ShadowCounts,
        *,
        protects: bool,
    ) -> None:
        self._cpu, self._guest, self._counts, self._protects = cpu, guest, counts, protects
        self.entries = entries
        self.roots: dict[int, Root] = {}
        self.current: Root | None = None
        self.tables: dict[Source, LeafTable] = {}
        self.by_frame: dict[int, LeafTable] = {}
        self.uses: dict[int, TableUse] = {}
        self.protected: set[int] = set()
        self.loose: set[int] = set()
        self._rules: ShadowRules

    def obey(self, rules: ShadowRules) -> None:
        """Before anything is shown: what entries have to be."""
        self._rules = rules

    def flush(self) -> None:
        """Nothing is shown any more that may be stale."""
        for frame in tuple(self.loose):
            self.forget(frame)
        self.loose.clear()

    def use_root(self, key: int, most: int) -> Root:
        """The root for an address space, one of `most`, which is walked from now on."""
        root = self.roots.pop(key, None)
        if root is None:
            while self.roots and (len(self.roots) >= most or self.entries.free < _ROOT_FRAMES):
                self.drop_root(next(iter(self.roots)))
            root = Root(self.entries.take(), [self.entries.take() for _ in range(SLOTS)])
            for slot, directory in enumerate(root.directories):
                self.entries.set_upper(root.frame * ENTRIES + slot, directory << PAGE_SHIFT | PRESENT)
        self.roots[key] = self.current = root
        for slot in range(SLOTS):
            if root.shown[slot] not in (None, self._guest.directory(slot)):
                self.hide(root, slot)
        self._cpu.cr3 = root.frame << PAGE_SHIFT
        return root

    def loosen(self, frame: int) -> None:
        """A frame can be written from now on, and what is shown of it may be stale until the next flush."""
        use = self.uses.get(frame)
        if use is not None and not use.loose:
            self._counts.loosened += 1
            use.loose = True
            self.protected.discard(frame)
            self.loose.add(frame)

    def linked(self, place: int, source: Source) -> LeafTable:
        """The table for `source`, which the entry of a directory at `place` points to."""
        table = self.tables.get(source)
        if table is None:
            self._make_room()
            table = LeafTable(self.entries.take(), source)
            self.tables[source] = self.by_frame[table.frame] = table
            if source.large:
                base = source.frame << PAGE_SHIFT
                at = range(base, base + REGION, PAGE_SIZE)
                self.entries.fill(table, (self._rules.mapping(address, source.rights) for address in at))
            else:
                self._use(source.frame).leaves.append(table)
        if place not in table.links:
            self.set_upper(place, table.frame << PAGE_SHIFT | POINTER)
            table.links.add(place)
        return table

    def _make_room(self) -> None:
        """There is a frame for another table."""
        while not self.entries.free:
            oldest = next(iter(self.roots))
            if self.roots[oldest] is not self.current:
                self.drop_root(oldest)
                continue
            for directory in self.roots[oldest].directories:
                self._empty(directory)

    def _use(self, frame: int) -> TableUse:
        """A frame of the guest's that is shown from now on, and protected unless it is loose."""
        use = self.uses.get(frame)
        if use is None:
            use = self.uses[frame] = TableUse(loose=not self._protects)
            if not self._protects:
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

    def show(self, root: Root, slot: int, directory: int) -> None:
        """The guest's directory for a gigabyte is that in frame `directory`."""
        if root.shown[slot] == directory:
            return
        self.hide(root, slot)
        root.shown[slot] = directory
        self._use(directory).directories.append((root, slot))

    def hide(self, root: Root, slot: int) -> None:
        directory = root.shown[slot]
        if directory is not None:
            self._empty(root.directories[slot])
            root.shown[slot] = None
            self.uses[directory].directories.remove((root, slot))
            self._unused(directory)

    def source(self, entry: int) -> Source:
        """What an entry of a shadow directory shows."""
        if entry & LARGE:
            return Source(frame_of(entry), 0, entry & RIGHTS, large=True)
        return self.by_frame[frame_of(entry)].source

    def set_upper(self, place: int, entry: int) -> None:
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
        self._counts.dropped += 1
        self.entries.clear(table)
        del self.tables[table.source], self.by_frame[table.frame]
        if not table.source.large:
            self.uses[table.source.frame].leaves.remove(table)
            self._unused(table.source.frame)

    def _empty(self, directory: int) -> None:
        for place, _ in self.entries.used(directory):
            self.set_upper(place, 0)

    def drop_root(self, key: int) -> None:
        root = self.roots.pop(key)
        for slot in range(SLOTS):
            self.hide(root, slot)
        for frame in (root.frame, *root.directories):
            self.entries.give_back(frame)
        if root is self.current:
            self.current = None

    def drop_all(self) -> None:
        for key in tuple(self.roots):
            self.drop_root(key)
        self.loose.clear()

    def forget(self, frame: int) -> None:
        """Nothing of a frame is shown any more."""
        use = self.uses.get(frame)
        if use is None:
            return
        for table in tuple(use.leaves):
            for place in tuple(table.links):
                self.set_upper(place, 0)
        for root, slot in tuple(use.directories):
            self.hide(root, slot)

    def follow(self, frame: int, use: TableUse, index: int) -> None:
        """Entry `index` of a table has changed."""
        halves, entry = self._guest.halves, self._guest.entry(frame, index)
        for table in use.leaves:
            if index // ENTRIES == table.source.half:
                place = table.place(index % ENTRIES)
                before, now = self.entries.get(place), self._rules.leaf(entry, table.source.rights)
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
                if shown and not self._rules.shows(self.source(shown), entry, half):
                    self.set_upper(place, 0)
