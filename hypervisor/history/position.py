"""A place in a run."""

from __future__ import annotations

from paravane.classes import NamedTuple


class Position(NamedTuple):
    """The turn of the machine's journal (its looks outside, counted), and the instructions that were begun in
    the slice of that turn, 0 where there has been none. Of two, the smaller one was first."""

    turn: int
    instructions: int
