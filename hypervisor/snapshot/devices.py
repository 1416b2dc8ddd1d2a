"""Devices of saved domains: disks with all that is in memory of them, interfaces of the machine's networks.

A device connects again as it did before, with the answers, grants, ports and watches of then
(`ResumedFrontend`), and then goes on from its own state.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from paravane.devices.block import BlockDevice, Disk
from paravane.devices.block.files import PART
from paravane.devices.block.overlay import Overlay
from paravane.devices.block.raw import RawVolume
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
    from collections.abc import Iterable

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


def restore_devices(domain: Domain, saved: tuple[DeviceSaved, ...], given: Iterable[Disk]) -> None:
    """Have the devices again; `given` are the disks that stand on files. Raises SnapshotError, and ValueError
    for what cannot have been saved."""
    disks = {disk.vdev: disk for disk in given}
    for kept in saved:
        try:
            _restore(domain, kept, disks)
        except (DeviceFault, RingFault, NetError) as error:
            raise ValueError(str(error)) from None
    for vdev in disks:
        raise SnapshotError(f"{shown(domain.name)} had no disk {shown(vdev)} that stood on a file")


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
    volume = device.volume
    if not isinstance(volume, RawVolume | Overlay):
        raise ValueError("which cannot be saved yet")
    contents = []
    for place, part in volume.contents():
        contents.append((place, part))
        if len(contents) * PART > MOST_DISK:
            raise ValueError(f"on which there are more than {MOST_DISK >> 20} MiB: they are not saved")
    return DiskSaved(
        config.vdev,
        config.target,
        config.cow,
        config.memory,
        config.read_only,
        config.cdrom,
        config.sector_size,
        volume.stamps,
        device.save(),
        tuple(contents),
    )


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


def _disk_of(kept: DiskSaved, given: Disk | None) -> Disk:
    """What it is to be now. A snapshot opens no file that it names itself: who restores it says which.
    Raises SnapshotError, and ValueError for what is no disk."""
    if not kept.stamps:
        return Disk(
            vdev=kept.vdev,
            read_only=kept.read_only,
            memory=kept.memory,
            cdrom=kept.cdrom,
            sector_size=kept.sector_size,
        )
    if given is None:
        raise SnapshotError(
            f"the disk {shown(kept.vdev)} stands on {shown(kept.target)}, which has to be given again"
        )
    was = (kept.cow, kept.read_only, kept.cdrom, kept.sector_size)
    if given.path is None or (given.cow, given.read_only, given.cdrom, given.sector_size) != was:
        raise SnapshotError(f"the disk {shown(kept.vdev)} was not given as it was")
    return given


def _restore(domain: Domain, kept: DeviceSaved, disks: dict[str, Disk]) -> None:
    device, devices = kept.device, domain.devices
    if isinstance(device, DiskSaved):
        disk = _disk_of(device, disks.pop(device.vdev, None) if device.stamps else None)
        try:
            made = disk.open(devices.host)
        except ValueError as error:
            raise SnapshotError(f"the disk {shown(device.vdev)} cannot be had: {error}") from None
        devices.resume(disk, made, kept.attachment)
        volume = made.volume
        assert isinstance(volume, RawVolume | Overlay)
        if volume.stamps != device.stamps:
            raise SnapshotError(
                f"{disk.target} was changed since the machine was saved: {disk.vdev} would be another disk"
            )
        for place, part in device.contents:
            volume.refill(place, part)
        made.restore(device.requests)
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
