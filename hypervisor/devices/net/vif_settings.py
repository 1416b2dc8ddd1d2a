"""What a network interface is to be: data that outlives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paravane.devices.net.errors import NetError
from paravane.devices.net.firewall import Verdict

if TYPE_CHECKING:
    from paravane.devices.net.firewall import Network, Rule
    from paravane.devices.net.rate import Rate

DEFAULT_BRIDGE: Final = "xenbr0"
"""xl's."""

SMALLEST_MTU: Final = 68
"""Of IPv4 (RFC 791)."""

LARGEST_MTU: Final = 65_521
"""What the largest packet of netif.h carries past its Ethernet header."""

MOST_NUMBER: Final = 0xFFFF

_BRIDGE: Final = re.compile(r"[A-Za-z0-9_.@-]{1,15}")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class VifSettings:
    """What an interface is to be.

    `number`: its handle, as in `eth0`. `mac`: None for one that nobody else has on the machine. `bridge`: the
    switch that it is on. `networks`: the IP addresses it may use, for rules about what is spoofed. `pcap`: a
    file that has all that passes it. `passt`, `tap`: what else is to be on its bridge. `rules` and `default`
    are its firewall.
    """

    number: int = 0
    mac: bytes | None = None
    bridge: str = DEFAULT_BRIDGE
    rate: Rate | None = None
    networks: tuple[Network, ...] = ()
    mtu: int = 1500
    pcap: str = ""
    passt: bool = False
    tap: str = ""
    rules: tuple[Rule, ...] = ()
    default: Verdict = Verdict.ACCEPT

    @property
    def outside(self) -> bool:
        """Whether it has a way out of the machine, to where time is the host's."""
        return self.passt or bool(self.tap)

    def __post_init__(self) -> None:
        """Raises NetError for what cannot be."""
        if not _BRIDGE.fullmatch(self.bridge):
            raise NetError(f"{self.bridge!r} is no name of a bridge: up to 15 letters, digits and _.@-")
        if not SMALLEST_MTU <= self.mtu <= LARGEST_MTU:
            raise NetError(f"an mtu is from {SMALLEST_MTU} to {LARGEST_MTU}, not {self.mtu}")
        if not 0 <= self.number <= MOST_NUMBER:
            raise NetError(f"an interface's number is from 0 to {MOST_NUMBER}, not {self.number}")
