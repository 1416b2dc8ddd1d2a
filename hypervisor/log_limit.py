"""Lines in the log that a guest causes: so many at once, then so many a second, as Xen's printk_ratelimit.

Time is system time, so that what is dropped is a function of what the guest does.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from paravane.arguments import check_type
from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogRate:
    """`burst` lines at once, and then `per_second`. (Xen has 10 for all guests, and one in five seconds: too
    few for a kernel that boots.)"""

    burst: int = 1000
    per_second: int = 100

    def __post_init__(self) -> None:
        """Raises TypeError and ValueError."""
        for name in ("burst", "per_second"):
            number = getattr(self, name)
            check_type(name, number, int)
            if number < 1:
                raise ValueError(f"{name} must be 1 or more, not {number}")


@dataclass(frozen=True, slots=True)
class LineLimitState:
    """All that has to be kept of a limit: what is left, when that was so, and how many lines were dropped
    since."""

    left: int
    last: int
    dropped: int


class LineLimit:
    """Counts the lines of one domain."""

    def __init__(self, rate: LogRate, now: Callable[[], int]) -> None:
        """`now` is the time in nanoseconds."""
        self._rate = rate
        self._now = now
        self._cost = _SECOND // rate.per_second
        # What is left, in nanoseconds of the time that it takes to earn it.
        self._most = self._left = rate.burst * self._cost
        self._last = now()
        self._dropped = 0

    def save(self) -> LineLimitState:
        """What `restore` goes on from."""
        return LineLimitState(self._left, self._last, self._dropped)

    def restore(self, state: LineLimitState) -> None:
        """Go on from what `save` gave."""
        self._left, self._last, self._dropped = min(state.left, self._most), state.last, state.dropped

    def take(self) -> str | None:
        """Whether a line may be put out: None when it is dropped, else what is to be said before it, mostly
        nothing."""
        now = self._now()
        self._left = min(self._left + now - self._last, self._most)
        self._last = now
        if self._left < self._cost:
            self._dropped += 1
            return None
        self._left -= self._cost
        return self.settle()

    def settle(self) -> str:
        """Say how many lines were dropped that nobody was told of; nothing when there are none."""
        dropped, self._dropped = self._dropped, 0
        if not dropped:
            return ""
        return f"{dropped} lines were dropped: {self._rate.per_second} a second are shown"


class DomainLog(logging.LoggerAdapter["logging.Logger"]):
    """The log of one domain. Warnings are limited; what is below them has to be asked for, and is not."""

    def __init__(
        self, logger: logging.Logger, limit: LineLimit, muted: Callable[[], bool] = lambda: False
    ) -> None:
        """While it is `muted` nothing is put out, and lines count as ever."""
        super().__init__(logger, {})
        self.limit = limit
        self._muted = muted

    def put(self, line: str) -> None:
        """A warning that has been counted already."""
        if not self._muted():
            self.logger.warning("%s", line)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """As any logger."""
        if level >= logging.WARNING:
            before = self.limit.take()
            if before is None:
                return
            if before:
                self.put(before)
        if not self._muted():
            super().log(level, msg, *args, **kwargs)
