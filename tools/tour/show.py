"""The tour as plain text: the list, and one stop with the figures of its run."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from paravane.text import shown
from paravane.tools.progress import columns
from paravane.tools.streams import STDOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from paravane.tools.tour.stop import Figure, Stop

WIDTH: Final = 96
"""Columns at most: longer lines are hard to read."""
NARROWEST: Final = 40
_NUMBER: Final = 12
"""Columns of a number."""


def width() -> int:
    """Columns of what is shown: those of the terminal, if stdout is one and they are neither too many nor too
    few."""
    return min(max(columns(STDOUT, WIDTH), NARROWEST), WIDTH)


def listing(stops: Sequence[Stop]) -> Iterator[str]:
    """A line for each stop: its number, its title, its section of the paper, its kernel."""
    title = max(len(stop.title) for stop in stops)
    for number, stop in enumerate(stops, 1):
        yield f"{number:>3}  {stop.title:<{title}}  {stop.section:<7}  {stop.kernel}"


def heading(number: int, stop: Stop, most: int = WIDTH) -> Iterator[str]:
    """The idea of a stop, before it is run."""
    yield f"{number}. {stop.title} (section {stop.section})"
    yield ""
    yield from textwrap.wrap(stop.idea, most)
    yield ""


def outcome(figures: Iterable[Figure], most: int = WIDTH) -> Iterator[str]:
    """What a run has shown, a line or a few for each figure."""
    for figure in figures:
        if isinstance(figure.value, int):
            first = f"{figure.value:>{_NUMBER},}  "
            yield from _wrapped(figure.what, most, first, " " * len(first))
        else:
            yield from _wrapped(f"{figure.what}:", most, "    ", "    ")
            yield from _wrapped(shown(figure.value), most, " " * 8, " " * 8)


def _wrapped(text: str, most: int, first: str, others: str) -> list[str]:
    return textwrap.wrap(text, most, initial_indent=first, subsequent_indent=others)
