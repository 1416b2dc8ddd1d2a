"""Requests of a disk that is slow: each begins when it would be done."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.devices.block.request import Request
    from paravane.time.timers import TimerQueue


class LateRequests:
    """Those of one connection. They are bounded by its ring, and may overtake each other, as on any disk that
    takes several at a time."""

    def __init__(
        self, now: Callable[[], int], timers: TimerQueue, owner: str, kind: str, wake: Callable[[], None]
    ) -> None:
        """`now` gives system time in nanoseconds; `wake` is called when one may be due."""
        self._now = now
        self._waiting: list[tuple[int, int, Request]] = []
        self._order = count()
        self._timer = timers.timer(owner, kind, wake)

    def add(self, request: Request, delay: int) -> None:
        """It is due after so many nanoseconds."""
        heapq.heappush(self._waiting, (self._now() + delay, next(self._order), request))
        self._timer.arm(self._waiting[0][0])

    def due(self) -> Iterator[Request]:
        """Those that have waited long enough, each forgotten as it comes. Where they are not all taken the
        caller comes again."""
        while self._waiting and self._waiting[0][0] <= self._now():
            yield heapq.heappop(self._waiting)[2]
        if self._waiting:
            self._timer.arm(self._waiting[0][0])

    def close(self) -> None:
        """Nobody waits for an answer any more."""
        self._waiting.clear()
        self._timer.disarm()
