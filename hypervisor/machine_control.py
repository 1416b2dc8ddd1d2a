"""A machine, as its control domain makes and takes away other domains of it (paravane.control_plane)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.domain import Domain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.control_plane import NewDomain
    from paravane.registry import Registry
    from paravane.scheduler import Scheduler
    from paravane.toolstack import ControlDomain, Toolstack

MOST_VCPUS: Final = 1024
"""Vcpus of all guests of a machine: each takes some 3 MB of the host, which no frame of the machine pays."""


class MachineControl:
    """`destroy` is the machine's: it takes effect before any guest runs again."""

    def __init__(
        self,
        registry: Registry[Domain, ControlDomain],
        toolstack: Toolstack,
        scheduler: Scheduler,
        destroy: Callable[[Domain], None],
    ) -> None:
        self._registry = registry
        self._toolstack = toolstack
        self._scheduler = scheduler
        self.destroy = destroy

    def guest(self, domid: int) -> Domain | None:
        """The guest with a number, or None; one that is gone counts while there is anything left of it."""
        found = self._registry.find(domid)
        return found if isinstance(found, Domain) else None

    def guests(self) -> Iterator[Domain]:
        """All guests, by number."""
        found = [domain for domain in self._registry if isinstance(domain, Domain)]
        return iter(sorted(found, key=lambda domain: domain.domid))

    def found(self, wanted: NewDomain) -> Domain:
        """An empty domain, paused once. Raises ValueError when its number is taken, or all are, and
        MemoryError."""
        domain = self._toolstack.found(wanted)
        self._registry.begin(domain)
        domain.pause()
        return domain

    def add_vcpus(self, domain: Domain) -> None:
        """Give it all the vcpus that it was founded for, those that it does not have yet. Raises MemoryError
        when the machine has too many: each is an engine of the host's."""
        have = sum(len(other.vcpus) for other in self.guests())
        if have + domain.memory.max_vcpus - len(domain.vcpus) > MOST_VCPUS:
            raise MemoryError(f"a machine has at most {MOST_VCPUS} vcpus where a guest makes domains")
        for vcpu_id in range(len(domain.vcpus), domain.memory.max_vcpus):
            self._scheduler.add(self._toolstack.add_vcpu(domain, vcpu_id))
