"""What the domains of one machine share, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

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


class Resident(HasMemory, HasPorts, HasGrants, Protocol):
    """A domain as others see it."""


@dataclass(slots=True)
class Platform:
    """Machine memory, its frame table, the domains by number, time, the trace stream, where event channels
    and grants meet, and the backends that have something to do.

    `sigint` keeps Ctrl-C away from the engine while a guest executes. `console_ring` has what the hypervisor
    said last. `traps` counts how often guests entered the hypervisor; when it reaches `trap_limit` the
    machine stops. `debug` says that the hypervisor behaves as a debug build of Xen where that is different.
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
    traps: int = 0
    trap_limit: int = 0
    debug: bool = True

    def __post_init__(self) -> None:
        self.exchange = Exchange(self.domains)
        self.grants = GrantTables(self.domains)
