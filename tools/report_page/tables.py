"""Page tables: which table is below which, and what was refused about each.

A trace does not say which table an entry of another one refers to; it follows from what the trace says: a
table is validated after those below it that were not yet, and mmu_update has the entries that it writes.
Entries that a guest stores itself, and tables that were validated before the one above them, are not seen so.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from paravane.abi.mmu import MmuUpdateType
from paravane.classes import dataclass
from paravane.tools.report_page.values import OTHERS, counted, fit, number_of, text_of
from paravane.x86 import PAGE_SHIFT, Pte

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.trace import Entry

MOST_TABLES: Final = 5000
"""Frames that were tables and are told apart."""
MOST_BELOW: Final = 1024
"""Tables below one that are kept: as many as it has entries, of either size."""
MOST_SENTENCES: Final = 8
"""Reasons of refusals that are kept of a table."""
MOST_OTHERS: Final = 200
"""Reasons of refusals about no table that are kept."""

_LEVELS: Final = {f"l{level}_page_table": level for level in range(1, 5)}
_ABOUT_TABLES: Final = ("mmu_update", "mmuext_op", "update_va_mapping")
_FRAME: Final = re.compile(r"\b(?:mfn|table) 0x([0-9a-f]{1,13})\b")
_ENTRY: Final = re.compile(r"\bptr=0x([0-9a-f]{1,16})\b")
_DONE: Final = re.compile(r"request (\d{1,9})\b")
_FRAME_BITS: Final = (1 << 52) - 1
_COMMAND: Final = 3
"""The bits of an update's pointer that say what it is (public/xen.h)."""
_UPDATES: Final = (MmuUpdateType.NORMAL_PT_UPDATE, MmuUpdateType.PT_UPDATE_PRESERVE_AD)


@dataclass(slots=True)
class _Table:
    """`level` is the last one; `below` has the tables that entries refer to, by the entry's offset in bytes
    (negative: unknown)."""

    level: int
    owner: int
    live: bool = False
    pinned: bool = False
    validated: int = 0
    refused: int = 0
    below: dict[int, int] = field(default_factory=dict)
    sentences: Counter[str] = field(default_factory=Counter)


class Tables:
    """Collects page tables while entries come."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}
        self._fresh: deque[int] = deque(maxlen=MOST_TABLES)
        """Tables that were validated since the last other record, below none yet."""
        self._about_none: Counter[str] = Counter()
        self._seen = False
        self._left_out = 0

    def add(self, entry: Entry) -> None:
        if entry.kind == "page":
            self._page(entry)
            return
        self._fresh.clear()
        if entry.kind == "hypercall" and entry.name == "mmu_update":
            for pointer, value in _updates(entry):
                self._write(pointer, value)
        elif entry.kind == "refusal" and entry.name.startswith(_ABOUT_TABLES):
            self._refusal(entry)

    def _page(self, entry: Entry) -> None:
        mfn, owner = number_of(entry.data, "mfn"), number_of(entry.data, "owner")
        kind = text_of(entry.data, "before" if entry.name == "refused" else "after")
        if mfn is None or owner is None or kind not in _LEVELS:
            return
        self._seen = True
        table = self._tables.get(mfn)
        if table is None:
            if len(self._tables) >= MOST_TABLES:
                self._left_out += 1
                return
            table = self._tables[mfn] = _Table(_LEVELS[kind], owner)
        table.level, table.owner = _LEVELS[kind], owner
        if entry.name == "validated":
            self._validated(mfn, table)
        elif entry.name == "refused":
            table.refused += 1
            self._end(mfn, table)
        elif entry.name == "devalidated":
            self._end(mfn, table)
        elif entry.name in ("pinned", "unpinned"):
            table.pinned = entry.name == "pinned"
            if mfn in self._fresh:
                self._fresh.remove(mfn)

    def _validated(self, mfn: int, table: _Table) -> None:
        """Those below it that are fresh were validated for its sake."""
        table.validated += 1
        table.live = True
        table.below.clear()
        while (
            self._fresh
            and len(table.below) < MOST_BELOW
            and self._tables[self._fresh[-1]].level == table.level - 1
        ):
            table.below[-1 - len(table.below)] = self._fresh.pop()
        self._fresh.append(mfn)

    def _end(self, mfn: int, table: _Table) -> None:
        table.live = table.pinned = False
        table.below.clear()
        if mfn in self._fresh:
            self._fresh.remove(mfn)

    def _write(self, pointer: int, value: int) -> None:
        table = self._tables.get(pointer >> PAGE_SHIFT)
        if table is None or not table.live or pointer & _COMMAND not in _UPDATES:
            return
        offset = pointer & ((1 << PAGE_SHIFT) - 1) & ~_COMMAND
        table.below.pop(offset, None)
        target = (value & _FRAME_BITS) >> PAGE_SHIFT
        below = self._tables.get(target)
        if value & Pte.PRESENT and below is not None and below.live and below.level == table.level - 1:
            for guessed in [at for at, mfn in table.below.items() if at < 0 and mfn == target]:
                del table.below[guessed]
            table.below[offset] = target

    def _refusal(self, entry: Entry) -> None:
        sentence = text_of(entry.data, "sentence")
        line = f"{fit(entry.name)}: -{text_of(entry.data, 'errno')}: {sentence}"
        for mfn in _named(sentence):
            if (table := self._tables.get(mfn)) is not None:
                counted(table.sentences, line, MOST_SENTENCES, OTHERS)
                return
        counted(self._about_none, line, MOST_OTHERS, OTHERS)

    def island(self) -> dict[str, Any] | None:
        """What the page is told; None if there was nothing of it."""
        if not self._seen:
            return None
        live = {mfn for mfn, table in self._tables.items() if table.live}
        return {
            "tables": [
                {
                    "mfn": mfn,
                    "level": table.level,
                    "owner": table.owner,
                    "live": table.live,
                    "pinned": table.pinned,
                    "validated": table.validated,
                    "refused": table.refused,
                    "below": sorted({other for other in table.below.values() if self._below(table, other)}),
                    "sentences": table.sentences.most_common(),
                }
                for mfn, table in sorted(self._tables.items())
            ],
            "live": len(live),
            "others": self._about_none.most_common(),
            "left_out": self._left_out,
        }

    def _below(self, table: _Table, mfn: int) -> bool:
        """Whether a table is still one of the next level: so nothing on the page goes round."""
        other = self._tables[mfn]
        return other.live and other.level == table.level - 1


def _updates(entry: Entry) -> Iterator[tuple[int, int]]:
    """Pointer and value of the updates that were done, of those that the record has."""
    arguments = entry.data.get("arguments")
    arrays = arguments.values() if isinstance(arguments, dict) else ()
    items: Any = next(
        (found["items"] for found in arrays if isinstance(found, dict) and "items" in found), []
    )
    done: int | None = number_of(entry.data, "preempted")
    if "errno" in entry.data:
        found = _DONE.match(text_of(entry.data, "sentence"))
        done = int(found[1]) if found else 0
    for item in (items if isinstance(items, list) else [])[:done]:
        if isinstance(item, dict):
            pointer, value = number_of(item, "ptr"), number_of(item, "val")
            if pointer is not None and value is not None:
                yield pointer, value


def _named(sentence: str) -> Iterator[int]:
    """The frames that a refusal speaks of: that of the entry to be written first."""
    yield from (int(found, 16) >> PAGE_SHIFT for found in _ENTRY.findall(sentence))
    yield from (int(found, 16) for found in _FRAME.findall(sentence))
