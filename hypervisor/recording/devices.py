"""Which devices a recorded domain had, as plain values; and the same again, from hostile ones."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from paravane.devices.net.addresses import format_mac, parse_mac
from paravane.devices.net.errors import NetError
from paravane.devices.net.rate import read_rate
from paravane.devices.net.vif import Vif
from paravane.recording.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.devices.xenbus import DeviceConfig
    from paravane.recording.manifest import Description


def described(device: DeviceConfig) -> Description:
    """Raises RecordingError for a device that cannot be kept."""
    if isinstance(device, Vif) and not device.rules:
        return {
            "kind": "vif",
            "number": device.number,
            "mac": "" if device.mac is None else format_mac(device.mac),
            "bridge": device.bridge,
            "rate": "" if device.rate is None else str(device.rate),
            "ip": " ".join(map(str, device.networks)),
            "mtu": device.mtu,
            "passt": device.passt,
            "tap": device.tap,
        }
    raise RecordingError(f"it keeps nothing of a {type(device).__name__} yet")


def devices_of(found: Iterable[Description]) -> tuple[DeviceConfig, ...]:
    """What was described. Raises RecordingError."""
    return tuple(map(_device, found))


def _device(found: Description) -> DeviceConfig:
    try:
        if found.get("kind") == "vif":
            return _vif(found)
    except (NetError, ValueError, KeyError, TypeError):
        raise RecordingError(f"its manifest has a device of kind {found['kind']!r} that cannot be") from None
    raise RecordingError("its manifest has a device of a kind that is not known")


def _vif(found: Description) -> Vif:
    """Raises NetError, ValueError, KeyError and TypeError."""
    mac, rate = _text(found, "mac"), _text(found, "rate")
    vif = Vif(
        number=_number(found, "number"),
        mac=parse_mac(mac) if mac else None,
        bridge=_text(found, "bridge"),
        rate=read_rate(rate.encode("ascii")) if rate else None,
        networks=tuple(ip_network(word) for word in _text(found, "ip").split()),
        mtu=_number(found, "mtu"),
        passt=found["passt"] is True,
        tap=_text(found, "tap"),
    )
    if rate and vif.rate is None:
        raise ValueError
    return vif


def _text(found: Description, name: str) -> str:
    value = found[name]
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(found: Description, name: str) -> int:
    value = found[name]
    if type(value) is not int:
        raise TypeError
    return value
