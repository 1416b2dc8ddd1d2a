"""A machine whose domains are on networks, each with a frontend played from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scapy.layers.l2 import Ether

from paravane import DomainConfig
from paravane.abi.xenbus import XenbusState
from paravane.devices.net.vif import parse_vif
from tests.support.netfront import Netfront
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from paravane import Machine

BROADCAST = b"\xff" * 6


class Lan:
    """Makes domains on a machine that has room for three."""

    SIZES = (MEMORY,) * 3

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __call__(self, *vifs: str) -> list[Netfront]:
        """Domains with an interface each, as described by a text."""
        fronts = []
        for vif in vifs:
            config = DomainConfig(memory=MEMORY, devices=(parse_vif(vif),))
            fronts.append(Netfront(self.machine, self.machine.create(image(BLOCK), config)))
        return fronts

    def pair(self) -> tuple[Netfront, Netfront]:
        """Two that are connected, with all that Linux can do."""
        one, other = self("", "")
        assert one.connect() is XenbusState.Connected
        assert other.connect() is XenbusState.Connected
        return one, other


def plain(source: Netfront, destination: Netfront | bytes = BROADCAST, size: int = 60) -> bytes:
    """A frame of a protocol that nobody knows."""
    to = destination if isinstance(destination, bytes) else destination.mac
    return (to + source.mac + b"\x88\xb5").ljust(size, b"\xa5")


def packet(source: Netfront, destination: Netfront, layers: Any) -> bytes:
    """A frame with a packet, of scapy's layers."""
    return bytes(Ether(src=source.mac.hex(":"), dst=destination.mac.hex(":")) / layers)


def let_time_pass(front: Netfront) -> int:
    """Until the next timer, which a backend has. Nanoseconds."""
    timers, clock = front.machine.platform.timers, front.machine.platform.clock
    began = clock.now()
    clock.idle_until(timers.next_deadline())
    timers.expire(clock.now())
    front.serve()
    return clock.now() - began


def closed(front: Netfront, sentence: str) -> bool:
    """Whether the backend has closed, and says why."""
    front.serve()
    return front.backend_state is XenbusState.Closing and sentence in front.backend("error")
