"""A network interface as it is described: xl's words (xl-network-configuration(5)), and some of our own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from paravane.devices.net.addresses import parse_mac
from paravane.devices.net.errors import NetError
from paravane.devices.net.firewall import Verdict
from paravane.devices.net.interface import Interface
from paravane.devices.net.rate import Rate, parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.net.firewall import Network, Rule
    from paravane.devices.xenbus import DeviceHost

DEFAULTMOST_NUMBER: Final = 0xFFFF

_BRIDGE: Final = "xenbr0"
"""xl's."""

SMALLEST_MTU: Final = 68
"""Of IPv4 (RFC 791)."""

LARGEST_MTU: Final = 65_521
"""What the largest packet of netif.h carries past its Ethernet header."""

MOST_NUMBER: Final = 0xFFFF

_BRIDGE: Final = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
_XL_ONLY: Final = ("backend", "script", "model", "gatewaydev", "vifname", "type")
"""Keys of xl's that say nothing here: everything is on this one machine, and needs no script."""


@dataclass(frozen=True, slots=True)
class Vif:
    """What an interface is to be, for `DomainConfig.devices`. `number`: its handle, as in `eth0`. `mac`: None for one that nobody else has on the machine. `bridge`: the
    switch that it is on. `networks`: the IP addresses it may use, for rules about what is spoofed. `pcap`: a
    file that has all that passes it. `passt`, `tap`: what else is to be on its bridge. `rules` and `default`
    are its firewall."""

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

    def __post_init__(self) -> None:
        """Raises NetError for what cannot be."""
        if not _BRIDGE.fullmatch(self.bridge):
            raise NetError(f"{self.bridge!r} is no name of a bridge: up to 15 letters, digits and _.@-")
        if not SMALLEST_MTU <= self.mtu <= LARGEST_MTU:
            raise NetError(f"an mtu is from {SMALLEST_MTU} to {LARGEST_MTU}, not {self.mtu}")
        if not 0 <= self.number <= MOST_NUMBER:
            raise NetError(f"an interface's number is from 0 to {MOST_NUMBER}, not {self.number}")

    def open(self, host: DeviceHost) -> Interface:
        """The interface, on the network of `host`. Raises NetError."""
        return Interface(host, self)


def parse_vif(text: str) -> Vif:
    """`key=value,...`; empty is an interface with nothing said of it. Raises NetError, one sentence."""
    found: dict[str, Any] = {}
    for field in filter(None, (field.strip() for field in text.split(","))):
        key, equals, value = (part.strip() for part in field.partition("="))
        if key == "passt" and not equals:
            found["passt"] = True
        elif not equals or key not in (*_KEYS, *_XL_ONLY):
            raise NetError(f"vif {text!r}: {field} is no setting of a network interface")
        elif key in _KEYS:
            name, read = _KEYS[key]
            found[name] = read(value)
    return Vif(**found)


def _networks(text: str) -> tuple[Network, ...]:
    """Addresses or networks with blanks between them, as vif-bridge takes them."""
    try:
        return tuple(ip_network(word, strict=False) for word in text.split())
    except ValueError:
        raise NetError(f"ip={text}: {text!r} is no list of IP addresses") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise NetError(f"{text!r} is no number that an mtu or a devid can be")
    return int(text)


_KEYS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "mac": ("mac", parse_mac),
    "bridge": ("bridge", str),
    "rate": ("rate", parse_rate),
    "ip": ("networks", _networks),
    "mtu": ("mtu", _number),
    "pcap": ("pcap", str),
    "tap": ("tap", str),
    "devid": ("number", _number),
}
