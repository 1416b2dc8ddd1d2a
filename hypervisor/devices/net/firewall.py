"""The virtual firewall of a network interface: of its ordered rules, the first that matches decides.

What a domain may send and receive is not its own affair: the rules are kept, and the frames looked at, where
the domain has no hand.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.devices.net.headers import EtherType, Protocol
from paravane.devices.net.rate import Credit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.devices.net.frame import Frame
    from paravane.devices.net.headers import Headers
    from paravane.devices.net.rate import Rate

Network = IPv4Network | IPv6Network

_UNSPECIFIED: Final = (bytes(4), bytes(16))
_LINK_LOCAL: Final = IPv6Network("fe80::/10")
_BOOTP: Final = (68, 67)


class Direction(Enum):
    """As the domain sees it."""

    OUT = "out"
    IN = "in"


class Verdict(Enum):
    ACCEPT = "accept"
    DROP = "drop"
    RATE = "rate"
    """Accept while there is credit, and drop what is more."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose frames an interface sends: its Ethernet address, and the IP addresses it may use (none: any)."""

    mac: bytes
    networks: tuple[Network, ...] = ()

    def denies(self, headers: Headers) -> bool:
        """Whether a frame comes, or says that it comes, from somebody else, or answers for an address of
        somebody else's. A domain that has no address yet
        may look for one: by DHCP, an ARP probe, IPv6's detection of duplicates. Where IP addresses are
        given, IPv6's link-local ones are its own as well, which no list can know."""
        if headers.source != self.mac or (headers.sender and headers.sender != self.mac):
            return True
        source = headers.source_ip
        if not self.networks or not source:
            return False
        if headers.claimed and not self._owns(headers.claimed):
            return True
        if source in _UNSPECIFIED:
            asks = headers.protocol == Protocol.ICMPV6 or headers.ports == _BOOTP
            return not (asks or headers.ethertype == EtherType.ARP)
        return not self._owns(source)

    def _owns(self, address: bytes) -> bool:
        return any(within(address, network) for network in (*self.networks, _LINK_LOCAL))


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: all that it says has to hold for a frame. What is None is not looked at; ports are ranges
    that end before their `stop`. `spoofed`: only frames that `Identity.denies`."""

    verdict: Verdict
    rate: Rate | None = None
    direction: Direction | None = None
    spoofed: bool = False
    source_mac: bytes | None = None
    destination_mac: bytes | None = None
    ethertype: int | None = None
    protocol: int | None = None
    source: Network | None = None
    destination: Network | None = None
    source_ports: range | None = None
    destination_ports: range | None = None

    def __post_init__(self) -> None:
        if (self.rate is not None) is not (self.verdict is Verdict.RATE):
            raise ValueError("a rule has a rate when its verdict is one, and only then")

    def matches(self, headers: Headers, direction: Direction, identity: Identity) -> bool:
        return (
            self.direction in (None, direction)
            and self.ethertype in (None, headers.ethertype)
            and self.protocol in (None, headers.protocol)
            and self.source_mac in (None, headers.source)
            and self.destination_mac in (None, headers.destination)
            and (self.source is None or within(headers.source_ip, self.source))
            and (self.destination is None or within(headers.destination_ip, self.destination))
            and self._of_ports(headers.ports)
            and (not self.spoofed or (direction is Direction.OUT and identity.denies(headers)))
        )

    def _of_ports(self, ports: tuple[int, int] | None) -> bool:
        if self.source_ports is None and self.destination_ports is None:
            return True
        return (
            ports is not None
            and (self.source_ports is None or ports[0] in self.source_ports)
            and (self.destination_ports is None or ports[1] in self.destination_ports)
        )


def within(address: bytes, network: Network) -> bool:
    """Whether an address, of 4 or 16 bytes, is one of a network's."""
    if len(address) * 8 != network.max_prefixlen:
        return False
    mask = int(network.netmask)
    return int.from_bytes(address, "big") & mask == int(network.network_address)


@dataclass(slots=True)
class Firewall:
    """The rules of one interface at work. `now` gives system time in nanoseconds; `hits` counts, for each
    rule, the frames that it decided.

    A frame whose headers are cut short, or contradict each other, passes no firewall that has rules: they
    cannot be held against it. Later fragments have no ports, so that no rule about ports is about them; the
    first one decides whether there is ever a packet.
    """

    rules: Sequence[Rule]
    identity: Identity
    now: Callable[[], int]
    default: Verdict = Verdict.ACCEPT
    hits: list[int] = field(init=False)
    _credits: list[Credit | None] = field(init=False)

    def __post_init__(self) -> None:
        if self.default is Verdict.RATE:
            raise ValueError("what no rule matches is accepted or dropped")
        now = self.now()
        self.hits = [0] * len(self.rules)
        self._credits = [None if rule.rate is None else Credit(rule.rate, now) for rule in self.rules]

    @property
    def idle(self) -> bool:
        """Whether everything passes."""
        return not self.rules and self.default is Verdict.ACCEPT

    def passes(self, frame: Frame, direction: Direction) -> bool:
        """Whether a frame may go on."""
        if not self.rules:
            return self.default is Verdict.ACCEPT
        headers = frame.headers
        if headers.malformed:
            return False
        for number, rule in enumerate(self.rules):
            if rule.matches(headers, direction, self.identity):
                self.hits[number] += 1
                credit = self._credits[number]
                if credit is not None:
                    return credit.take(len(frame.data), self.now())
                return rule.verdict is Verdict.ACCEPT
        return self.default is Verdict.ACCEPT
