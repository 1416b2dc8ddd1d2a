"""Devices of saved domains: disks in memory with all that is on them, interfaces of the machine's networks.

A device connects again as it did before, with the answers, grants, ports and watches of then
(`ResumedFrontend`), and then goes on from its own state.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from paravane.devices.block import BlockDevice, Disk
from paravane.devices.block.raw import PIECE, RawVolume
from paravane.devices.net.errors import NetError
from paravane.devices.net.interface import Interface
from paravane.devices.net.network import Network
from paravane.devices.net.rate import Rate
from paravane.devices.net.vif import Vif
from paravane.devices.ring import RingFault
from paravane.devices.xenbus import DeviceFault
from paravane.snapshot.device_state import DeviceSaved, DiskSaved, VifSaved
from paravane.snapshot.errors import SnapshotError
from paravane.text import shown

if TYPE_CHECKING:
    from paravane.devices.net.state import NetworkState
    from paravane.devices.net.vif_settings import VifSettings
    from paravane.devices.xenbus import DeviceHost
    from paravane.devices.xenbus.attachment import Attachment
    from paravane.domain import Domain

MOST_DISK: Final = 1 << 30
"""Bytes that are kept of what is on one disk."""


def save_devices(domain: Domain) -> tuple[DeviceSaved, ...]:
    """Raises SnapshotError, a sentence, for a device that cannot be saved."""
    return tuple(_saved(shown(domain.name), attachment) for attachment in domain.devices)


def restore_devices(domain: Domain, saved: tuple[DeviceSaved, ...]) -> None:
    """Have the devices again. Raises SnapshotError, and ValueError for what cannot have been saved."""
    for kept in saved:
        try:
            _restore(domain, kept)
        except (DeviceFault, RingFault, NetError) as error:
            raise ValueError(str(error)) from None


def save_network(host: DeviceHost) -> NetworkState | None:
    """The networks, if there are any."""
    network = host.had(Network)
    return None if network is None else network.save()


def restore_network(host: DeviceHost, saved: NetworkState | None) -> None:
    """Have them again, now that all interfaces are there. Raises ValueError for what cannot have been
    saved."""
    if saved is not None:
        host.shared(Network).restore(saved)
    elif host.had(Network) is not None:
        raise ValueError("there is a network that was not saved")


def _saved(name: str, attachment: Attachment) -> DeviceSaved:
    device, config = attachment.device, attachment.config
    kept: DiskSaved | VifSaved
    try:
        if isinstance(device, BlockDevice) and isinstance(config, Disk):
            kept = _disk(config, device)
        elif isinstance(device, Interface) and isinstance(config, Vif):
            kept = _vif(config, device)
        else:
            raise ValueError("which cannot be saved yet")
        return DeviceSaved(kept, attachment.save())
    except ValueError as error:
        raise SnapshotError(f"{name} has the device {attachment.name}, {error}") from None


def _disk(config: Disk, device: BlockDevice) -> DiskSaved:
    """Raises ValueError, a clause."""
    if config.path is not None or not isinstance(device.volume, RawVolume):
        raise ValueError("which stands on a file: only disks in memory can be saved yet")
    contents = []
    for place, piece in device.volume.contents():
        contents.append((place, piece))
        if len(contents) * PIECE > MOST_DISK:
            raise ValueError(f"on which there are more than {MOST_DISK >> 20} MiB: they are not saved")
    ring = device.save()
    shape = (config.vdev, config.memory, config.read_only, config.cdrom, config.sector_size)
    return DiskSaved(*shape, ring, tuple(contents))


def _vif(config: VifSettings, device: Interface) -> VifSaved:
    """Raises ValueError, a clause."""
    for found, what in (
        (config.outside, "which leads out of the machine: who is there cannot be saved"),
        (config.pcap, "which writes a file of what passes it: that cannot be saved"),
        (config.rules, "which has a firewall: that cannot be saved yet"),
    ):
        if found:
            raise ValueError(what)
    rate = None if config.rate is None else (config.rate.size, config.rate.interval)
    networks = tuple(map(str, config.networks))
    shape = (config.number, config.mac or b"", config.bridge, rate, networks, config.mtu)
    return VifSaved(*shape, device.save())


def _restore(domain: Domain, kept: DeviceSaved) -> None:
    device, devices = kept.device, domain.devices
    if isinstance(device, DiskSaved):
        disk = Disk(
            None, device.vdev, device.read_only, False, None, device.memory, device.cdrom, device.sector_size
        )
        made = disk.open(devices.host)
        devices.resume(disk, made, kept.attachment)
        for place, piece in device.contents:
            if place < 0 or place + len(piece) > disk.memory:
                raise ValueError(f"a disk of {disk.memory} bytes has nothing at {place}")
            made.volume.write([bytearray(piece)], place)
        made.restore(device.ring)
        return
    vif = Vif(
        device.number,
        device.mac or None,
        device.bridge,
        None if device.rate is None else Rate(*device.rate),
        tuple(map(ip_network, device.networks)),
        device.mtu,
    )
    if len(device.state.mac) != 6 or len(device.mac) not in (0, 6):
        raise ValueError("an Ethernet address has 6 bytes")
    devices.host.shared(Network).resume_mac(vif, device.state.mac)
    interface = vif.open(devices.host)
    devices.resume(vif, interface, kept.attachment)
    interface.restore(device.state)
