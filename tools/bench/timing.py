"""How long one operation takes: as many of them at a time as it takes to tell."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 0.01
"""Seconds that a measurement takes at least."""

LEAST = 16
"""Operations, or turns of a guest's loop, in a measurement at least: one of them may be cut in two."""


class Growing:
    """Measures `work`, which does something as often as it is told and gives how often it did."""

    def __init__(
        self, work: Callable[[int], int], operations: int = 1, clock: Callable[[], float] = time.process_time
    ) -> None:
        """Each time it is done is so many `operations`. `clock` is the processor's time, which other
        processes of the host do not change, except for what may sleep."""
        self._work = work
        self._operations = operations
        self._clock = clock
        self._times = 1
        while not self._enough(*self._measure()):
            self._times *= 2

    def measure(self) -> float:
        """Seconds for one operation."""
        took, done = self._measure()
        return took / done / self._operations

    def _measure(self) -> tuple[float, int]:
        began = self._clock()
        done = self._work(self._times)
        return self._clock() - began, done

    def _enough(self, took: float, done: int) -> bool:
        return took >= WINDOW and done >= LEAST
