"""Where in the source hypercalls and traps were made, and how often."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from paravane.classes import NamedTuple
from paravane.tools.report_page.values import OTHERS, counted, fit

if TYPE_CHECKING:
    from paravane.trace import Entry

MOST_PLACES: Final = 5000
"""Places that are told apart."""
MOST_NAMES: Final = 4
"""Names of what was made at a place that are shown."""
MOST_LINES: Final = 20_000
"""Lines of source text that the page has."""
AROUND: Final = 3
"""Lines of text shown before and after one that has a count."""
_KINDS: Final = ("hypercall", "trap")


class Lines(Protocol):
    """Has the text of source files that may be shown."""

    def lines(self, file: str) -> list[str]:
        """All lines of a file; none when it cannot be had."""
        ...


class _Where(NamedTuple):
    """A line of a file (empty and 0: unknown) and a symbol, or an address in its place."""

    file: str
    line: int
    symbol: str


class Places:
    """Counts places while entries come."""

    def __init__(self) -> None:
        self._places: dict[_Where, Counter[tuple[str, str]]] = {}

    def add(self, entry: Entry) -> None:
        if entry.kind not in _KINDS or entry.place is None:
            return
        place = entry.place
        where = _Where(place.file, place.line, place.symbol or f"{place.address:#010x}")
        if where not in self._places and len(self._places) >= MOST_PLACES:
            where = _Where("", 0, OTHERS)
        counts = self._places.setdefault(where, Counter())
        what = entry.kind, fit(entry.name)
        counted(counts, what, 4 * MOST_NAMES, (entry.kind, OTHERS))

    def island(self, sources: Lines) -> dict[str, Any] | None:
        """What the page is told; None if there was nothing of it. A place: line, symbol, how many hypercalls
        and traps, and which. A line of text: its number, and the text."""
        if not self._places:
            return None
        files: dict[str, list[_Where]] = {}
        for where in sorted(self._places):
            files.setdefault(where.file, []).append(where)
        room, told = MOST_LINES, []
        for file, places in sorted(files.items(), key=lambda item: (item[0] == "", item[0])):
            wanted = sorted({place.line for place in places if place.line})
            text = _windows(sources.lines(file) if file else [], wanted)[:room]
            room -= len(text)
            rows = [self._row(place) for place in places]
            total = sum(row[2] + row[3] for row in rows)
            told.append({"file": fit(file), "count": total, "places": rows, "text": text})
        return {"files": sorted(told, key=lambda found: -found["count"]), "left_out": room <= 0}

    def _row(self, where: _Where) -> tuple[int, str, int, int, list[tuple[str, int]]]:
        counts = self._places[where]
        calls, traps = (sum(n for (of, _), n in counts.items() if of == kind) for kind in _KINDS)
        names = [(name, count) for (_, name), count in counts.most_common(MOST_NAMES)]
        return where.line, fit(where.symbol), calls, traps, names


def _windows(lines: list[str], wanted: list[int]) -> list[tuple[int, str]]:
    """The lines around those that are wanted, which ascend, each once."""
    shown: list[tuple[int, str]] = []
    done = 0
    for line in wanted:
        for number in range(max(done + 1, line - AROUND), min(line + AROUND, len(lines)) + 1):
            shown.append((number, fit(lines[number - 1].expandtabs().rstrip())))
            done = number
    return shown
