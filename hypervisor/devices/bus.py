"""Which backends have something to do, and when they get to do it.

An event to a backend only puts it on the bus: no backend works inside the hypercall that sent the event,
where nothing could interrupt it. It works in portions. The first follows as its domain returns to the guest,
so that a guest that polls instead of waiting sees an answer when it goes on. Whatever is left has its turn
between the time slices of the vcpus, one portion for each domain that has something due, so that no domain
keeps another one's backends waiting. Whoever gives a portion hears what it cost, and lets that time pass.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, Protocol

from paravane.devices.observers import DeviceObservers

if TYPE_CHECKING:
    from paravane.devices.faults import DeviceFaults

BACKEND_PORTION: Final = 1024
"""Units of work (`paravane.preemption`: about a microsecond of the host's time each) in one portion."""


class Budget:
    """The units of work of one portion. The last item may overdraw it: an item is never split."""

    __slots__ = ("_limit", "spent")

    def __init__(self, limit: int = BACKEND_PORTION) -> None:
        self._limit = limit
        self.spent = 0

    def spend(self, units: int) -> None:
        """Units were done."""
        self.spent += units

    @property
    def exhausted(self) -> bool:
        return self.spent >= self._limit


class Port(Protocol):
    """A backend's end of an event channel."""

    def notify(self) -> None:
        """Fire the guest's end."""
        ...

    def close(self) -> None:
        """Give the channel up. Idempotent."""
        ...


class Backend(Protocol):
    """One device of one domain, as the bus sees it."""

    @property
    def domid(self) -> int:
        """The domain whose device it is, which its work is charged to."""
        ...

    def serve(self, budget: Budget) -> bool:
        """Do what is due, item by item, until nothing is or the budget is exhausted; each item spends what it
        cost. True when something is left that could be done now. Must not raise, whatever the guest did."""
        ...


class Bus:
    """The backends of one machine that have something due, and who is told what they do."""

    def __init__(self) -> None:
        # domid -> its due backends, in the order they were called. An empty dict is what a return to the
        # guest looks at, so a domain without anything due is not in here.
        self.due: dict[int, dict[Backend, None]] = {}
        self.cell = array("q", (0,))
        """Whether `due` has any, for native code."""
        self.observers = DeviceObservers()
        self.faults: DeviceFaults | None = None
        """What goes wrong, if anything is to."""
        self.host_works = 0
        """What threads of the host do for guests now. Virtual time does not jump over it: to a guest its disk
        would seem to take as long as it has timers."""

    def call(self, backend: Backend) -> None:
        """The backend has something to do. Idempotent."""
        self.due.setdefault(backend.domid, {})[backend] = None
        self.cell[0] = 1

    def remove(self, backend: Backend) -> None:
        """The backend is gone. Idempotent."""
        backends = self.due.get(backend.domid)
        if backends is not None:
            backends.pop(backend, None)
            if not backends:
                self.due.pop(backend.domid, None)
                self.cell[0] = bool(self.due)

    def serve(self, domid: int, limit: int = BACKEND_PORTION) -> int:
        """One portion for one domain's backends, in turn. Returns the units it took."""
        budget = Budget(limit)
        while (backends := self.due.get(domid)) and not budget.exhausted:
            backend = next(iter(backends))
            self.remove(backend)
            # Even a call that finds nothing to do costs something, or backends that call each other could
            # go on for ever.
            budget.spend(1)
            if backend.serve(budget):
                self.call(backend)
        return budget.spent

    def turn(self, limit: int = BACKEND_PORTION) -> int:
        """One portion for every domain that has something due now. Returns the units they took together."""
        return sum(self.serve(domid, limit) for domid in list(self.due))
