"""Which devices a recorded domain had, as plain values; and the same again, from hostile ones."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from paravane.devices.block import Disk
from paravane.devices.block.config import SECTOR_SIZES
from paravane.devices.block.vdev import number_of
from paravane.devices.framebuffer.vfb import Vfb, Vkbd
from paravane.devices.net.addresses import format_mac, parse_mac
from paravane.devices.net.errors import NetError
from paravane.devices.net.rate import read_rate
from paravane.devices.net.vif import Vif
from paravane.recording.disks import RepeatedDisk
from paravane.recording.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from paravane.devices.xenbus import DeviceConfig
    from paravane.recording.disk_log import Reader
    from paravane.recording.manifest import Description

LARGEST_DISK: Final = 1 << 44
"""Bytes: a file of the host's has no more."""


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
    if isinstance(device, Disk):
        return {
            "kind": "ram" if device.path is None else "disk",
            "vdev": device.vdev,
            "size": device.memory,
            "read_only": device.read_only,
            "cdrom": device.cdrom,
            "sector_size": device.sector_size,
            "target": device.target,
        }
    if isinstance(device, Vfb):
        return {
            "kind": "vfb",
            "number": device.number,
            "vnc": device.vnc,
            "listen": device.listen,
            "port": device.port,
            "find_unused": device.find_unused,
            "width": device.width or 0,
            "height": device.height or 0,
        }
    if isinstance(device, Vkbd):
        return {"kind": "vkbd", "number": device.vfb.number}
    raise RecordingError(f"it keeps nothing of a {type(device).__name__} yet")


def disk_file(number: int) -> str:
    """The name of the file with what the device of that number gave, if it is a disk."""
    return f"disk-{number}"


def devices_of(
    found: Iterable[Description], answers: Callable[[str], Reader], stray: Callable[[str], None]
) -> tuple[DeviceConfig, ...]:
    """What was described. `answers` opens a file of a disk; `stray` is told what shows that the run is not
    the recorded one. Raises RecordingError."""
    made: list[DeviceConfig] = []
    for number, one in enumerate(found):
        if one.get("kind") == "vkbd":
            made.append(_vkbd(one, made))
        else:
            made.append(_device(one, partial(answers, disk_file(number)), stray))
    return tuple(made)


def _vkbd(found: Description, made: Sequence[DeviceConfig]) -> DeviceConfig:
    """The keyboard of a framebuffer that there is."""
    for one in made:
        if isinstance(one, Vfb) and one.number == found.get("number"):
            return Vkbd(one)
    raise RecordingError("its manifest has a keyboard of no framebuffer")


def _device(found: Description, answers: Callable[[], Reader], stray: Callable[[str], None]) -> DeviceConfig:
    try:
        match found.get("kind"):
            case "vif":
                return _vif(found)
            case "vfb":
                return _vfb(found)
            case "ram":
                return Disk(memory=_number(found, "size"), **_disk(found))
            case "disk":
                return RepeatedDisk(
                    size=_size(found),
                    target=_text(found, "target"),
                    answers=answers,
                    stray=stray,
                    **_disk(found),
                )
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


def _vfb(found: Description) -> Vfb:
    """Raises ValueError, KeyError and TypeError."""
    return Vfb(
        vnc=found["vnc"] is True,
        listen=_text(found, "listen"),
        port=_number(found, "port"),
        find_unused=found["find_unused"] is True,
        width=_number(found, "width") or None,
        height=_number(found, "height") or None,
        number=_number(found, "number"),
    )


def _disk(found: Description) -> dict[str, Any]:
    """What all disks have. Raises ValueError, KeyError and TypeError."""
    vdev, sector_size = _text(found, "vdev"), _number(found, "sector_size")
    number_of(vdev)
    if sector_size not in SECTOR_SIZES:
        raise ValueError
    return {
        "vdev": vdev,
        "sector_size": sector_size,
        "read_only": found["read_only"] is True,
        "cdrom": found["cdrom"] is True,
    }


def _size(found: Description) -> int:
    size, sector_size = _number(found, "size"), _number(found, "sector_size")
    if not 0 < size <= LARGEST_DISK or sector_size <= 0 or size % sector_size:
        raise ValueError
    return size


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
