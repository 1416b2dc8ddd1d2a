"""Rectangles of a picture, and the part of it that has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_RECTS: Final = 16
"""Rectangles of a region; with more of them it becomes the one that has them all."""


class Rect(NamedTuple):
    """Pixels, from the picture's upper left corner on. Without pixels where a side is 0 or less."""

    x: int
    y: int
    width: int
    height: int

    def __bool__(self) -> bool:
        return self.width > 0 and self.height > 0

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    def within(self, other: Rect) -> Rect:
        """The part that lies in another rectangle, maybe without pixels."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        return Rect(x, y, min(self.right, other.right) - x, min(self.bottom, other.bottom) - y)

    def around(self, other: Rect) -> Rect:
        """The smallest rectangle with both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Rect(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)

    def bands(self, pixels: int) -> Iterator[Rect]:
        """The same as rectangles of about so many pixels, from the top on."""
        rows = max(1, pixels // self.width)
        for y in range(self.y, self.bottom, rows):
            yield Rect(self.x, y, self.width, min(rows, self.bottom - y))


class Region:
    """A part of a picture as a few rectangles, which may overlap: it may grow, but never misses a pixel."""

    def __init__(self) -> None:
        self._rects: list[Rect] = []

    def add(self, rect: Rect) -> None:
        """Nothing happens for a rectangle without pixels."""
        if not rect or any(rect.within(known) == rect for known in self._rects):
            return
        self._rects = [known for known in self._rects if known.within(rect) != known]
        self._rects.append(rect)
        if len(self._rects) > MOST_RECTS:
            whole = rect
            for known in self._rects:
                whole = whole.around(known)
            self._rects = [whole]

    def touches(self, area: Rect) -> bool:
        """Whether some of it lies in `area`."""
        return any(known.within(area) for known in self._rects)

    def take(self, area: Rect) -> list[Rect]:
        """What of it lies in `area`, which is not in the region any more. What lies outside stays, and
        something of `area` with it where a rectangle reaches out of it."""
        taken = [part for known in self._rects if (part := known.within(area))]
        self._rects = [known for known in self._rects if known.within(area) != known]
        return taken

    def clear(self) -> None:
        self._rects.clear()
