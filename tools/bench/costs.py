"""Rows measured beside their floors, by turns, and what is said of them."""

from __future__ import annotations

import fnmatch
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from paravane.tools.bench import memory, start, traps
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.tools.bench.row import Row

BENCHES: Final = {"traps": traps.ROWS, "memory": memory.ROWS, "start": start.ROWS}

_FLOOR: Final = "floor"
_UNITS: Final = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))


class Cost(NamedTuple):
    """Of one row: seconds of an operation by each gateway, and of its floor; the least of all rounds."""

    row: Row
    floor: float
    taken: dict[str, float]

    def data(self) -> dict[str, object]:
        """For JSON, in microseconds."""
        of_gateways = {f"{name}_us": _microseconds(taken) for name, taken in self.taken.items()}
        return {
            "row": self.row.name,
            "what": self.row.what,
            "floor": self.row.floor.what,
            "floor_us": _microseconds(self.floor),
            **of_gateways,
        }


def selected(bench: str, patterns: Sequence[str]) -> list[Row]:
    """The rows of one bench that any pattern of the shell's kind names; without patterns all."""
    if not patterns:
        return list(BENCHES[bench])
    return [row for row in BENCHES[bench] if any(fnmatch.fnmatchcase(row.name, one) for one in patterns)]


def check_patterns(benches: Sequence[str], patterns: Sequence[str]) -> None:
    """UsageError for a pattern that names no row of these."""
    names = [row.name for bench in benches for row in BENCHES[bench]]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UsageError(f"no row is called {pattern!r}: there are {', '.join(names)}")


def measure(row: Row, gateways: Sequence[str], rounds: int) -> Cost:
    """Everybody has a turn in each round: what the host does meanwhile meets all of them."""
    with ExitStack() as stack:
        prepared = {_FLOOR: stack.enter_context(row.floor.prepare())}
        for name in gateways:
            prepared[name] = stack.enter_context(row.prepare(name))
        turns = [{name: once() for name, once in prepared.items()} for _ in range(rounds)]
    least = {name: min(turn[name] for turn in turns) for name in prepared}
    return Cost(row, least.pop(_FLOOR), least)


def table(costs: Sequence[Cost], gateways: Sequence[str]) -> list[list[str]]:
    """A head, and a row for each: what it took, how many floors that is, and how much of Python's time C
    takes."""
    rows = [["row", *(cell for name in gateways for cell in (name, "floors"))]]
    compared = len(gateways) > 1
    rows[0] += [*(["python / c"] if compared else []), _FLOOR, "which is"]
    for cost in costs:
        cells = [cost.row.name]
        for taken in cost.taken.values():
            cells += [duration(taken), f"{taken / cost.floor:.1f}"]
        if compared:
            python, c = cost.taken.values()
            cells.append(f"{python / c:.1f}")
        rows.append([*cells, duration(cost.floor), cost.row.floor.what])
    return rows


def duration(seconds: float) -> str:
    """Three digits, in the unit that has one before the point."""
    unit, size = next((one for one in _UNITS if seconds >= one[1]), _UNITS[-1])
    number = seconds / size
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f} {unit}"


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e6, 4)
