"""Records of event channels, and the flows that lead from a send to the upcall that delivers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.trace.records import SendRecord, UpcallRecord, VirqRecord

if TYPE_CHECKING:
    from paravane.abi.event_channel import Virq
    from paravane.place import Place
    from paravane.platform import Platform


class EventSource:
    """Observes what is sent, raised and delivered (paravane.events.ports.Observer)."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def sent(self, domid: int, port: int, to_domid: int, to_port: int, *, pending: bool) -> None:
        head = (self._platform.clock.now(), *self._platform.trace.here(domid))
        flow = self._flow(to_domid, to_port, pending=pending)
        self._platform.trace.write(SendRecord(*head, port, to_domid, to_port, flow))

    def raised(self, domid: int, vcpu_id: int, virq: Virq, port: int, *, pending: bool) -> None:
        flow = self._flow(domid, port, pending=pending)
        head = (self._platform.clock.now(), domid, vcpu_id, None)
        self._platform.trace.write(VirqRecord(*head, virq, port, flow))

    def delivered(self, domid: int, vcpu_id: int, place: Place, ports: tuple[int, ...]) -> None:
        flows = (self._platform.trace.flows.of_ports.pop((domid, port), None) for port in ports)
        head = (self._platform.clock.now(), domid, vcpu_id, place)
        self._platform.trace.write(UpcallRecord(*head, ports, tuple(flow for flow in flows if flow)))

    def _flow(self, domid: int, port: int, *, pending: bool) -> int | None:
        """The flow of an event: a new one, unless it finds the port pending already."""
        to = self._platform.domains.find(domid)
        if to is None or to.memory is None:  # the host: it is called at once
            return None
        flows = self._platform.trace.flows
        if pending:
            return flows.of_ports.get((domid, port))
        flows.numbered += 1
        flows.of_ports[domid, port] = flows.numbered
        return flows.numbered
