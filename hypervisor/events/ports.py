"""Event channels (public/event_channel.h): ports, who holds the other end, what fires when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.event_channel import NR_VIRQS, EvtchnStat
from paravane.events.port import VCPU_VIRQS, Port, State, Status, name_of, usable
from paravane.events.port_list import BUCKET, PortList
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paravane.abi.event_channel import Virq
    from paravane.events.port import Delivery
    from paravane.place import Place
    from paravane.registry import Domains

NR_PIRQS: Final = 256
"""Interrupt numbers that exist. None belongs to a guest, as none is passed through."""


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


class HasPorts(Protocol):
    """A domain as event channels see it."""

    @property
    def domid(self) -> int: ...
    @property
    def events(self) -> PortTable: ...


class Exchange:
    """Where the event channels of one machine meet. `observer`, if there is one, is told of every event."""

    observer: Observer | None = None

    def __init__(self, domains: Domains[HasPorts]) -> None:
        self.domains = domains
        self._at = domains.at

    def at(self, domid: int) -> PortTable:
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


class PortTable:
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
        self._list = PortList(ports)
        # The same list: sends are hot.
        self._ports = self._list.entries
        # (vcpu, virtual interrupt) -> port: what the ports say, the other way round.
        self._virqs: dict[tuple[int, int], int] = {
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

    def alloc_unbound(self, dom: int, remote_dom: int) -> int:
        """A new port of domain `dom` that waits for `remote_dom` (which need not exist) to bind to it."""
        domain = self._named(dom)
        port = domain._free_port()
        self._check_control(domain)
        domain._open(port, Port(State.UNBOUND, remote_domid=self._own_name(remote_dom)))
        return port

    def bind_interdomain(
        self, remote_dom: int, remote_port: int, before_first: Callable[[int], None] | None = None
    ) -> int:
        """A new port connected to a port of `remote_dom` that waits for this domain.

        The new port fires at once: a notification sent while the other end was unbound was dropped.
        `before_first(port)` is called before that.
        """
        remote = self._named(remote_dom)
        port = self._free_port()
        other = remote._list.at(remote_port)
        if other is None or other.state is not State.UNBOUND or other.remote_domid != self.domid:
            raise Refusal(
                Errno.EINVAL,
                f"port {remote_port} of domain {remote.domid} does not wait for domain {self.domid}",
            )
        self._open(port, Port(State.INTERDOMAIN, remote_domid=remote.domid, remote_port=remote_port))
        # It waited for this domain, so its `remote_domid` is right already.
        other.state, other.remote_port = State.INTERDOMAIN, port
        if before_first is not None:
            before_first(port)
        self._delivery.set_pending(port, 0)
        return port

    def bind_virq(self, virq: int, vcpu_id: int) -> int:
        """A new port for a virtual interrupt. Global ones are bound to vcpu 0 and can be moved later."""
        if virq >= NR_VIRQS:
            raise Refusal(Errno.EINVAL, f"there is no virtual interrupt {virq}")
        if virq not in VCPU_VIRQS and vcpu_id:
            raise Refusal(
                Errno.EINVAL, f"global virtual interrupt {virq} is bound to vcpu 0 only, not {vcpu_id}"
            )
        self._check_vcpu(vcpu_id)
        if (vcpu_id, virq) in self._virqs:
            raise Refusal(Errno.EEXIST, f"virtual interrupt {virq} of vcpu {vcpu_id} is bound already")
        port = self._free_port()
        self._open(port, Port(State.VIRQ, vcpu_id=vcpu_id, virq=virq))
        self._virqs[vcpu_id, virq] = port
        return port

    def bind_ipi(self, vcpu_id: int) -> int:
        """A new port on which the domain's own vcpus interrupt `vcpu_id`."""
        self._check_vcpu(vcpu_id)
        port = self._free_port()
        self._open(port, Port(State.IPI, vcpu_id=vcpu_id))
        return port

    def bind_pirq(self, pirq: int) -> int:
        """Physical interrupts belong to no guest here: always a Refusal."""
        if pirq >= NR_PIRQS:
            raise Refusal(Errno.EINVAL, f"there is no physical interrupt {pirq}")
        raise Refusal(Errno.EPERM, f"physical interrupt {pirq} does not belong to domain {self.domid}")

    def bind_vcpu(self, port: int, vcpu_id: int) -> None:
        """Notify another vcpu from now on. Per-vcpu interrupts and IPIs cannot be moved."""
        self._check_vcpu(vcpu_id)
        entry = self._existing(port)
        movable = entry is not None and (
            entry.state in (State.UNBOUND, State.INTERDOMAIN)
            or (entry.state is State.VIRQ and entry.virq not in VCPU_VIRQS)
        )
        if entry is None or not movable:
            raise Refusal(Errno.EINVAL, f"port {port} is {name_of(entry)} and stays with its vcpu")
        entry.vcpu_id = vcpu_id

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

    def status(self, dom: int, port: int) -> Status:
        """What port `port` of domain `dom` is bound to."""
        domain = self._named(dom)
        entry = domain._existing(port)
        self._check_control(domain)
        if entry is None or entry.state is State.RESERVED:
            return Status(EvtchnStat.closed)
        if entry.state is State.UNBOUND:
            return Status(EvtchnStat.unbound, entry.vcpu_id, domid=entry.remote_domid)
        if entry.state is State.INTERDOMAIN:
            return Status(
                EvtchnStat.interdomain, entry.vcpu_id, domid=entry.remote_domid, port=entry.remote_port
            )
        return Status(entry.state.value, entry.vcpu_id, virq=entry.virq)

    def unmask(self, port: int) -> None:
        """Clear the port's mask bit; a port that fired meanwhile notifies now. One that is not in use stays
        as it is, and that is no error."""
        entry = self._existing(port)
        if usable(entry):
            self._delivery.unmask(port, entry.vcpu_id)

    def reset(self, dom: int, go_on: Callable[[], bool], *, resuming: bool = False) -> bool:
        """Close every port of domain `dom`: the caller or, for the control domain, one that it has paused.
        False when it is to be asked for again, `resuming` then, for the rest: `go_on()` is asked now and
        then, after ports were closed.

        Raises Refusal: -EBUSY for a second reset beside one that is under way, or to resume none, -EAGAIN
        when ports were opened meanwhile that it had passed, -EINVAL for another domain that is not paused.
        """
        domain = self._named(dom)
        self._check_control(domain)
        if domain is not self and not domain._paused():
            raise Refusal(Errno.EINVAL, f"domain {dom} is not paused, so its ports cannot be reset")
        return domain.reset_own(go_on, resuming=resuming)

    def reset_own(self, go_on: Callable[[], bool], *, resuming: bool) -> bool:
        """As `reset`, of the ports here."""
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
        port = self._list.find_free(limit, self._delivery.is_busy)
        if port is None:
            raise Refusal(
                Errno.ENOSPC, f"all ports of domain {self.domid} up to {limit - 1} are in use or in queues"
            )
        return port

    def _open(self, port: int, entry: Port) -> None:
        """Put a free port to use."""
        self._list.open(port, entry)
        self._delivery.init(port)

    def _named(self, dom: int) -> PortTable:
        """The ports of the domain that the guest names. Raises Refusal(ESRCH)."""
        return self._exchange.domains.named(self.domid, dom).events

    def _own_name(self, domid: int) -> int:
        return self.domid if domid == DomId.SELF else domid

    def _check_vcpu(self, vcpu_id: int) -> None:
        if vcpu_id >= self._nr_vcpus:
            raise Refusal(Errno.ENOENT, f"domain {self.domid} has no vcpu {vcpu_id}")

    def _check_control(self, domain: PortTable) -> None:
        """Only its own ports are a guest's to give away, look at or reset. Raises Refusal(EPERM)."""
        if domain is not self and not self._privileged:
            raise Refusal(Errno.EPERM, f"domain {self.domid} does not control domain {domain.domid}")
