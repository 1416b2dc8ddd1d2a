"""One port of a domain as plain data, and how a domain learns that it has fired."""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol, TypeGuard

from paravane.abi.domid import DomId
from paravane.abi.event_channel import EvtchnStat, Virq
from paravane.classes import NamedTuple, dataclass

VCPU_VIRQS: Final = frozenset((Virq.TIMER, Virq.DEBUG, Virq.XENOPROF, Virq.XENPMU))
"""The virtual interrupts that each vcpu has for itself; the others are the domain's."""


class State(Enum):
    """What a port is bound to. A free port has no Port object; the reserved one is port 0."""

    RESERVED = EvtchnStat.closed
    UNBOUND = EvtchnStat.unbound
    INTERDOMAIN = EvtchnStat.interdomain
    VIRQ = EvtchnStat.virq
    IPI = EvtchnStat.ipi


@dataclass(slots=True)
class Port:
    """A port in use, and all that has to be kept of it. `remote_domid` counts for UNBOUND, where it is who
    may bind, and for INTERDOMAIN, where it is the domain of the other end, `remote_port`; `virq` for VIRQ."""

    state: State
    vcpu_id: int = 0
    remote_domid: int = DomId.INVALID
    remote_port: int = 0
    virq: int = 0

    @property
    def virq_vcpu(self) -> int:
        """The vcpu whose virtual interrupt it is bound to: a global one is vcpu 0's, wherever it notifies."""
        return self.vcpu_id if self.virq in VCPU_VIRQS else 0


class Status(NamedTuple):
    """What EVTCHNOP_status answers: `domid` and `port` are the other end, `virq` the virtual interrupt."""

    status: EvtchnStat
    vcpu_id: int = 0
    domid: int = 0
    port: int = 0
    virq: int = 0


class Delivery(Protocol):
    """How a domain learns that a port has fired: one ABI (Xen's `struct evtchn_port_ops`)."""

    @property
    def nr_ports(self) -> int:
        """Ports that the ABI has, port 0 among them."""
        ...

    def init(self, port: int) -> None:
        """A port is put to a new use."""
        ...

    def set_pending(self, port: int, vcpu_id: int) -> None: ...
    def clear_pending(self, port: int) -> None: ...
    def unmask(self, port: int, vcpu_id: int) -> None: ...
    def is_pending(self, port: int) -> bool: ...
    def is_masked(self, port: int) -> bool: ...
    def is_busy(self, port: int) -> bool:
        """Whether a port that was closed cannot be put to a new use yet."""
        ...


def usable(entry: Port | None) -> TypeGuard[Port]:
    """Whether a port is in use by the guest: neither free nor reserved."""
    return entry is not None and entry.state is not State.RESERVED


def name_of(entry: Port | None) -> str:
    """A port's state, for a sentence."""
    return "free" if entry is None else entry.state.name.lower()
