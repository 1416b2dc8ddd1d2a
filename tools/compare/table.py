"""A comparison as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.text import shown
from paravane.tools.compare.comparison import PC, PC_ONLY, SHARED, XEN, XEN_ONLY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paravane.tools.compare.comparison import Comparison
    from paravane.tools.compare.costs import Costs

_FIGURES: Final = (
    ("exits", "nr_exits"),
    ("emulated", "instructions"),
    ("entries", "entries"),
    ("flushes", "flushes"),
    ("of a page", "page_flushes"),
)
_WIDTH: Final = 100


def table(comparison: Comparison) -> list[str]:
    """Its lines: what each phase costs side by side, the reasons of the exits, and what else was asked
    for."""
    modes = comparison.modes
    lines = [
        f"{shown(comparison.kernel)} on {XEN} and on a {PC} (shadow {modes.shadow.value}, sensitive "
        f"{modes.sensitive.value}); all traps in Python",
        "",
        *aligned(_side_by_side(comparison)),
        "",
        "what the exits were for:",
    ]
    for name, xen, pc in comparison.rows():
        lines += [name, *reasons(XEN, xen), *reasons(PC, pc)]
    if comparison.lines is not None:
        lines += ["", *aligned(_code(comparison.lines))]
    if comparison.seconds is not None:
        xen_seconds, pc_seconds = comparison.seconds
        lines += ["", f"host: the {PC} takes {pc_seconds / xen_seconds:.1f} times as long as {XEN} here, now"]
    return lines


def _side_by_side(comparison: Comparison) -> list[tuple[str, ...]]:
    """Two columns for each figure, and one for how many exits the one has for each of the other's."""
    heads = [cell for head, _ in _FIGURES for cell in ("", head)]
    places = ["Xen", "PC"] * len(_FIGURES)
    rows: list[tuple[str, ...]] = [("", *heads[:2], "", *heads[2:]), ("phase", *places[:2], ":", *places[2:])]
    for name, xen, pc in comparison.rows():
        cells = [str(getattr(costs, figure)) for _, figure in _FIGURES for costs in (xen, pc)]
        rows.append((name, *cells[:2], _ratio(pc.nr_exits, xen.nr_exits), *cells[2:]))
    return rows


def _ratio(much: int, little: int) -> str:
    return f"{much / little:.1f}" if little else "-"


def reasons(where: str, costs: Costs) -> list[str]:
    """What the exits there were for, broken between two reasons where it gets long."""
    counted = sorted(costs.exits.items(), key=lambda item: (-item[1], item[0]))
    head = f"  {where + ':':<9}"
    lines, line = [], head
    for at, (reason, count) in enumerate(counted):
        word = f" {count} {reason}" + (";" if at + 1 < len(counted) else "")
        if len(line) + len(word) > _WIDTH:
            lines.append(line)
            line = " " * len(head)
        line += word
    return [*lines, line if counted else f"{head} none"]


def _code(found: Mapping[str, Mapping[str, int]]) -> list[tuple[str, ...]]:
    """Lines by folder, those with most first."""
    whose = (SHARED, XEN_ONLY, PC_ONLY)
    folders = {folder for of in found.values() for folder in of}
    rows = {folder: [found[one].get(folder, 0) for one in whose] for folder in folders}
    order = sorted(rows, key=lambda folder: (-sum(rows[folder]), folder))
    sums = [sum(found[one].values()) for one in whose]
    return [
        ("lines executed", *whose),
        *((folder, *map(str, rows[folder])) for folder in order),
        ("total", *map(str, sums)),
    ]


def aligned(rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """The first columns, of `words`, to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < words else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
