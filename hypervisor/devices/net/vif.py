"""A network interface as it is described: xl's words (xl-network-configuration(5)), and some of our own."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from paravane.devices.net.addresses import parse_mac
from paravane.devices.net.errors import NetError
from paravane.devices.net.interface import Interface
from paravane.devices.net.rate import parse_rate
from paravane.devices.net.rule_syntax import parse_rule
from paravane.devices.net.vif_settings import VifSettings
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from paravane.devices.net.firewall import Network, Rule
    from paravane.devices.xenbus import DeviceHost

_XL_ONLY: Final = ("backend", "script", "model", "gatewaydev", "vifname", "type")
"""Keys of xl's that say nothing here: everything is on this one machine, and needs no script."""


class Vif(VifSettings):
    """An interface for `DomainConfig.devices` and `Machine.attach`."""

    __slots__ = ()

    def open(self, host: DeviceHost) -> Interface:
        """The interface, on the network of `host`. Raises NetError."""
        return Interface(host, self)


def vifs_of(texts: Iterable[str], rules: Iterable[str] = ()) -> tuple[Vif, ...]:
    """The interfaces of a domain, numbered in this order, all behind a firewall of these rules. Raises
    NetError."""
    parsed = tuple(parse_rule(rule) for rule in rules)
    return tuple(parse_vif(text, number, parsed) for number, text in enumerate(texts))


def parse_vif(text: str, number: int = 0, rules: tuple[Rule, ...] = ()) -> Vif:
    """`key=value,...`, where empty is an interface with nothing said of it. `number` is its own unless
    `devid=` says otherwise. Raises NetError, one sentence."""
    found: dict[str, Any] = {"number": number, "rules": rules}
    for field in filter(None, (field.strip() for field in text.split(","))):
        key, equals, value = (part.strip() for part in field.partition("="))
        if key == "passt" and not equals:
            found["passt"] = True
        elif not equals or key not in (*_KEYS, *_XL_ONLY):
            raise NetError(f"{shown(field)} is no setting of a network interface")
        elif key in _KEYS:
            name, read = _KEYS[key]
            found[name] = read(value)
    return Vif(**found)


def located(text: str, locate: Callable[[str], str]) -> str:
    """A description with the name of its file as `locate` gives it, for a machine in another folder."""
    fields = []
    for field in text.split(","):
        key, _, value = (part.strip() for part in field.partition("="))
        fields.append(f"pcap={locate(value)}" if key == "pcap" and value else field.strip())
    return ",".join(fields)


def _name(text: str) -> str:
    if not text:
        raise NetError("pcap= is followed by a file, tap= by a device")
    return text


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
    "pcap": ("pcap", _name),
    "tap": ("tap", _name),
    "devid": ("number", _number),
}
