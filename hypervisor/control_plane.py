"""What a machine does for its control domain: the mechanism below domctl and sysctl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from paravane.domain import Domain
    from paravane.grants import GrantLimits


class NewDomain(NamedTuple):
    """A domain that is to exist: no memory yet, no vcpu, and paused once. `domid` None: any free number.
    `max_port` is the highest event channel it may have."""

    domid: int | None
    handle: UUID
    max_vcpus: int
    max_port: int
    grants: GrantLimits


class ControlPlane(Protocol):
    """The machine, as hypercalls of the control domain see it."""

    def guest(self, domid: int) -> Domain | None:
        """The guest with a number, or None."""
        ...

    def guests(self) -> Iterator[Domain]:
        """All guests, by number."""
        ...

    def found(self, wanted: NewDomain) -> Domain:
        """Make an empty domain. Raises ValueError when its number is taken, or all are, and MemoryError."""
        ...

    def add_vcpus(self, domain: Domain) -> None:
        """Give it all the vcpus that it was founded for, those that it does not have yet. Raises MemoryError;
        those that came before it stay."""
        ...

    def destroy(self, domain: Domain) -> None:
        """Take it away before any guest runs again."""
        ...
