"""A machine that can be taken back to what was saved of it, in place (`paravane.history` decides when)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import TYPE_CHECKING

from paravane.classes import dataclass
from paravane.devices.console import Console
from paravane.sched import POLICIES
from paravane.time.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane.devices.console import Sink
    from paravane.domain import Domain
    from paravane.image.source_text import SourceText
    from paravane.inbox import Inbox
    from paravane.lives import Lives
    from paravane.platform import Platform
    from paravane.run_loop import RunLoop, Slices
    from paravane.sched import Policy
    from paravane.snapshot import MachineSaved
    from paravane.snapshot.parts import Parts
    from paravane.time.clock import Clock
    from paravane.toolstack import Toolstack
    from paravane.trace import Trace


@dataclass(frozen=True, slots=True)
class _Way:
    """Where to go back to: what was saved, what takes the console output of domains by name from then on, and
    who is told once the machine is there."""

    saved: MachineSaved
    sinks: Mapping[str, Sink]
    arrived: Callable[[], None]


class Rewindable(ABC):
    """The part of a machine for who has it go back. Who looks at it from outside stays: inputs, subscribers
    of its trace, who holds it. Its domains are others afterwards, with the same numbers."""

    platform: Platform
    _inbox: Inbox
    _lives: Lives
    _loop: RunLoop
    _policy: Policy
    _toolstack: Toolstack
    _way: _Way | None = None

    @abstractmethod
    def _equip(self, memory: int, clock: Clock, policy: Policy, trace: Trace, *, debug: bool) -> None:
        """Make all that a machine is made of, without domains."""

    @abstractmethod
    def _dismantle(self, steps: ExitStack) -> None:
        """Have the steps free the domains and all else that `_equip` has made."""

    @abstractmethod
    def _parts(self) -> Parts:
        """What it is made of."""

    @property
    def slices(self) -> Slices | None:
        """Who has its slices run in pieces, if anybody does."""
        return self._loop.slices

    @slices.setter
    def slices(self, slices: Slices | None) -> None:
        self._loop.slices = slices

    def rest(self) -> bool:
        """For `slices`, in the middle of a slice that has paused: see `RunLoop.rest`."""
        return self._loop.rest()

    def checkpoint(self) -> MachineSaved:
        """What it is between two slices, as `save` keeps it, but with debuggers, whose breakpoints are no
        part of it. Objects in it are those of the machine: encode it before that goes on. Raises
        SnapshotError."""
        from paravane import snapshot  # noqa: PLC0415 - loaded for who asks for it only

        return snapshot.save(self._parts(), debugged=True)

    def sinks(self) -> dict[str, Sink]:
        """What takes the console output of its domains, by name; those without one keep it themselves."""
        domains = self._parts().registry.present.values()
        sinks = ((domain.name, self._lives.config(domain).sink) for domain in domains)
        return {name: sink for name, sink in sinks if sink is not None}

    def rewind(self, saved: MachineSaved, sinks: Mapping[str, Sink], arrived: Callable[[], None]) -> None:
        """Have it go back to a state of its own before any guest runs again. The slice that has paused, if
        one has, is given up."""
        self._way = _Way(saved, sinks, arrived)
        self._loop.leaving = True
        self._inbox.wake()

    def _go_back(self) -> None:
        """Do it: the loop has come back."""
        from paravane import snapshot  # noqa: PLC0415 - loaded for who asks for it only

        way, self._way = self._way, None
        assert way is not None
        platform, loop, lives, trace = self.platform, self._loop, self._lives, self.platform.trace
        trap_limit, sources = platform.trap_limit, self._sources()
        muted, trace.muted = trace.muted, True
        try:
            for domain in self._parts().registry.present.values():
                fall_silent(domain)
            with ExitStack() as steps:
                self._dismantle(steps)
            self._equip(
                way.saved.kind.memory,
                VirtualClock(),
                POLICIES[self._policy.name](),
                trace,
                debug=platform.debug,
            )
            self._loop.take_over(loop)
            self._lives.restarts = lives.restarts
            snapshot.restore(self._parts(), way.saved, way.sinks, trusted=True)
        finally:
            trace.muted = muted
        self.platform.limit_traps(trap_limit)
        for domain in self._parts().registry.present.values():
            domain.sources = sources.get(domain.domid)
        way.arrived()

    def _sources(self) -> dict[int, SourceText | None]:
        domains = self._parts().registry.present
        return {domid: domain.sources for domid, domain in domains.items()}


def fall_silent(domain: Domain) -> None:
    """What a domain has written and was not put out yet comes again where it goes on."""
    if isinstance(domain.console, Console):
        domain.console.drop_output()
