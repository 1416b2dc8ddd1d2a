"""What the domains of one machine share, and nothing more."""

from __future__ import annotations

from array import array
from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol

from paravane.classes import dataclass
from paravane.cpu.interrupts import DeferredSigint
from paravane.devices.bus import Bus
from paravane.events import Exchange
from paravane.events.ports import HasPorts
from paravane.grants import GrantTables, HasGrants
from paravane.hypervisor_console import ConsoleRing
from paravane.memory.owner import HasMemory
from paravane.time.timers import TimerQueue
from paravane.trace import Trace

if TYPE_CHECKING:
    from paravane.cpu import Ram
    from paravane.memory import MachineMemory
    from paravane.registry import Domains
    from paravane.time.clock import Clock


TRAPS: Final = 0
TRAP_LIMIT: Final = 1


class Resident(HasMemory, HasPorts, HasGrants, Protocol):
    """A domain as others see it."""


@dataclass(slots=True)
class Platform:
    """Machine memory, its frame table, the domains by number, time, the trace stream, where event channels
    and grants meet, and the backends that have something to do.

    `sigint` keeps Ctrl-C away from the engine while a guest executes. `console_ring` has what the hypervisor
    said last. `counts` has how often guests entered the hypervisor (`TRAPS`), and a copy of `trap_limit`, the
    number at which the machine stops (`TRAP_LIMIT`; 0: never): native code reads and writes them where they
    are. `debug` says that the hypervisor behaves as a debug build of Xen where that is different.
    """

    ram: Ram
    memory: MachineMemory
    domains: Domains[Resident]
    clock: Clock
    timers: TimerQueue = field(default_factory=TimerQueue)
    trace: Trace = field(default_factory=Trace)
    exchange: Exchange = field(init=False)
    grants: GrantTables = field(init=False)
    bus: Bus = field(default_factory=Bus)
    sigint: DeferredSigint = field(default_factory=DeferredSigint)
    console_ring: ConsoleRing = field(default_factory=ConsoleRing)
    counts: array[int] = field(default_factory=lambda: array("q", (0, 0)))
    trap_limit: int = field(default=0, init=False)
    debug: bool = True

    def __post_init__(self) -> None:
        self.exchange = Exchange(self.domains)
        self.grants = GrantTables(self.domains)

    @property
    def traps(self) -> int:
        """How often guests entered the hypervisor."""
        return self.counts[TRAPS]

    def limit_traps(self, limit: int) -> None:
        """Have the machine stop when `traps` reaches `limit`. 0: never."""
        self.trap_limit = self.counts[TRAP_LIMIT] = limit
