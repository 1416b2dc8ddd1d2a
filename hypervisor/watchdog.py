"""A domain's watchdogs (SCHEDOP_watchdog, public/sched.h): forgotten for long enough, they shut it down."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.classes import dataclass
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.platform import Platform
    from paravane.time.timers import Timer

WATCHDOGS = 2
SECOND = 1_000_000_000


@dataclass(slots=True)
class WatchdogState:
    """When each watchdog fires, in system time; None for one that is not in use."""

    deadlines: list[int | None] = field(default_factory=lambda: [None] * WATCHDOGS)


class Watchdogs:
    """Ids count from 1; a watchdog that is set again is pushed back."""

    def __init__(
        self, platform: Platform, owner: str, expired: Callable[[], None], state: WatchdogState | None = None
    ) -> None:
        """`owner` names the domain among the machine's timers. With a `state` that was kept, its watchdogs go
        on where they were."""
        self.state = WatchdogState() if state is None else state
        self._platform = platform
        self._timers: list[Timer] = [
            platform.timers.timer(owner, f"watchdog {number + 1}", expired) for number in range(WATCHDOGS)
        ]
        for timer, deadline in zip(self._timers, self.state.deadlines, strict=True):
            if deadline is not None:
                timer.arm(deadline)

    def restore(self, state: WatchdogState) -> None:
        """Go on from what was kept; the timers are armed by whoever keeps those of the machine. Raises
        ValueError for another number of watchdogs."""
        if len(state.deadlines) != WATCHDOGS:
            raise ValueError(f"a domain has {WATCHDOGS} watchdogs, not {len(state.deadlines)}")
        self.state = WatchdogState(list(state.deadlines))

    def set(self, identity: int, seconds: int) -> int:
        """Id 0 takes a free watchdog and returns its id; another id pushes it back, or at 0 frees it."""
        deadline = self._platform.clock.now() + seconds * SECOND
        if identity == 0:
            return self._take(deadline)
        if identity > WATCHDOGS or self.state.deadlines[identity - 1] is None:
            raise Refusal(Errno.EINVAL, f"watchdog {identity} is not in use")
        if seconds:
            self._arm(identity - 1, deadline)
        else:
            self._timers[identity - 1].disarm()
            self.state.deadlines[identity - 1] = None
        return 0

    def stop(self) -> None:
        """The domain is gone: nothing is left to watch."""
        for timer in self._timers:
            timer.disarm()

    def resume(self) -> None:
        """The domain that had ended goes on after all, and so do its watchdogs. As in Xen, what would have
        expired meanwhile never does: its guest has it in use until it pushes it back or frees it."""
        now = self._platform.clock.now()
        for timer, deadline in zip(self._timers, self.state.deadlines, strict=True):
            if deadline is not None and deadline > now:
                timer.arm(deadline)

    def _take(self, deadline: int) -> int:
        for index, armed in enumerate(self.state.deadlines):
            if armed is None:
                self._arm(index, deadline)
                return index + 1
        raise Refusal(Errno.ENOSPC, f"all {WATCHDOGS} watchdogs are in use")

    def _arm(self, index: int, deadline: int) -> None:
        self.state.deadlines[index] = deadline
        self._timers[index].arm(deadline)
