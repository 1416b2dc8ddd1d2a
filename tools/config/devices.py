"""Devices in xl.cfg(5): xl-disk-configuration(5) and xl-network-configuration(5), as far as PV guests go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DISK_FORMATS: Final = ("raw", "qcow", "qcow2", "vhd", "qed")
_DISK_KEYS: Final = ("target", "format", "vdev", "access")
_DISK_FLAGS: Final = ("discard", "no-discard", "direct-io-safe", "cdrom")
_DISK_OTHER: Final = ("devtype", "backend", "backendtype", "script")
_ACCESS: Final = {"r": True, "ro": True, "w": False, "rw": False}
_VIF_KEYS: Final = ("mac", "bridge", "ip", "backend", "rate", "type", "vifname", "script", "model", "mtu")


class DeviceError(ValueError):
    """A device's description has a mistake; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Disk:
    target: str
    format: str
    vdev: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Vif:
    """A network interface: what was said of it by key."""

    settings: tuple[tuple[str, str], ...]


def parse_disk(text: str) -> Disk:
    """`target, format, vdev, access` by position or `key=value`, or the older `phy:TARGET,VDEV,ACCESS`. A
    target by its key is last, and takes all that follows, commas included."""
    head, marked, rest = text.partition("target=")
    found = {"target": rest.strip()} if marked else {}
    prefix, colon, old = text.partition(":")
    if not marked and colon and prefix.strip() in ("phy", "file", "tap"):
        fields = [field.strip() for field in old.split(",")]
        if len(fields) != 3:
            raise DeviceError(f"disk {text!r} is no {prefix.strip()}:TARGET,VDEV,ACCESS")
        found = dict(zip(("target", "vdev", "access"), fields, strict=True))
        head = ""
    positions = iter(_DISK_KEYS[1:] if marked else _DISK_KEYS)
    for field in (field.strip() for field in head.rstrip(", ").split(",")) if head else ():
        key, equals, value = (part.strip() for part in field.partition("="))
        if not equals and key in _DISK_FLAGS:
            continue
        if equals and key not in (*_DISK_KEYS, *_DISK_OTHER):
            raise DeviceError(f"disk {text!r} has no setting {key}")
        name = key if equals else next(positions, "")
        if not name:
            raise DeviceError(f"disk {text!r} has one word too many: {field}")
        found[name] = value if equals else field
    return _disk(text, found)


def _disk(text: str, found: dict[str, str]) -> Disk:
    if not found.get("vdev"):
        raise DeviceError(f"disk {text!r} does not say what the guest calls it: vdev=xvda")
    kind, access = found.get("format") or "raw", found.get("access") or "rw"
    if kind not in DISK_FORMATS:
        raise DeviceError(f"disk {text!r}: {kind} is none of {', '.join(DISK_FORMATS)}")
    if access not in _ACCESS:
        raise DeviceError(f"disk {text!r}: access is r or w, not {access}")
    return Disk(found.get("target", ""), kind, found["vdev"], _ACCESS[access])


def parse_vif(text: str) -> Vif:
    """`key=value,...`; empty is a network interface with nothing said of it."""
    found: dict[str, str] = {}
    for field in filter(None, (field.strip() for field in text.split(","))):
        key, equals, value = (part.strip() for part in field.partition("="))
        if not equals or key not in _VIF_KEYS:
            raise DeviceError(f"vif {text!r}: {field} is no setting of a network interface")
        found[key] = value
    return Vif(tuple(found.items()))
