"""What a frontend has chosen of all that an interface offers it (public/io/netif.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.devices.net.offloads import Offloads
from paravane.devices.xenbus import DeviceFault

if TYPE_CHECKING:
    from paravane.devices.xenbus import Frontend

MOST_QUEUES: Final = 8
"""Pairs of rings that a frontend may use; Linux makes one for each of its vcpus."""


class Choices(NamedTuple):
    """How one frontend uses its interface. `scattered`: it takes frames in several pages; `flipped`: it has
    pages exchanged rather than copied into; `notifies`: it sends an event when it has posted pages."""

    nr_queues: int
    offloads: Offloads
    scattered: bool
    flipped: bool
    notifies: bool


def read_choices(frontend: Frontend) -> Choices:
    """Raises DeviceFault for what there is not."""
    nr_queues = frontend.number("multi-queue-num-queues", 1)
    if not 1 <= nr_queues <= MOST_QUEUES:
        raise DeviceFault(f"the frontend wants {nr_queues} queues, of 1 to {MOST_QUEUES}")
    scattered = chosen(frontend, "feature-sg")
    checksum4 = not chosen(frontend, "feature-no-csum-offload")
    checksum6 = chosen(frontend, "feature-ipv6-csum-offload")
    offloads = Offloads(
        checksum4,
        checksum6,
        # A packet that is to be cut is large, and has its checksums blank.
        scattered and checksum4 and chosen(frontend, "feature-gso-tcpv4"),
        scattered and checksum6 and chosen(frontend, "feature-gso-tcpv6"),
    )
    return Choices(nr_queues, offloads, scattered, _flipped(frontend), chosen(frontend, "feature-rx-notify"))


def chosen(frontend: Frontend, feature: str) -> bool:
    """Whether the frontend wrote that it wants a feature. Raises DeviceFault for what is no number."""
    return frontend.number(feature, 0) != 0


def _flipped(frontend: Frontend) -> bool:
    """The first frontends had all pages exchanged, and knew no node to say so."""
    if chosen(frontend, "request-rx-copy"):
        return False
    if not frontend.number("feature-rx-flip", 1):
        raise DeviceFault("the frontend has its pages neither copied into nor exchanged")
    return True
