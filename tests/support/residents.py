"""The parts of domains without the domains: what is entered among those of a machine in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paravane.memory import DomainMemory, MachineMemory
from paravane.registry import CONTROL_DOMID, Registry

if TYPE_CHECKING:
    from paravane.cpu import Ram
    from paravane.cpu.geometry import Geometry
    from paravane.events.port_table import PortTable
    from paravane.grants import GrantTable


@dataclass
class Resident:
    """A domain that has only the parts that a test is about; the others are never asked for."""

    domid: int
    memory: DomainMemory | None = None
    events: Any = None
    grants: GrantTable | None = None


Residents = Registry[Resident, Resident]


def new_registry(control: PortTable | None = None) -> Residents:
    """The domains of a machine that has the control domain only, with these event channels."""
    registry = Residents()
    registry.enter(Resident(CONTROL_DOMID, events=control))
    return registry


def new_machine_memory(ram: Ram, domains: Residents | None = None, **options: int) -> MachineMemory:
    """Machine memory, by default for a machine with the control domain only."""
    return MachineMemory(ram, domains or new_registry(), **options)


def new_domain_memory(machine: MachineMemory, domid: int, geometry: Geometry, **options: Any) -> DomainMemory:
    """The memory of a domain that is entered among those of `machine`."""
    registry: Any = machine.domains
    memory = DomainMemory(machine, domid, geometry, **options)
    registry.enter(Resident(domid, memory))
    return memory
