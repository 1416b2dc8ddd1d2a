"""Who is told of events: the trace, while somebody wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from paravane.abi.event_channel import Virq
    from paravane.place import Place


class Observer(Protocol):
    """Is told of events before they come out; `pending` says that they find the port pending already."""

    def sent(self, domid: int, port: int, to_domid: int, to_port: int, *, pending: bool) -> None:
        """Domain `domid` sends through its `port` to a port of `to_domid`."""
        ...

    def raised(self, domid: int, vcpu_id: int, virq: Virq, port: int, *, pending: bool) -> None:
        """A virtual interrupt of `domid` comes out at a port that notifies `vcpu_id`."""
        ...

    def delivered(self, domid: int, vcpu_id: int, place: Place, ports: tuple[int, ...]) -> None:
        """A vcpu entered its upcall, interrupted at `place`, with these ports pending and not masked."""
        ...
