"""Rules of a firewall as text: `drop out spoofed`, `accept in proto=tcp dport=80`."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from paravane.devices.net.addresses import MAC_SIZE, parse_mac
from paravane.devices.net.errors import NetError
from paravane.devices.net.firewall import Direction, Rule, Verdict
from paravane.devices.net.headers import EtherType, Protocol
from paravane.devices.net.rate import parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.net.firewall import Network

_TYPES: Final = {"ip": EtherType.IPV4, "arp": EtherType.ARP, "ip6": EtherType.IPV6}
_PROTOCOLS: Final = {
    "icmp": Protocol.ICMP,
    "tcp": Protocol.TCP,
    "udp": Protocol.UDP,
    "icmp6": Protocol.ICMPV6,
}
_MOST_PORT: Final = 0xFFFF


def parse_rule(text: str) -> Rule:
    """A rule: what to do (`accept`, `drop` or `rate=RATE`), then in any order `out` or `in` (as the domain
    sees it), `spoofed`, and `mac=`, `to-mac=`, `type=`, `proto=`, `src=`, `dst=`, `sport=`, `dport=`.

    `type` is ip, ip6, arp or a number, `proto` tcp, udp, icmp, icmp6 or a number, `src` and `dst` are
    addresses or networks like 10.0.0.0/8, ports are numbers or ranges like 1024-65535. Raises NetError.
    """
    words = text.split()
    if not words:
        raise NetError("a rule of a firewall says at least accept or drop")
    fields: dict[str, Any] = dict(_action(words[0]))
    for word in words[1:]:
        key, value = _condition(word)
        if key in fields:
            raise NetError(f"rule {text!r} says twice which {key.replace('_', ' ')} it is for")
        fields[key] = value
    if fields.get("spoofed") and fields.get("direction") is Direction.IN:
        raise NetError(f"rule {text!r} can never match: only what a domain sends is spoofed by it")
    return Rule(**fields)


def _action(word: str) -> dict[str, object]:
    key, equals, value = word.partition("=")
    if key == "rate" and equals:
        return {"verdict": Verdict.RATE, "rate": parse_rate(value)}
    if word in ("accept", "drop"):
        return {"verdict": Verdict(word)}
    raise NetError(f"a rule begins with accept, drop or rate=, not with {word!r}")


def _condition(word: str) -> tuple[str, object]:
    if word in ("in", "out"):
        return "direction", Direction(word)
    if word == "spoofed":
        return "spoofed", True
    key, equals, value = word.partition("=")
    if not equals or key not in _KEYS:
        raise NetError(f"{word!r} is no condition of a rule: in, out, spoofed, {'=, '.join(_KEYS)}=")
    name, read = _KEYS[key]
    return name, read(value)


def _number(names: dict[str, Any], most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if text in names:
            return int(names[text])
        try:
            number = int(text, 0) if len(text) <= 20 else -1
        except ValueError:
            number = -1
        if not 0 <= number <= most:
            raise NetError(f"{text!r} is none of {', '.join(names)}, and no number up to {most}")
        return number

    return read


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise NetError(f"{text!r} is no IP address or network") from None


def _ports(text: str) -> range:
    low, dash, high = text.partition("-")
    first, last = (
        part if part.isascii() and part.isdigit() and len(part) <= 5 else "" for part in (low, high or low)
    )
    if not first or not last or (dash and not high) or not int(first) <= int(last) <= _MOST_PORT:
        raise NetError(f"{text!r} is no port, and no range of ports like 1024-65535")
    return range(int(first), int(last) + 1)


def _station(text: str) -> bytes:
    """A group can be sent to, so it is an address here."""
    if text == "broadcast":
        return b"\xff" * MAC_SIZE
    return parse_mac(text)


_KEYS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "mac": ("source_mac", parse_mac),
    "to-mac": ("destination_mac", _station),
    "type": ("ethertype", _number(dict(_TYPES), 0xFFFF)),
    "proto": ("protocol", _number(dict(_PROTOCOLS), 0xFF)),
    "src": ("source", _network),
    "dst": ("destination", _network),
    "sport": ("source_ports", _ports),
    "dport": ("destination_ports", _ports),
}
