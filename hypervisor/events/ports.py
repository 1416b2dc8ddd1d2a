"""The ports of a domain as all domains meet there (public/event_channel.h): what fires when, and what closes.

What a guest asks for of ports, its own and others', is in `port_table`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.abi.errno import Errno
from paravane.events.port import VCPU_VIRQS, State, name_of, usable
from paravane.events.port_list import BUCKET, PortList
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator, Sequence

    from paravane.abi.event_channel import Virq
    from paravane.events.observer import Observer
    from paravane.events.port import Delivery, Port
    from paravane.registry import Domains


class HasPorts(Protocol):
    """A domain as event channels see it."""

    @property
    def domid(self) -> int: ...
    @property
    def events(self) -> Ports: ...


class Exchange:
    """Where the event channels of one machine meet. `observer`, if there is one, is told of every event.
    `exhausted`, if there is one, is asked whether a domain is to be refused a port though it may have one."""

    observer: Observer | None = None
    exhausted: Callable[[int], bool] | None = None

    def __init__(self, domains: Domains[HasPorts]) -> None:
        self.domains = domains
        self._at = domains.at

    def at(self, domid: int) -> Ports:
        """The domain at the other end of a connection. There is one: a domain that goes disconnects."""
        return self._at(domid).events

    def raise_global(self, virq: Virq) -> None:
        """Fire a virtual interrupt of the whole machine, such as DOM_EXC (a domain has ended), at the control
        domain, if that has bound it."""
        control = self.domains.find(CONTROL_DOMID)
        if control is not None:  # a guest may have been it and be gone
            control.events.raise_virq(virq)


def never_paused() -> bool:
    """Of a domain that nobody pauses, as the host."""
    return False


class Ports:
    """The ports of one domain. Every method raises Refusal with Xen's errno for that request."""

    def __init__(
        self,
        domid: int,
        exchange: Exchange,
        delivery: Delivery,
        nr_vcpus: int,
        ports: Sequence[Port | None] | None = None,
        *,
        max_port: int,
        privileged: bool = False,
        paused: Callable[[], bool] = never_paused,
    ) -> None:
        """`max_port` is the highest port that the domain may have, whatever the ABI of its delivery has.
        `privileged`: the control domain, which may ask for ports of others. `paused()`: whether it has paused
        this one. `ports`: go on from what `save` gave; the domains at other ends must do the same."""
        self.domid = domid
        self._exchange = exchange
        self._delivery = delivery
        self._nr_vcpus = nr_vcpus
        self._max_port = max_port
        self._privileged = privileged
        self._paused = paused
        self._dying = False
        self._next_reset = 0
        """The port that a reset under way goes on with; 0: none is."""
        self._list: PortList
        self.ipis: array[int]
        self._ports: list[Port | None]  # of the list: sends are hot
        # (vcpu, virtual interrupt) -> port: what the ports say, the other way round.
        self._virqs: dict[tuple[int, int], int]
        self.restore(ports)

    def restore(self, ports: Sequence[Port | None] | None) -> None:
        """Go on from what `save` gave (None: nothing but the reserved port); the domains at other ends must
        do the same."""
        self._list = PortList(ports)
        self._ports = self._list.entries
        self.ipis = self._list.ipis
        self._virqs = {
            (entry.virq_vcpu, entry.virq): port
            for port, entry in enumerate(self._ports)
            if entry is not None and entry.state is State.VIRQ
        }

    def save(self) -> tuple[Port | None, ...]:
        """Every port there is, by number: all that has to be kept."""
        return self._list.save()

    def in_use(self) -> Iterator[tuple[int, Port]]:
        """The ports that the guest has in use, by number. They are not to be changed."""
        return self._list.in_use()

    def close(self, port: int) -> None:
        """Free a port. The other end of a connection becomes unbound again, waiting for this domain."""
        entry = self._existing(port)
        if entry is None or entry.state is State.RESERVED:
            raise Refusal(Errno.EINVAL, f"port {port} is {name_of(entry)}, there is nothing to close")
        if entry.state is State.VIRQ:
            del self._virqs[entry.virq_vcpu, entry.virq]
        self._delivery.clear_pending(port)
        self._list.release(port)
        if entry.state is State.INTERDOMAIN:
            self._exchange.at(entry.remote_domid)._disconnect(entry.remote_port)

    def send(self, port: int) -> None:
        """Fire the other end of a connection, or the vcpu of an IPI. An unbound port drops the event."""
        ports = self._ports
        entry = ports[port] if port < len(ports) else None
        if entry is not None:
            if entry.state is State.INTERDOMAIN:
                other = self._exchange.at(entry.remote_domid)
                if self._exchange.observer is not None:
                    other._tell_of_send(self.domid, port, entry.remote_port)
                other._fire(entry.remote_port)
                return
            if entry.state is State.IPI:
                if self._exchange.observer is not None:
                    self._tell_of_send(self.domid, port, port)
                self._delivery.set_pending(port, entry.vcpu_id)
                return
            if entry.state is State.UNBOUND:
                return
        raise Refusal(Errno.EINVAL, f"port {port} is {name_of(entry)}, nothing can be sent through it")

    def unmask(self, port: int) -> None:
        """Clear the port's mask bit; a port that fired meanwhile notifies now. One that is not in use stays
        as it is, and that is no error."""
        entry = self._existing(port)
        if usable(entry):
            self._delivery.unmask(port, entry.vcpu_id)

    def reset_own(self, go_on: Callable[[], bool], *, resuming: bool) -> bool:
        """Close every port. False when it is to be asked for again, `resuming` then, for the rest: `go_on()`
        is asked now and then, after ports were closed.

        Raises Refusal: -EBUSY for a second reset beside one that is under way, or to resume none, -EAGAIN
        when ports were opened meanwhile that it had passed.
        """
        first = self._next_reset if resuming else int(not self._next_reset)
        if not first:
            state = "no reset" if resuming else "a reset"
            raise Refusal(Errno.EBUSY, f"{state} of domain {self.domid} is under way")
        for port in range(first, len(self._ports)):
            if not self._list.nr_in_use:
                break
            if usable(self._ports[port]):
                self.close(port)
            if not port % BUCKET and not go_on():
                self._next_reset = port + 1
                return False
        self._next_reset = 0
        if self._list.nr_in_use:
            raise Refusal(Errno.EAGAIN, f"domain {self.domid} opened ports while they were reset")
        return True

    def destroy(self) -> None:
        """The domain goes: close every port for good. Nobody can open or bind one any more. Idempotent."""
        self._dying = True
        for port, entry in enumerate(self._ports):
            if usable(entry):
                self.close(port)

    def raise_virq(self, virq: Virq, vcpu_id: int = 0) -> None:
        """Fire a virtual interrupt, if the guest has bound it. A global one goes where it was moved."""
        port = self._virqs.get((vcpu_id if virq in VCPU_VIRQS else 0, virq))
        if port is not None:
            if (observer := self._exchange.observer) is not None:
                pending = self._delivery.is_pending(port)
                observer.raised(self.domid, vcpu_id, virq, port, pending=pending)
            self._fire(port)

    def virq_bound(self, virq: Virq, vcpu_id: int = 0) -> bool:
        """Whether the guest would hear of a virtual interrupt."""
        return (vcpu_id if virq in VCPU_VIRQS else 0, virq) in self._virqs

    def usable(self, port: int) -> bool:
        """Whether the port is in use by the guest: neither free, nor reserved, nor never created."""
        return usable(self._list.at(port))

    def connected(self, port: int) -> bool:
        """Whether the port is one end of a connection."""
        entry = self._list.at(port)
        return entry is not None and entry.state is State.INTERDOMAIN

    def _tell_of_send(self, domid: int, port: int, own_port: int) -> None:
        """An event is about to come out here, at `own_port`, that went in at `port` of `domid`."""
        if self._exchange.observer is not None:
            pending = self._delivery.is_pending(own_port)
            self._exchange.observer.sent(domid, port, self.domid, own_port, pending=pending)

    def _fire(self, port: int) -> None:
        entry = self._ports[port]
        assert entry is not None
        self._delivery.set_pending(port, entry.vcpu_id)

    def _disconnect(self, port: int) -> None:
        """The other end has closed; the port waits for that domain again."""
        entry = self._ports[port]
        assert entry is not None
        entry.state, entry.remote_port = State.UNBOUND, 0

    def _existing(self, port: int) -> Port | None:
        if port >= len(self._ports):
            raise Refusal(Errno.EINVAL, f"domain {self.domid} has no port {port}")
        return self._ports[port]

    def _free_port(self) -> int:
        """The lowest port that is free and not still in a queue of the guest's, created if need be. The
        caller opens it, or leaves it free."""
        if self._dying:
            raise Refusal(Errno.EINVAL, f"domain {self.domid} is being taken away and gets no more ports")
        limit = min(self._max_port + 1, self._delivery.nr_ports)
        exhausted = self._exchange.exhausted
        refused = exhausted is not None and exhausted(self.domid)
        port = None if refused else self._list.find_free(limit, self._delivery.is_busy)
        if port is None:
            raise Refusal(
                Errno.ENOSPC, f"all ports of domain {self.domid} up to {limit - 1} are in use or in queues"
            )
        return port

    def _open(self, port: int, entry: Port) -> None:
        """Put a free port to use."""
        self._list.open(port, entry)
        self._delivery.init(port)

    def _named(self, dom: int) -> Ports:
        """The ports of the domain that the guest names. Raises Refusal(ESRCH)."""
        return self._exchange.domains.named(self.domid, dom).events

    def _check_control(self, domain: Ports) -> None:
        """Only its own ports are a guest's to give away, look at or reset. Raises Refusal(EPERM)."""
        if domain is not self and not self._privileged:
            raise Refusal(Errno.EPERM, f"domain {self.domid} does not control domain {domain.domid}")
