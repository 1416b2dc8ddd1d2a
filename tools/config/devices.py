"""Network interfaces in xl.cfg(5): xl-network-configuration(5), as far as PV guests go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_VIF_KEYS: Final = ("mac", "bridge", "ip", "backend", "rate", "type", "vifname", "script", "model", "mtu")


class DeviceError(ValueError):
    """A device's description has a mistake; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Vif:
    """A network interface: what was said of it by key."""

    settings: tuple[tuple[str, str], ...]


def parse_vif(text: str) -> Vif:
    """`key=value,...`; empty is a network interface with nothing said of it."""
    found: dict[str, str] = {}
    for field in filter(None, (field.strip() for field in text.split(","))):
        key, equals, value = (part.strip() for part in field.partition("="))
        if not equals or key not in _VIF_KEYS:
            raise DeviceError(f"vif {text!r}: {field} is no setting of a network interface")
        found[key] = value
    return Vif(tuple(found.items()))
