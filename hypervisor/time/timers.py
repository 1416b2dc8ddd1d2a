"""One-shot timers in system time, ordered by deadline."""

from __future__ import annotations

import heapq
from array import array
from itertools import count
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from paravane.classes import NamedTuple, dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = 1 << 62
"""A deadline that never comes, 146 years after a machine began: timers are not set so far, where system times
would soon need more bits than a guest's records have. (An idle machine waits for none that is a tenth so far
away: `idle.FARTHEST`.)"""

MACHINE = "machine"
"""The owner of the timers that are no domain's."""

_FEW = 256
"""Entries a queue may have before anybody looks for stale ones."""


class Late(Protocol):
    """Says by how many nanoseconds the next timer is late, and can be kept (`paravane.variation`)."""

    def __call__(self) -> int: ...

    def save(self) -> bytes: ...

    def restore(self, state: bytes) -> None: ...


def system_time(value: int) -> int:
    """A guest's 64-bit number as a system time: they are signed, so one from 2**63 on has long passed."""
    return value - (1 << 64) if value >> 63 else value


@dataclass(frozen=True, slots=True)
class TimersState:
    """All that has to be kept of the timers of a machine: the armed ones with their deadlines, in the order
    in which they will fire, and what `TimerQueue.deadline` says, which may be earlier than any of them."""

    armed: tuple[tuple[TimerName, int], ...]
    deadline: int


class TimerName(NamedTuple):
    """Whose timer it is (`MACHINE`, "d1", "d1v0") and what for ("poll", "tick"): the same in every run, which
    a callback is not."""

    owner: str
    kind: str


class Timer:
    """One timer: unarmed, or armed for a deadline in nanoseconds of system time."""

    def __init__(self, queue: TimerQueue, name: TimerName, fired: Callable[[], None]) -> None:
        self._queue = queue
        self.name = name
        self.fired = fired
        self.deadline = NEVER

    def arm(self, deadline: int) -> None:
        """Fire once when system time reaches `deadline`; replaces an earlier deadline."""
        late = self._queue.late
        if late is not None and deadline < NEVER and self.name.owner != MACHINE:
            deadline += late()
        self.deadline = min(deadline, NEVER)
        if deadline < NEVER:
            self._queue.add(self)

    def disarm(self) -> None:
        if self._queue.observer is not None and self.deadline != NEVER:
            self._queue.observer("disarmed", self.name, self.deadline)
        self.deadline = NEVER


class TimerQueue:
    """Every timer of a machine. A re-armed timer leaves its old entry behind, dropped when it surfaces.

    `deadline` is never later than the earliest armed one: what a hot path compares with the clock.
    `observer`, if there is one, is told when timers are `armed`, `disarmed` and have `expired`; `earlier`,
    when one is armed for a deadline before all others. `late`, if there is one, says by how many nanoseconds
    the next timer that is armed will be late; the machine's own are in time.
    """

    def __init__(self) -> None:
        self.deadline = NEVER
        self.cell = array("q", (NEVER,))
        """`deadline`, for native code."""
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = count()
        self._limit = _FEW
        self._named: WeakValueDictionary[TimerName, Timer] = WeakValueDictionary()
        self.observer: Callable[[str, TimerName, int], None] | None = None
        self.earlier: Callable[[int], None] | None = None
        self.late: Late | None = None

    @property
    def size(self) -> int:
        """Entries it keeps, stale ones included."""
        return len(self._heap)

    def timer(self, owner: str, kind: str, fired: Callable[[], None]) -> Timer:
        """A new, unarmed timer that calls `fired` each time it expires."""
        made = self._named[TimerName(owner, kind)] = Timer(self, TimerName(owner, kind), fired)
        return made

    def save(self) -> TimersState:
        """What `restore` goes on from."""
        return TimersState(tuple(self.armed()), self.deadline)

    def restore(self, state: TimersState) -> None:
        """Have those timers armed that were, and no others; their owners are there. Raises ValueError, a
        sentence, for one that nobody has."""
        for timer in self._named.values():
            timer.deadline = NEVER
        self._heap.clear()
        for name, deadline in state.armed:
            found = self._named.get(name)
            if found is None or deadline >= NEVER:
                raise ValueError(f"there is no timer {name.kind!r} of {name.owner!r} to be armed")
            found.deadline = deadline
            heapq.heappush(self._heap, (deadline, next(self._order), found))
        self.deadline = self.cell[0] = min(state.deadline, self.next_deadline())

    def armed(self) -> list[tuple[TimerName, int]]:
        """The armed timers with their deadlines, in the order in which they will fire. Owners that arm theirs
        again in this order restore the queue."""
        found: dict[Timer, int] = {}
        for deadline, _, timer in sorted(self._heap, key=_order):
            if deadline == timer.deadline:
                found.setdefault(timer, deadline)
        return [(timer.name, deadline) for timer, deadline in found.items()]

    def add(self, timer: Timer) -> None:
        if len(self._heap) >= self._limit:
            self._forget_stale()
        heapq.heappush(self._heap, (timer.deadline, next(self._order), timer))
        if self.observer is not None:
            self.observer("armed", timer.name, timer.deadline)
        if timer.deadline < self.deadline:
            self.deadline = self.cell[0] = timer.deadline
            if self.earlier is not None:
                self.earlier(timer.deadline)

    def next_deadline(self) -> int:
        """The earliest armed deadline, or NEVER."""
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].deadline:
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def expire(self, now: int) -> None:
        """Fire, in order of their deadlines, the timers that are due at `now`."""
        while (deadline := self.next_deadline()) <= now and deadline != NEVER:
            timer = heapq.heappop(self._heap)[2]
            timer.deadline = NEVER
            if self.observer is not None:
                self.observer("expired", timer.name, deadline)
            timer.fired()
        self.deadline = self.cell[0] = self.next_deadline()

    def _forget_stale(self) -> None:
        """A guest may set one timer again and again to a time far away: keep an entry per armed timer."""
        live = {entry[2]: entry for entry in self._heap if entry[0] == entry[2].deadline}
        self._heap = list(live.values())
        heapq.heapify(self._heap)
        self._limit = max(_FEW, 2 * len(self._heap))


def _order(entry: tuple[int, int, Timer]) -> tuple[int, int]:
    return entry[0], entry[1]
