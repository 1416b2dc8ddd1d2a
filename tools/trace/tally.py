"""What a summary counts: how often, how long, how that is distributed. Bounded, whatever a trace holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple, dataclass

if TYPE_CHECKING:
    from paravane.trace import Entry

LARGEST: Final = 1 << 16
"""Different names, and different places, that are told apart; the others are counted as one."""
OTHERS: Final = "(others)"


class Row(NamedTuple):
    """What is counted as one: a name of a kind in a domain."""

    domid: int
    kind: str
    name: str


@dataclass(slots=True)
class Tally:
    """Times are in nanoseconds. `buckets` counts durations by their number of bits: 0 is no time, 10 is from
    512 to 1023 ns."""

    count: int = 0
    refused: int = 0
    total: int = 0
    longest: int = 0
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, entry: Entry) -> None:
        took = entry.end - entry.time
        self.count += 1
        self.refused += "errno" in entry.data and entry.kind != "refusal"
        self.total += took
        self.longest = max(self.longest, took)
        self.buckets[took.bit_length()] += 1


class Tallies:
    """Everything that a summary says, while entries come."""

    def __init__(self) -> None:
        self.count = 0
        self.first: int | None = None
        self.last = 0
        self.rows: dict[Row, Tally] = {}
        self.places: Counter[tuple[str, str]] = Counter()
        self.errnos: Counter[tuple[str, str]] = Counter()
        self.lives: dict[int, list[Entry]] = {}
        self.builds: Counter[int] = Counter()

    def add(self, entry: Entry) -> None:
        self.count += 1
        self.first = entry.time if self.first is None else min(self.first, entry.time)
        self.last = max(self.last, entry.end)
        if entry.kind == "domain":
            # Its first records and its last one are enough to say what became of it.
            life = self.lives.setdefault(entry.domid, [])
            life[2:] = [entry]
            self.builds[entry.domid] += entry.name == "built"
            return
        # What has no name is a hypercall without a declaration: its number says which.
        name = entry.name or f"{entry.kind}_{entry.data.get('number', '')}"
        row = Row(entry.domid, entry.kind, name)
        if row not in self.rows and len(self.rows) >= LARGEST:
            row = Row(entry.domid, entry.kind, OTHERS)
        self.rows.setdefault(row, Tally()).add(entry)
        if entry.kind == "refusal":
            _count(self.errnos, (str(entry.data.get("errno")), name))
        elif entry.place is not None:
            _count(self.places, (str(entry.place), name))

    def of_kind(self, kind: str) -> Tally:
        """All of a kind together."""
        whole = Tally()
        for row, tally in self.rows.items():
            if row.kind == kind:
                whole.count += tally.count
                whole.refused += tally.refused
                whole.total += tally.total
                whole.longest = max(whole.longest, tally.longest)
                whole.buckets += tally.buckets
        return whole


def _count(counter: Counter[tuple[str, str]], key: tuple[str, str]) -> None:
    counter[key if key in counter or len(counter) < LARGEST else (OTHERS, "")] += 1
