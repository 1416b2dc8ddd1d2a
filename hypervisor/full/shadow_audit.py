"""The audit of shadow tables: what they hold is compared with the guest's tables, and their books are kept
again from nothing but their entries.

Of what is shown of a protected table it is proven that the guest's entry allows it now. A loose table, as all
are under `Policy.VTLB`, may have been changed since, without a flush: what is shown of it can be right
although the entry says otherwise by now, and without the entry's history nobody can tell. There it is proven
only that no leaf reaches a frame of the monitor's, and none writes a protected table.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from paravane.full.shadow_tables import (
    ACCESSED,
    DIRTY,
    ENTRIES,
    LARGE,
    MAPPED,
    POINTER,
    PRESENT,
    REGION,
    RIGHTS,
    RW,
    frame_of,
    region_of,
)
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.full.guest_tables import GuestTables
    from paravane.full.shadow import Shadow
    from paravane.full.shadow_tables import LeafTable, Root
    from paravane.full.state import PrivilegedState


def audit(shadow: Shadow, guest: GuestTables, state: PrivilegedState, cr3: int, size: int) -> list[str]:
    """Every difference found, in sentences; none if all is right. `cr3` is the engine's; the guest has `size`
    bytes of memory. Nothing is changed."""
    return _Audit(shadow, guest, state, size).run(cr3)


class _Audit:
    def __init__(self, shadow: Shadow, guest: GuestTables, state: PrivilegedState, size: int) -> None:
        self._shadow, self._guest, self._state, self._size = shadow, guest, state, size
        self._links: defaultdict[int, set[int]] = defaultdict(set)
        self._writers: defaultdict[int, set[int]] = defaultdict(set)
        self._large_writers: defaultdict[int, set[int]] = defaultdict(set)
        self._counted: Counter[int] = Counter()
        self.found: list[str] = []

    def run(self, cr3: int) -> list[str]:
        self._check_cr3(cr3)
        for key, root in self._shadow.shown.roots.items():
            self._check_root(key, root)
        for table in self._shadow.shown.tables.values():
            self._check_table(table)
        self._check_books()
        return self.found

    def _say(self, sentence: str) -> None:
        self.found.append(sentence)

    def _check_cr3(self, cr3: int) -> None:
        shadow, shown = self._shadow, self._shadow.shown
        if self._state.paging:
            if shown.current is None or shown.current not in shown.roots.values():
                self._say("paging is on, and no root is in use")
                return
            key = self._guest.root if shadow.protects else 0
            if shown.roots.get(key) is not shown.current:
                self._say(f"the root in use is not that of CR3 {self._guest.root:#x}")
            expected = shown.current.frame
        else:
            if shown.roots or shown.tables:
                self._say("paging is off, and tables are shown")
            expected = shadow.unpaged.root
        if cr3 != expected << PAGE_SHIFT:
            self._say(f"the processor walks {cr3:#x}, not frame {expected:#x}")

    def _check_root(self, key: int, root: Root) -> None:
        get = self._shadow.entries.get
        for slot, directory in enumerate(root.directories):
            if get(root.frame * ENTRIES + slot) != directory << PAGE_SHIFT | PRESENT:
                self._say(f"root {key:#x} does not have its directory {slot}")
            shown = root.shown[slot]
            if shown is None:
                if self._shadow.entries.used(directory):
                    self._say(f"root {key:#x} has entries in directory {slot}, which shows nothing")
                continue
            self._counted[shown] += 1
            use = self._shadow.shown.uses.get(shown)
            if use is None or (root, slot) not in use.directories:
                self._say(f"frame {shown:#x} is shown in directory {slot} of {key:#x}, and it is not known")
                continue
            for place, entry in self._shadow.entries.used(directory):
                self._check_upper(place, entry, slot, shown, loose=use.loose)

    def _check_upper(self, place: int, entry: int, slot: int, shown: int, *, loose: bool) -> None:
        shadow, guest = self._shadow, self._guest
        where = f"entry {place % ENTRIES} of directory {slot} that shows frame {shown:#x}"
        if entry & LARGE:
            if entry & ~RIGHTS != frame_of(entry) << PAGE_SHIFT | MAPPED | LARGE or frame_of(entry) % ENTRIES:
                self._say(f"{where} is {entry:#x}")
            base = frame_of(entry) << PAGE_SHIFT
            if base + REGION > self._size:
                self._say(f"{where} maps {base:#x}, beyond the guest's memory")
            if entry & RW:
                self._large_writers[region_of(entry)].add(place)
                if not shadow.shown.protected.isdisjoint(range(frame_of(entry), frame_of(entry) + ENTRIES)):
                    self._say(f"{where} can write a protected table")
        else:
            table = shadow.shown.by_frame.get(frame_of(entry))
            if table is None or entry != table.frame << PAGE_SHIFT | POINTER:
                self._say(f"{where} is {entry:#x}, no table")
                return
            self._links[table.frame].add(place)
        if not loose:
            half = place % guest.halves
            index = (place % ENTRIES + (slot * ENTRIES if guest.halves > 1 else 0)) // guest.halves
            upper = guest.entry(shown, index)
            if not shadow.rules.shows(shadow.shown.source(entry), upper, half):
                self._say(f"{where} is {entry:#x}, and the guest's {upper:#x}")

    def _check_table(self, table: LeafTable) -> None:
        source = table.source
        use = None if source.large else self._shadow.shown.uses.get(source.frame)
        if use is None and not source.large:
            self._say(f"frame {source.frame:#x} is shown as a table, and it is not known")
            return
        for place, entry in self._shadow.entries.used(table.frame):
            index = place % ENTRIES
            where = f"leaf {index} of {source}"
            address = frame_of(entry) << PAGE_SHIFT
            hole = frame_of(self._shadow.unpaged.beyond)
            if frame_of(entry) != hole and address >= self._size:
                self._say(f"{where} maps {address:#x}, a frame of the monitor's")
            if entry & ~RIGHTS != address | MAPPED:
                self._say(f"{where} is {entry:#x}")
            if entry & RW:
                self._writers[frame_of(entry)].add(place)
                if frame_of(entry) in self._shadow.shown.protected or frame_of(entry) == hole:
                    self._say(f"{where} can write frame {frame_of(entry):#x}")
            if source.large:
                allowed, at = source.rights, (source.frame << PAGE_SHIFT) + index * PAGE_SIZE
            elif use is not None and use.loose:
                continue
            else:
                own = self._guest.entry(source.frame, source.half * ENTRIES + index)
                if own & (PRESENT | ACCESSED) != PRESENT | ACCESSED or self._guest.is_reserved(own):
                    self._say(f"{where} is {entry:#x}, and the guest's {own:#x}")
                    continue
                allowed, at = own & source.rights & RIGHTS, self._guest.address(own)
                allowed &= ~(0 if own & DIRTY else RW)
                beside = self._guest.may_ignore_rights and own & DIRTY and not own & source.rights & RW
                if beside and entry & RIGHTS == RW:
                    allowed = RW
            reached = hole << PAGE_SHIFT if at >= self._size else at
            if address != reached or entry & RIGHTS & ~allowed:
                self._say(f"{where} is {entry:#x}, and the guest allows {allowed:#x} at {at:#x}")

    def _check_books(self) -> None:
        shadow, shown = self._shadow, self._shadow.shown
        entries = shadow.entries
        for table in shown.tables.values():
            if table.links != self._links[table.frame] or not table.links:
                self._say(f"{table.source} is linked at {sorted(self._links[table.frame])}")
            if shown.by_frame.get(table.frame) is not table:
                self._say(f"{table.source} is not known by its frame")
        if shadow.protects:
            for what, kept, counted in (
                ("writers", entries.writers, self._writers),
                ("large writers", entries.large_writers, self._large_writers),
            ):
                if kept != counted:
                    self._say(f"the reverse map of {what} has {kept}, and there are {dict(counted)}")
        used = [frame for root in shown.roots.values() for frame in (root.frame, *root.directories)]
        used += [table.frame for table in shown.tables.values()] + entries.spare
        if sorted(used) != sorted(entries.frames):
            self._say(f"{len(used)} frames are in use or spare, and {len(entries.frames)} were taken")
        own = (*entries.frames, *shadow.unpaged.frames)
        if any(frame << PAGE_SHIFT < self._size for frame in own):
            self._say("a table of the shadow lies in the guest's memory")
        if any(entries.used(frame) for frame in entries.spare):
            self._say("a spare frame is not empty")
        self._check_uses()

    def _check_uses(self) -> None:
        shown = self._shadow.shown
        leaves = Counter(table.source.frame for table in shown.tables.values() if not table.source.large)
        for frame, use in shown.uses.items():
            if len(use.leaves) != leaves[frame] or len(use.directories) != self._counted[frame]:
                self._say(f"frame {frame:#x} is not shown as often as its books say")
            if not use.leaves and not use.directories:
                self._say(f"frame {frame:#x} is kept, and shown nowhere")
            if use.loose == (frame in shown.protected) or use.loose != (frame in shown.loose):
                self._say(f"frame {frame:#x} is not both or neither loose and writable")
        for frame in (
            shown.protected | shown.loose | leaves.keys() | self._counted.keys()
        ) - shown.uses.keys():
            self._say(f"frame {frame:#x} is shown, protected or loose, and has no books")
