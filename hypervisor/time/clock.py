"""Where a machine's system time comes from. All times are nanoseconds since the machine was created.

The virtual clock makes runs repeatable: it moves with the guest's work (each trap costs a fixed amount,
each exhausted time slice costs the slice) and jumps over idle time. The host clock follows the host's
monotonic clock. One that follows it in steps is for runs that are recorded.
"""

from __future__ import annotations

import time
from array import array
from typing import Protocol

TRAP_COST = 1_000
"""Virtual nanoseconds a trap takes: the order of what a hypercall cost on the hardware of 2003."""

GATE_COST = 200
"""Virtual nanoseconds of a system call through a direct gate, which does not pass through the hypervisor."""

VIRTUAL_EPOCH = 1_000_000_000
"""Wall-clock seconds (2001-09-09 01:46:40 UTC) at which the virtual clock starts, for repeatable runs."""


class Clock(Protocol):
    """A source of system time."""

    def now(self) -> int:
        """System time."""
        ...

    def wall_base(self) -> int:
        """Wall-clock time (nanoseconds since 1970 UTC) at system time 0."""
        ...

    def trapped(self, cost: int = TRAP_COST) -> int:
        """The guest was interrupted once, for `cost` nanoseconds. Gives the system time after that."""
        ...

    def after(self, cost: int) -> int:
        """The system time when an interruption is over that ends now and takes `cost` nanoseconds."""
        ...

    def ran(self, nanoseconds: int) -> None:
        """The guest computed for a time slice of this length without entering the hypervisor."""
        ...

    def idle_until(self, deadline: int) -> int:
        """Nobody can run before `deadline`: how many nanoseconds the host should wait for it."""
        ...


class VirtualClock:
    """Time as a function of the guest's work alone."""

    def __init__(self) -> None:
        self.cell = array("q", (0,))
        """System time, where native code reads and writes it."""

    def now(self) -> int:
        return self.cell[0]

    def wall_base(self) -> int:
        return VIRTUAL_EPOCH * 1_000_000_000

    def trapped(self, cost: int = TRAP_COST) -> int:
        self.cell[0] = now = self.cell[0] + cost
        return now

    def after(self, cost: int) -> int:
        return self.cell[0] + cost

    def ran(self, nanoseconds: int) -> None:
        self.cell[0] += nanoseconds

    def idle_until(self, deadline: int) -> int:
        """Jump: the host never waits."""
        self.cell[0] = max(self.cell[0], deadline)
        return 0


class FollowingClock(VirtualClock):
    """The host's time, taken over where a run is looked at from outside and nowhere else: between two slices
    it is set, and in between it moves with the guest's work. So a run is a function of what it was set to."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = time.time_ns()
        """Wall-clock time at system time 0."""

    def wall_base(self) -> int:
        return self.wall

    def advance(self, nanoseconds: int) -> None:
        """The host's time is ahead by so much."""
        self.cell[0] += nanoseconds

    def idle_until(self, deadline: int) -> int:
        """Whoever looks outside meanwhile advances it."""
        return max(0, deadline - self.now())


class HostClock:
    """Time as the host's monotonic clock tells it."""

    def __init__(self) -> None:
        self.start = time.monotonic_ns()
        """The host's monotonic clock at system time 0."""
        self._wall = time.time_ns()

    def now(self) -> int:
        return time.monotonic_ns() - self.start

    def wall_base(self) -> int:
        return self._wall

    def trapped(self, cost: int = TRAP_COST) -> int:
        """Host time passes by itself."""
        return self.now()

    def after(self, cost: int) -> int:
        """Host time passes by itself."""
        return self.now()

    def ran(self, nanoseconds: int) -> None:
        """Host time passes by itself."""

    def idle_until(self, deadline: int) -> int:
        return max(0, deadline - self.now())
