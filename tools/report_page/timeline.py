"""The timeline: what each vcpu did, record by record, and in bins where there are too many."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from paravane.tools.report_page.values import Texts
from paravane.trace.wording import body_of

if TYPE_CHECKING:
    from paravane.trace import Entry

MOST_RECORDS: Final = 50_000
"""Records that the page has one by one; what comes after them is counted in bins."""
MOST_LANES: Final = 64
"""Vcpus with lanes of their own; the others share the last one."""
MOST_BINS: Final = 2048
"""Bins that the whole time is divided into, at most."""
MOST_MARKS: Final = 500
"""Events of domains' lives that are marked."""
_NAMES_ROOM: Final = 1 << 16
_TEXTS_ROOM: Final = 6 << 20
"""Characters of what the records of the timeline say."""

ROWS: Final = ("hypercall", "trap", "upcall")
"""What a lane has, one below the other."""
_OTHERS: Final = (-1, -1)


class Timeline:
    """Collects the timeline while entries come."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[int, int], int] = {}
        self._names, self._texts = Texts(_NAMES_ROOM), Texts(_TEXTS_ROOM)
        self._records: list[tuple[int, ...]] = []
        self._marks: list[tuple[int, str]] = []
        self._bins: Counter[tuple[int, int, int]] = Counter()
        self._width = 1
        self._base: int | None = None
        self._last = 0
        self._left_out = 0
        self._from: int | None = None

    def add(self, entry: Entry) -> None:
        if entry.kind == "domain":
            if len(self._marks) < MOST_MARKS:
                self._marks.append((entry.time, f"d{entry.domid} {body_of(entry)}"))
            return
        name = entry.name if entry.kind == "event" else entry.kind
        if name not in ROWS:
            return
        if self._base is None:
            self._base = entry.time
        self._last = max(self._last, entry.end)
        lane, row = self._lane(entry), ROWS.index(name)
        self._count(lane, row, entry.time - self._base)
        if len(self._records) < MOST_RECORDS:
            where = f" @ {entry.place}" if entry.place is not None else ""
            label = entry.name or f"hypercall {entry.data.get('number', '')}"
            numbers = self._names.number(label), self._texts.number(body_of(entry) + where)
            refused = int("errno" in entry.data)
            self._records.append((entry.time, entry.end - entry.time, lane, row, *numbers, refused))
        else:
            self._left_out += 1
            self._from = entry.time if self._from is None else min(self._from, entry.time)

    def _lane(self, entry: Entry) -> int:
        who = entry.domid, -1 if entry.vcpu is None else entry.vcpu
        if who not in self._lanes and len(self._lanes) >= MOST_LANES - 1:
            who = _OTHERS
        return self._lanes.setdefault(who, len(self._lanes))

    def _count(self, lane: int, row: int, offset: int) -> None:
        at = max(offset, 0) // self._width
        if at >= MOST_BINS:
            factor = 1 << (at // MOST_BINS).bit_length()
            self._width *= factor
            wider: Counter[tuple[int, int, int]] = Counter()
            for (old_lane, old_row, old), count in self._bins.items():
                wider[old_lane, old_row, old // factor] += count
            self._bins, at = wider, at // factor
        self._bins[lane, row, at] += 1

    def island(self) -> dict[str, Any] | None:
        """What the page is told; None if there was nothing of it. Times are nanoseconds after `base`."""
        if self._base is None:
            return None
        records = sorted(self._records)
        base = min(self._base, records[0][0], *(time for time, _ in self._marks))
        columns = ("at", "took", "lane", "row", "name", "text", "refused")
        found: dict[str, Any] = {
            column: [record[index] for record in records] for index, column in enumerate(columns)
        }
        found["at"] = [time - base for time in found["at"]]
        ordered = sorted(self._lanes, key=lambda who: (who == _OTHERS, who))
        place = {self._lanes[who]: number for number, who in enumerate(ordered)}
        found["lane"] = [place[lane] for lane in found["lane"]]
        return found | {
            # More than a number of JavaScript's holds exactly, perhaps.
            "base": str(base),
            "span": max(self._last - base, *(time - base for time, _ in self._marks), 1),
            "lanes": [_title(who) for who in ordered],
            "rows": ROWS,
            "names": self._names.all,
            "texts": self._texts.all,
            "untold": self._texts.left_out,
            "marks": [(time - base, self._fit(text)) for time, text in sorted(self._marks)],
            "left_out": self._left_out,
            "bins": self._bins_island(place, base),
        }

    def _bins_island(self, place: dict[int, int], base: int) -> dict[str, Any] | None:
        """The bins from the first record on that is not there itself."""
        if self._from is None or self._base is None:
            return None
        shift = self._base - base
        first = max(self._from - self._base, 0) // self._width
        rows = [
            (place[lane], row, at * self._width + shift, count)
            for (lane, row, at), count in sorted(self._bins.items())
            if at >= first
        ]
        return {"width": self._width, "from": first * self._width + shift, "rows": rows}

    def _fit(self, text: str) -> str:
        return self._names.all[number] if (number := self._names.number(text)) else ""


def _title(who: tuple[int, int]) -> str:
    domid, vcpu = who
    if who == _OTHERS:
        return "others"
    return f"d{domid}" if vcpu < 0 else f"d{domid}v{vcpu}"
