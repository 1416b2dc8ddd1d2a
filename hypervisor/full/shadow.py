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
from typing import TYPE_CHECKING, Final

from paravane.full.shadow_counts import ShadowCounts
from paravane.full.shadow_rules import ShadowRules
from paravane.full.shadow_tables import (
    DIRTY,
    ENTRIES,
    LARGE,
    LARGE_SHIFT,
    MAPPED,
    REGION,
    RIGHTS,
    RW,
    USER,
    Root,
    ShadowEntries,
    Source,
    frame_of,
)
from paravane.full.shown_tables import ShownTables
from paravane.full.unpaged import UnpagedTables
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.cpu import Ram
    from paravane.full.guest_tables import GuestTables
    from paravane.full.linear_memory import Translation
    from paravane.full.shown_tables import Engine

MOST_FRAMES: Final = 384
"""Frames of tables at a time, besides those that there are from the beginning."""

MOST_ROOTS: Final = 16
"""Address spaces whose shadows are kept; the least recently used goes first."""

MOST_STORES: Final = 8
"""Stores to a table without its being used in between: it is none any more, or is being filled."""

_TABLE_SIZES: Final = (4, 8)
_INSIDE: Final = PAGE_SIZE - 1


class Policy(Enum):
    """How long a shadow lasts.

    `VTLB`: it is a TLB of the guest's, and gone when that would be. `WP`: the guest's tables are
    write-protected, each store is seen, and shadows outlast flushes.
    """

    VTLB = "vtlb"
    WP = "wp"


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
        self._cpu, self._guest = cpu, guest
        self.policy = policy
        self.protects = policy is Policy.WP
        self.counts = ShadowCounts()
        self.unpaged = UnpagedTables(ram, size, allocate)
        self.entries = ShadowEntries(ram, allocate, MOST_FRAMES, self.counts, tracks=self.protects)
        self.shown = ShownTables(cpu, guest, self.entries, self.counts, protects=self.protects)
        self.rules = ShadowRules(guest, size, self.unpaged.beyond, self.shown.protected)
        self.shown.obey(self.rules)
        self.map_physical()

    # What the guest's processor does.

    def map_physical(self) -> None:
        """The guest has no paging."""
        self.shown.drop_all()
        self._cpu.cr3 = self.unpaged.root << PAGE_SHIFT

    def change_mode(self) -> None:
        """Its entries mean something else from now on, or paging is on."""
        self.shown.drop_all()
        self.load_root()

    def load_root(self) -> None:
        """CR3 was loaded, or the TLB is to be flushed otherwise. Global pages are flushed with the others
        where these are flushed."""
        self.counts.flushes += 1
        self.shown.flush()
        if self.protects:
            self.shown.use_root(self._guest.root, MOST_ROOTS)
        else:
            self.shown.use_root(0, 1)

    def drop_page(self, va: int) -> None:
        """INVLPG: forget the page of linear `va`, as far as it may be stale."""
        self.counts.page_flushes += 1
        self.forget_page(va)

    def forget_page(self, va: int) -> None:
        """As `drop_page`, of a processor that does so by itself, where it has raised a page fault (SDM volume
        3, 4.10.4.1)."""
        root = self.shown.current
        directory = None if root is None else root.shown[va >> 30]
        if root is None or directory is None:
            return
        self._cpu.flush_page(va)
        if self.shown.uses[directory].loose:
            self._drop_stale(root, va, directory)
        entry = self.entries.get(root.place(va))
        table = None if entry & LARGE else self.shown.by_frame.get(frame_of(entry))
        if table is not None and not table.source.large and self.shown.uses[table.source.frame].loose:
            self.entries.set_leaf(table.place(va >> PAGE_SHIFT & ENTRIES - 1), 0)
            if len(table.links) > 1:
                self._cpu.flush_tlb()

    def _drop_stale(self, root: Root, va: int, directory: int) -> None:
        """Forget the large page at linear `va`, and a table that the guest's entry does not name any more."""
        upper = self._guest.upper(directory, va)
        first = root.place(va) & -self._guest.halves
        for half in range(self._guest.halves):
            entry = self.entries.get(first + half)
            if not entry:
                continue
            source = self.shown.source(entry)
            if source.large or not self.rules.shows(source, upper, half):
                self.shown.set_upper(first + half, 0)

    def fill(self, va: int, found: Translation, *, write: bool = False) -> None:
        """Map the page of linear `va` as the guest's tables do, where a store (`write`) or another access has
        faulted and may go on."""
        walk, root = found.walk, self.shown.current
        if walk is None or root is None:
            return  # without paging all is mapped that there is
        self.counts.fills += 1
        effective = walk.upper & walk.leaf & RIGHTS
        # With CR0.WP clear ring 0 may store what its tables do not allow; ring 3 faults, and is mapped then.
        beside_rights = write and found.writable and not effective & RW
        self.shown.show(root, va >> 30, walk.directory)
        place = root.place(va)
        if walk.table is None:
            rights = RW if beside_rights else effective & ~(0 if walk.leaf & DIRTY else RW)
            self._fill_large(place, va, found.address & -REGION, rights)
        else:
            half = va >> LARGE_SHIFT & self._guest.halves - 1
            table = self.shown.linked(place, Source(walk.table, half, walk.upper & RIGHTS, large=False))
            leaf = self.rules.leaf(walk.leaf, walk.upper, beside_rights=beside_rights)
            at = table.place(va >> PAGE_SHIFT & ENTRIES - 1)
            if self.entries.get(at) and len(table.links) > 1:
                self._cpu.flush_tlb()  # it may be known by another linear address
            self.entries.set_leaf(at, leaf)
            self.shown.uses[walk.table].stores = 0
        self.shown.uses[walk.directory].stores = 0
        self._cpu.flush_page(va)

    def reached(self, va: int, *, write: bool, user: bool) -> int | None:
        """As a TLB hit (`paravane.full.linear_memory.Tlb`): where the engine's next access by linear `va`
        would end, if it did not fault."""
        root = self.shown.current
        if root is None:
            return None
        entry, inside = self.entries.get(root.place(va)), REGION - 1
        if not entry & LARGE:
            if not entry:
                return None
            entry, inside = (
                self.entries.get(frame_of(entry) * ENTRIES + (va >> PAGE_SHIFT & ENTRIES - 1)),
                _INSIDE,
            )
        if not entry or (write and not entry & RW) or (user and not entry & USER):
            return None
        return (frame_of(entry) << PAGE_SHIFT) + (va & inside)

    def is_protected(self, address: int) -> bool:
        """Whether a physical address lies in a table of the guest's that is write-protected."""
        return address >> PAGE_SHIFT in self.shown.protected

    def is_busy(self, address: int) -> bool:
        """A store is about to be made in a protected table: whether there were too many of them."""
        use = self.shown.uses[address >> PAGE_SHIFT]
        use.stores += 1
        self.counts.stores += 1
        return use.stores > MOST_STORES

    def loosen(self, address: int) -> None:
        """What lies at a physical address is no table any more, as it seems: let it be written. What is shown
        of it may be stale until the next flush, and is gone then."""
        self.shown.loosen(address >> PAGE_SHIFT)

    def stored(self, address: int, size: int) -> None:
        """The monitor has stored `size` bytes at a physical address: what is shown of them follows."""
        for frame in range(address >> PAGE_SHIFT, (address + size - 1 >> PAGE_SHIFT) + 1):
            use = self.shown.uses.get(frame)
            if use is None or use.loose:
                continue
            first, last = max(address, frame << PAGE_SHIFT), min(address + size, frame + 1 << PAGE_SHIFT) - 1
            if size not in _TABLE_SIZES or last - first + 1 != size:
                self.loosen(first)
                continue
            width = self._guest.entry_size
            for index in range(first % PAGE_SIZE // width, last % PAGE_SIZE // width + 1):
                self.shown.follow(frame, use, index)

    def _fill_large(self, place: int, va: int, base: int, rights: int) -> None:
        if self.rules.is_whole(base, rights):
            self.shown.set_upper(place, base | MAPPED | LARGE | rights)
            return
        table = self.shown.linked(place, Source(self.rules.region(base), 0, rights, large=True))
        index = va >> PAGE_SHIFT & ENTRIES - 1
        self.entries.set_leaf(table.place(index), self.rules.mapping(base + index * PAGE_SIZE, rights))
