"""What is read of an entry's data, which may hold anything, and text that is fit for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from paravane.text import shown

if TYPE_CHECKING:
    from collections import Counter

LONGEST: Final = 300
"""Characters of one text of a trace that are shown."""
OTHERS: Final = "(others)"
"""Stands for what is not told apart any more."""

_T = TypeVar("_T")


def number_of(data: dict[str, Any], name: str) -> int | None:
    """A number that no field of a record exceeds; None where there is none."""
    value = data.get(name)
    return value if type(value) is int and -(1 << 63) <= value < 1 << 64 else None


def numbers_of(data: dict[str, Any], name: str) -> list[int]:
    """The numbers of a list; what else it has is left out."""
    value = data.get(name)
    return [item for item in value if type(item) is int] if isinstance(value, list) else []


def text_of(data: dict[str, Any], name: str) -> str:
    """A text, fit to be shown; empty where there is none."""
    value = data.get(name)
    return fit(value) if isinstance(value, str) else ""


def fit(text: str) -> str:
    """A guest's text as the page shows it: of bounded length, without what changes how others are read."""
    whole = shown(text[:LONGEST])
    return whole[:LONGEST] + "..." if len(text) > LONGEST or len(whole) > LONGEST else whole


def counted(counter: Counter[_T], what: _T, most: int, others: _T) -> None:
    """Count one more of it; what is new when `most` are told apart is one of the `others`."""
    counter[what if what in counter or len(counter) < most else others] += 1


class Texts:
    """Texts by number, each held once: 0 is the empty one, and stands for those that found no room."""

    def __init__(self, room: int) -> None:
        """`room` is in characters, of all texts together."""
        self.all: list[str] = [""]
        self.left_out = 0
        self._room = room
        self._known = {"": 0}

    def number(self, text: str) -> int:
        """The number of a text, after `fit`."""
        text = fit(text)
        found = self._known.get(text)
        if found is None:
            if len(text) > self._room:
                self.left_out += 1
                return 0
            self._room -= len(text)
            found = self._known[text] = len(self.all)
            self.all.append(text)
        return found
