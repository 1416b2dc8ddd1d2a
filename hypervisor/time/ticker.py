"""The periodic timer of a vcpu (public/vcpu.h, VCPUOP_set_periodic_timer)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.time.clock import Clock
    from paravane.time.timers import TimerQueue

DEFAULT_PERIOD: Final = 10_000_000
"""Nanoseconds. Every PV vcpu starts with a 100 Hz ticker and keeps it until it asks for another or none."""


class Ticker:
    """Calls `tick` every `period` nanoseconds (0: never) for as long as its vcpu has the processor.

    A vcpu without the processor is not woken for a tick. When it gets the processor back after a period or
    more, it gets one tick, however many it has missed.
    """

    def __init__(
        self, timers: TimerQueue, clock: Clock, tick: Callable[[], None], owner: str, period: int, last: int
    ) -> None:
        """`last` is when it ticked last, in nanoseconds of system time."""
        self._clock = clock
        self._tick = tick
        self._timer = timers.timer(owner, "tick", self.resume)
        self.last = last
        self.period = period

    def set(self, period: int) -> None:
        """Another period, from the last tick on: a vcpu whose last tick is that long ago gets one now."""
        self.pause()
        self.period = period
        self.resume()

    def resume(self) -> None:
        """The vcpu has the processor: give it the tick it missed, and the next one in time."""
        if not self.period:
            return
        now = self._clock.now()
        if now - self.last >= self.period:
            self.last = now
            self._tick()
        self._timer.arm(self.last + self.period)

    def pause(self) -> None:
        """The vcpu does not have the processor."""
        self._timer.disarm()
