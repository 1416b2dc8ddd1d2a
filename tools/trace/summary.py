"""`paravane trace FILE summary`: how much of what, how long it took, what was refused, and where."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from paravane.text import shown
from paravane.tools.status import Status
from paravane.tools.trace.tally import Tallies
from paravane.tools.trace.times import duration, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.tools.trace.source import Source
    from paravane.tools.trace.tally import Row, Tally
    from paravane.trace import Entry

TOP: Final = 10
"""Places shown."""
_BAR: Final = 40
"""Columns of the longest bar of a histogram."""
_NAME: Final = 36
_HEADING: Final = f"{'count':>9} {'refused':>8} {'total':>10} {'mean':>9} {'longest':>9}"


def summary(source: Source, top: int = TOP) -> Status:
    """Count all entries that are wanted, and print what there is to say."""
    tallies = Tallies()
    for entry in source.entries():
        tallies.add(entry)
    header = source.reader.header
    clock = f", {shown(header.clock)} clock" if header.clock else ""
    gateway = ", gateway off" if header.gateway_off else ""
    print(f"{tallies.count} entries{_span(tallies)}{clock}{gateway}")
    for part in (
        _lives(tallies),
        _rows(tallies),
        _refusals(tallies),
        _places(tallies, top),
        _histograms(tallies),
    ):
        lines = list(part)
        if lines:
            print("", *map(shown, lines), sep="\n")
    return Status.OK


def _span(tallies: Tallies) -> str:
    if tallies.first is None:
        return ""
    return f" from {seconds(tallies.first)} to {seconds(tallies.last)} s"


def _lives(tallies: Tallies) -> Iterator[str]:
    for domid, entries in sorted(tallies.lives.items()):
        builds = tallies.builds[domid]
        told = [_event(entry) for entry in (entries if builds < 2 else entries[-1:])]
        if builds >= 2:
            told.insert(0, f"built {builds} times")
        name = entries[0].data.get("domain_name", "")
        yield f"domain {domid}{f' ({name})' if name else ''}: {', '.join(told)}"


def _event(entry: Entry) -> str:
    why = entry.data.get("sentence") or entry.data.get("reason")
    return f"{entry.name} at {seconds(entry.time)}" + (f" ({why})" if why else "")


def _rows(tallies: Tallies) -> Iterator[str]:
    """A table for each domain: its kinds as headings, the names of each with the most frequent ones first."""
    ordered = sorted(tallies.rows.items(), key=lambda item: (item[0][:2], -item[1].count, item[0].name))
    for domid, rows in groupby(ordered, lambda item: item[0].domid):
        yield f"{f'domain {domid}':<{_NAME}} {_HEADING}"
        for kind, of_kind in groupby(rows, lambda item: item[0].kind):
            yield f"  {kind}"
            yield from (_row(row, tally) for row, tally in of_kind)


def _row(row: Row, tally: Tally) -> str:
    line = f"    {row.name:<{_NAME - 4}} {tally.count:>9} {tally.refused or '':>8}"
    if tally.total:
        line += f" {duration(tally.total):>10} {duration(tally.total // tally.count):>9}"
        line += f" {duration(tally.longest):>9}"
    return line.rstrip()


def _refusals(tallies: Tallies) -> Iterator[str]:
    ordered = sorted(tallies.errnos.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
    if ordered:
        yield "refusals"
    for errno, group in groupby(ordered, lambda item: item[0][0]):
        asked = [(name, count) for (_, name), count in group]
        names = ", ".join(f"{name} {count}" for name, count in asked)
        yield f"  {errno:<16} {sum(count for _, count in asked):>6}  {names}"


def _places(tallies: Tallies, top: int) -> Iterator[str]:
    ordered = sorted(tallies.places.items(), key=lambda item: (-item[1], item[0]))
    if ordered:
        yield f"places ({min(top, len(ordered))} of {len(ordered)})"
    for (place, name), count in ordered[:top]:
        yield f"  {count:>9}  {name:<28} {place}"


def _histograms(tallies: Tallies) -> Iterator[str]:
    """How long what takes time took: a line for each power of two."""
    for kind in sorted({row.kind for row in tallies.rows}):
        whole = tallies.of_kind(kind)
        if not whole.total:
            continue
        yield f"how long a {kind} took"
        most = max(whole.buckets.values())
        for bits in range(min(whole.buckets), max(whole.buckets) + 1):
            count = whole.buckets[bits]
            bar = "#" * -(-count * _BAR // most)
            limits = f"{duration(1 << bits >> 1)} to {duration(1 << bits)}" if bits else "no time"
            yield f"  {limits:<22} {count:>9}  {bar}".rstrip()
