"""A TLB as data: which translations it holds, and what that has cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.classes import NamedTuple, dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Tag(NamedTuple):
    """What an entry is found by: virtual page number and address-space number."""

    vpn: int
    asn: int


@dataclass(slots=True)
class TlbCounts:
    """What has happened to one TLB.

    `misses` are those that were refilled, or handed to the kernel; `updates` are writes through an entry that
    was not marked dirty, or that the tables had given more rights since; `evictions` are entries that had to
    go for others. A flush of everything, of an address space or of a page is counted if there was anything to
    forget, and `forgotten` has how many entries that were. `refills` are the kernel's own, `switches` changes
    of the address-space number, and `exits` all traps that a hypervisor on a real machine would have served.
    """

    misses: int = 0
    updates: int = 0
    refills: int = 0
    evictions: int = 0
    flushes: int = 0
    asn_flushes: int = 0
    page_flushes: int = 0
    forgotten: int = 0
    switches: int = 0
    exits: int = 0


class Tlb:
    """Set-associative; page n belongs to set n modulo the number of sets.

    Of a full set the entry goes that was filled longest ago, as in Alpha's: hits happen in the engine, where
    nobody counts them, so there is no telling which entry was used last.
    """

    def __init__(self, entries: int, ways: int) -> None:
        self.ways = ways
        self._sets: list[dict[Tag, int]] = [{} for _ in range(entries // ways)]
        self.counts = TlbCounts()

    def __len__(self) -> int:
        return sum(map(len, self._sets))

    def __iter__(self) -> Iterator[tuple[Tag, int]]:
        """All entries: tag and the page-table entry it stands for."""
        for held in self._sets:
            yield from held.items()

    def find(self, tag: Tag) -> int | None:
        """The page-table entry that is held for a page."""
        return self._set(tag).get(tag)

    def fill(self, tag: Tag, entry: int) -> Tag | None:
        """Hold `entry` for a page from now on: which page had to go for it, if one had to. An entry that is
        replaced by another one for the same page stays as old as it was."""
        held = self._set(tag)
        victim = None
        if tag not in held and len(held) == self.ways:
            victim = next(iter(held))
            del held[victim]
            self.counts.evictions += 1
        held[tag] = entry
        return victim

    def forget(self, tag: Tag) -> bool:
        """Hold nothing for a page any more; whether there was anything."""
        return self._set(tag).pop(tag, None) is not None

    def flush_page(self, tag: Tag) -> None:
        """Forget a page because somebody asks for it."""
        if self.forget(tag):
            self.counts.page_flushes += 1
            self.counts.forgotten += 1

    def flush(self) -> None:
        """Forget everything."""
        if forgotten := self._drop(lambda _: True):
            self.counts.flushes += 1
            self.counts.forgotten += forgotten

    def flush_asn(self, asn: int) -> None:
        """Forget one address space."""
        if forgotten := self._drop(lambda tag: tag.asn == asn):
            self.counts.asn_flushes += 1
            self.counts.forgotten += forgotten

    def _drop(self, chosen: Callable[[Tag], bool]) -> int:
        before = len(self)
        for held in self._sets:
            for tag in [tag for tag in held if chosen(tag)]:
                del held[tag]
        return before - len(self)

    def _set(self, tag: Tag) -> dict[Tag, int]:
        return self._sets[tag.vpn % len(self._sets)]
