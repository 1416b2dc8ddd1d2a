"""Options of a domain's devices: disks, network interfaces, consoles, framebuffers."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paravane.classes import NamedTuple
from paravane.tools.console_options import add_console_option, given
from paravane.tools.screens import vfbs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.devices.block import Disk
    from paravane.devices.console import ConsoleSpec
    from paravane.devices.framebuffer import Vfb
    from paravane.devices.net.vif import Vif
    from paravane.devices.xenbus import DeviceConfig


class Devices(NamedTuple):
    """What a domain is to be given."""

    disks: tuple[Disk, ...] = ()
    vifs: tuple[Vif, ...] = ()
    vfbs: tuple[Vfb, ...] = ()
    consoles: Sequence[Any] = ()

    def configs(self, name: str) -> tuple[ConsoleSpec | None, tuple[DeviceConfig, ...]]:
        """Its first console, and all else, for a domain of this name."""
        console, extras = given(self.consoles)
        screens = [device for vfb in self.vfbs for device in replace(vfb, title=name).devices]
        return console, (*self.disks, *self.vifs, *extras, *screens)


def add_device_options(group: argparse._ArgumentGroup, default: str) -> None:
    """`default` says what a domain has without them."""
    group.add_argument(
        "--disk",
        action="append",
        type=_disk,
        metavar="DISK",
        help="a disk: FILE,xvda[,ro][,cow[=FILE]], ram:SIZE,xvda, or as in xl.cfg; once for each disk "
        f"(default: {default})",
    )
    group.add_argument(
        "--vif",
        action="append",
        type=_vif,
        metavar="VIF",
        help="a network interface: bridge=br0[,mac=..][,rate=10Mb/s][,pcap=FILE][,passt][,tap=NAME], or as "
        f"in xl.cfg; once for each (default: {default})",
    )
    add_console_option(group)
    group.add_argument(
        "--vfb",
        action="append",
        type=_vfb,
        metavar="VFB",
        help="a framebuffer with a keyboard, seen by VNC: vnc=PORT[,listen=ADDRESS][,passwd=..][,width=..,"
        f"height=..], vnc=0 for none, or as in xl.cfg; once for each (default: {default})",
    )


def devices_given(options: argparse.Namespace, found: Devices) -> Devices:
    """What the options say, and of kinds that they do not name what was `found`."""
    given_disks, given_vifs, given_vfbs = options.disk, options.vif, options.vfb
    return Devices(
        found.disks if given_disks is None else tuple(given_disks),
        found.vifs if given_vifs is None else tuple(_numbered(given_vifs)),
        found.vfbs if given_vfbs is None else tuple(_numbered(given_vfbs)),
        found.consoles if options.console is None else options.console,
    )


def _numbered(devices: Sequence[Any]) -> list[Any]:
    return [replace(device, number=number) for number, device in enumerate(devices)]


def _disk(text: str) -> Disk:
    from paravane.devices.block import parse_disk  # noqa: PLC0415 - loaded for who asks for it only

    try:
        return parse_disk(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _vfb(text: str) -> Vfb:
    try:
        return vfbs_of([text])[0]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _vif(text: str) -> Vif:
    from paravane.devices.net.vif import parse_vif  # noqa: PLC0415 - loaded for who asks for it only

    try:
        return parse_vif(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
