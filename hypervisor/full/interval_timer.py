"""The 8254 interval timer of a PC (Intel 8254 data sheet, order 231164), and the port that gates its speaker.

Counter 0 makes interrupt request 0; counter 2 is for who measures by it (port 0x61); counter 1, which
refreshed memory once, counts. Binary counting only, as every PC's kernel has it; modes 0, 2 and 3, of which
the others are taken for mode 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.time.clock import Clock
    from paravane.time.timers import TimerQueue

HERTZ: Final = 1_193_182
"""How often a second the counters count."""

PORTS: Final = (0x40, 0x41, 0x42, 0x43, 0x61)

_CONTROL, _SPEAKER = 0x43, 0x61
_SECOND: Final = 1_000_000_000
_LOW, _HIGH, _BOTH = 1, 2, 3
_READ_BACK: Final = 3
_NO_COUNT, _NO_STATUS = 0x20, 0x10
_GATE, _OUTPUT = 0x01, 0x20
_SHORTEST: Final = 100_000
"""Nanoseconds between two interrupts at least: a guest that asks for more of them has the host do nothing
else."""


class Counter:
    """One of the three. It counts down from `start` (0: 65536) as time passes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.mode = 3
        self.start = 0x10000
        self.began = clock.now()
        self._access = _BOTH
        self._word = _BOTH << 4 | 3 << 1
        self._status: int | None = None
        self._latched: list[int] = []
        self._half: int | None = None
        self._reads_high = False

    @property
    def periodic(self) -> bool:
        return self.mode in (2, 3)

    @property
    def period(self) -> int:
        """Nanoseconds until the count has come to its end."""
        return self.start * _SECOND // HERTZ

    @property
    def elapsed(self) -> int:
        """Counts since it began."""
        return (self._clock.now() - self.began) * HERTZ // _SECOND

    @property
    def count(self) -> int:
        """What it has come to."""
        elapsed = self.elapsed
        if self.mode == 3:  # by two, twice as often
            return self.start - (elapsed * 2) % self.start & 0xFFFF
        return self.start - (elapsed % self.start if self.periodic else elapsed) & 0xFFFF

    @property
    def output(self) -> bool:
        """The level of its output."""
        elapsed = self.elapsed
        if self.mode == 3:
            return elapsed % self.start < (self.start + 1) // 2
        return elapsed % self.start != self.start - 1 if self.mode == 2 else elapsed >= self.start

    def control(self, value: int) -> None:
        """The control word that is for it: latch, or how it counts and is accessed."""
        access = value >> 4 & 3
        if not access:
            self.latch()
            return
        mode = value >> 1 & 7
        self.mode = {6: 2, 7: 3}.get(mode, mode if mode in (2, 3) else 0)
        self._word = value & 0x3F
        self._access, self._half, self._reads_high = access, None, False
        self._latched.clear()

    def latch(self) -> None:
        """Keep the count for the next read."""
        if not self._latched:
            count = self.count
            low, high = count & 0xFF, count >> 8
            self._latched = {_LOW: [low], _HIGH: [high], _BOTH: [low, high]}[self._access]

    def latch_status(self) -> None:
        """Keep the level of the output and the last control word for the next read."""
        if self._status is None:
            self._status = self.output << 7 | self._word

    def read(self) -> int:
        if self._status is not None:
            status, self._status = self._status, None
            return status
        if self._latched:
            return self._latched.pop(0)
        count = self.count
        if self._access != _BOTH:
            return count & 0xFF if self._access == _LOW else count >> 8
        self._reads_high = not self._reads_high
        return count & 0xFF if self._reads_high else count >> 8

    def write(self, value: int) -> bool:
        """A byte of the start; whether that is complete and it begins to count."""
        if self._access == _BOTH and self._half is None:
            self._half = value
            return False
        if self._access == _BOTH:
            assert self._half is not None
            value, self._half = value << 8 | self._half, None
        elif self._access == _HIGH:
            value <<= 8
        self.start, self.began = value or 0x10000, self._clock.now()
        return True


class IntervalTimer:
    """The three counters. `fired` is called for each interrupt of counter 0, late if its vcpu is."""

    def __init__(self, clock: Clock, timers: TimerQueue, owner: str, fired: Callable[[], None]) -> None:
        self._clock = clock
        self._counters = [Counter(clock) for _ in range(3)]
        self._fired = fired
        self._timer = timers.timer(owner, "8254", self._expired)
        self._due = 0
        self._speaker = 0

    def read(self, port: int) -> int:
        if port == _SPEAKER:
            return self._speaker & 3 | _OUTPUT * self._counters[2].output
        return 0 if port == _CONTROL else self._counters[port & 3].read()

    def write(self, port: int, value: int) -> None:
        if port == _SPEAKER:
            if value & ~self._speaker & _GATE:  # its gate opens: it begins anew
                self._counters[2].began = self._clock.now()
            self._speaker = value
        elif port == _CONTROL:
            self._control(value)
        elif self._counters[port & 3].write(value) and port & 3 == 0:
            self._due = self._clock.now() + self._period
            self._timer.arm(self._due)

    def close(self) -> None:
        """No interrupt comes any more."""
        self._timer.disarm()

    @property
    def _period(self) -> int:
        return max(self._counters[0].period, _SHORTEST)

    def _control(self, value: int) -> None:
        select = value >> 6
        if select != _READ_BACK:
            counter = self._counters[select]
            counter.control(value)
            if select == 0 and value >> 4 & 3:
                self._timer.disarm()
            return
        for number, counter in enumerate(self._counters):
            if value >> 1 + number & 1:
                if not value & _NO_COUNT:
                    counter.latch()
                if not value & _NO_STATUS:
                    counter.latch_status()

    def _expired(self) -> None:
        if self._counters[0].periodic:
            # As many as were missed are lost, as those are that come while one waits to be served.
            now = self._clock.now()
            self._due += -(-(now + 1 - self._due) // self._period) * self._period
            self._timer.arm(self._due)
        self._fired()
