"""Devices that are the same in every run: what a kernel does to them is gone when the run is over."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from paravane.tools.status import UsageError

if TYPE_CHECKING:
    import argparse

    from paravane.devices.block import Disk
    from paravane.devices.net.vif import Vif
    from paravane.devices.xenbus import DeviceConfig
    from paravane.tools.images import Found


def add_device_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--disk",
        action="append",
        metavar="DISK",
        help="a disk, as `boot` takes it; what is written to a file's is kept in memory, and gone with the "
        "run (default: what the kernel of `list` asks for)",
    )
    group.add_argument(
        "--vif",
        action="append",
        metavar="VIF",
        help="a network interface, as `boot` takes it, with no way out of the machine (default: what the "
        "kernel of `list` asks for)",
    )


def devices_of(options: argparse.Namespace, found: Found) -> tuple[DeviceConfig, ...]:
    """The devices of every run. Raises UsageError for what no run could begin with anew, and for what a seed
    does not decide."""
    if found.vfbs:
        raise UsageError(f"{found.name} has a framebuffer, and no seed decides what its viewers do")
    if len(found.consoles) > 1 or any(one.end is not None or one.log for one in found.consoles):
        raise UsageError(f"{found.name} has consoles elsewhere, and no seed decides what comes from there")
    return (*map(_disk, _disks(options, found)), *map(_vif, _vifs(options, found)))


def _disks(options: argparse.Namespace, found: Found) -> tuple[Disk, ...]:
    if options.disk is None:
        disks = found.disks
    else:
        parse_disk = import_module("paravane.devices.block").parse_disk
        try:
            disks = tuple(map(parse_disk, options.disk))
        except ValueError as error:
            raise UsageError(f"--disk: {error}") from None
    if options.dask is not None and (named := [one for one in disks if one.files]):
        raise UsageError(f"{named[0].path} is a file of this machine: workers elsewhere have ram: disks only")
    return disks


def _vifs(options: argparse.Namespace, found: Found) -> tuple[Vif, ...]:
    if options.vif is None:
        return found.vifs
    parse_vif = import_module("paravane.devices.net.vif").parse_vif
    try:
        return tuple(parse_vif(text, number) for number, text in enumerate(options.vif))
    except ValueError as error:
        raise UsageError(f"--vif: {error}") from None


def _disk(disk: Disk) -> Disk:
    """One that leaves its file as it is."""
    if disk.cow_file is not None:
        raise UsageError(f"{disk.cow_file} would be another file after each run: give cow alone")
    if disk.path is None or disk.read_only or disk.cdrom:
        return disk
    return replace(disk, cow=True)


def _vif(vif: Vif) -> Vif:
    if vif.outside:
        raise UsageError("an interface with passt or tap meets what no seed decides: do without")
    if vif.pcap:
        raise UsageError(f"{vif.pcap} would be written by every run: do without pcap={vif.pcap}")
    return vif
