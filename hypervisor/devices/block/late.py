"""Requests of a disk that is slow: each begins when it would be done."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.devices.block.request import Request
    from paravane.time.timers import TimerQueue


class LateRequest(NamedTuple):
    """A request, the system time at which it is due, and its place among those of that time."""

    due: int
    order: int
    request: Request


class LateRequests:
    """Those of one connection. They are bounded by its ring, and may overtake each other, as on any disk that
    takes several at a time."""

    def __init__(
        self, now: Callable[[], int], timers: TimerQueue, owner: str, kind: str, wake: Callable[[], None]
    ) -> None:
        """`now` gives system time in nanoseconds; `wake` is called when one may be due."""
        self._now = now
        self._waiting: list[LateRequest] = []
        self._ordered = 0
        self._timer = timers.timer(owner, kind, wake)

    def add(self, request: Request, delay: int) -> None:
        """It is due after so many nanoseconds."""
        heapq.heappush(self._waiting, LateRequest(self._now() + delay, self._ordered, request))
        self._ordered += 1
        self._timer.arm(self._waiting[0].due)

    def due(self) -> Iterator[Request]:
        """Those that have waited long enough, each forgotten as it comes. Where they are not all taken the
        caller comes again."""
        while self._waiting and self._waiting[0].due <= self._now():
            yield heapq.heappop(self._waiting).request
        if self._waiting:
            self._timer.arm(self._waiting[0].due)

    def save(self) -> tuple[LateRequest, ...]:
        """Those that wait, for `restore`."""
        return tuple(sorted(self._waiting))

    def restore(self, waiting: tuple[LateRequest, ...]) -> None:
        """Have these wait. Their timer is armed by who restores all timers."""
        self._waiting = sorted(waiting)
        self._ordered = 1 + max((one.order for one in waiting), default=-1)

    def close(self) -> None:
        """Nobody waits for an answer any more."""
        self._waiting.clear()
        self._timer.disarm()
