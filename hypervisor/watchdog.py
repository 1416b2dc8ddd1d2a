"""A domain's watchdogs (SCHEDOP_watchdog, public/sched.h): forgotten for long enough, they shut it down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.platform import Platform
    from paravane.time.timers import Timer

WATCHDOGS = 2
SECOND = 1_000_000_000


class Watchdogs:
    """Ids count from 1; a watchdog that is set again is pushed back."""

    def __init__(self, platform: Platform, owner: str, expired: Callable[[], None]) -> None:
        """`owner` names the domain among the machine's timers."""
        self._platform = platform
        self._timers: list[Timer] = [
            platform.timers.timer(owner, f"watchdog {number + 1}", expired) for number in range(WATCHDOGS)
        ]
        self._used = [False] * WATCHDOGS

    def set(self, identity: int, seconds: int) -> int:
        """Id 0 takes a free watchdog and returns its id; another id pushes it back, or at 0 frees it."""
        deadline = self._platform.clock.now() + seconds * SECOND
        if identity == 0:
            return self._take(deadline)
        if identity > WATCHDOGS or not self._used[identity - 1]:
            raise Refusal(Errno.EINVAL, f"watchdog {identity} is not in use")
        if seconds:
            self._timers[identity - 1].arm(deadline)
        else:
            self._timers[identity - 1].disarm()
            self._used[identity - 1] = False
        return 0

    def stop(self) -> None:
        """The domain is gone: nothing is left to watch."""
        for timer in self._timers:
            timer.disarm()

    def _take(self, deadline: int) -> int:
        for index, used in enumerate(self._used):
            if not used:
                self._used[index] = True
                self._timers[index].arm(deadline)
                return index + 1
        raise Refusal(Errno.ENOSPC, f"all {WATCHDOGS} watchdogs are in use")
