"""What guests ask for of ports (public/event_channel.h): new ones, their vcpus, their state, a reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.event_channel import NR_VIRQS, EvtchnStat
from paravane.events.port import VCPU_VIRQS, Port, State, Status, name_of
from paravane.events.ports import Ports
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

NR_PIRQS: Final = 256
"""Interrupt numbers that exist. None belongs to a guest, as none is passed through."""


class PortTable(Ports):
    """The ports of one domain, with all that the domain may ask for. Every method raises Refusal with Xen's
    errno for that request."""

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

    def reset(self, dom: int, go_on: Callable[[], bool], *, resuming: bool = False) -> bool:
        """Close every port of domain `dom`: the caller or, for the control domain, one that it has paused.
        As `reset_own`; raises Refusal, -EINVAL, for another domain that is not paused, too."""
        domain = self._named(dom)
        self._check_control(domain)
        if domain is not self and not domain._paused():
            raise Refusal(Errno.EINVAL, f"domain {dom} is not paused, so its ports cannot be reset")
        return domain.reset_own(go_on, resuming=resuming)

    def _own_name(self, domid: int) -> int:
        return self.domid if domid == DomId.SELF else domid

    def _check_vcpu(self, vcpu_id: int) -> None:
        if vcpu_id >= self._nr_vcpus:
            raise Refusal(Errno.ENOENT, f"domain {self.domid} has no vcpu {vcpu_id}")
