"""Ethernet addresses, as the six bytes that are in frames and as people write them."""

from __future__ import annotations

import re
from typing import Final

from paravane.devices.net.errors import NetError

MAC_SIZE: Final = 6

XEN_VENDOR: Final = bytes.fromhex("00163e")
"""The first half of addresses that Xen's tools make up: the project's own OUI."""

_MAC: Final = re.compile(r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}")
_GROUP: Final = 1
_BRIDGE_GROUP: Final = bytes.fromhex("0180c20000")


def is_group(mac: bytes) -> bool:
    """Whether an address is a multicast one, or broadcast: no station's own."""
    return bool(mac[0] & _GROUP)


def is_link_local(mac: bytes) -> bool:
    """Whether frames to this group are between neighbours, and no bridge passes them on (IEEE 802.1D, 7.12.6:
    01:80:C2:00:00:00 to :0F)."""
    return mac.startswith(_BRIDGE_GROUP) and mac[5] < 0x10


def format_mac(mac: bytes) -> str:
    """00:16:3e:01:02:03."""
    return mac.hex(":")


def parse_mac(text: str) -> bytes:
    """The address of one station. Raises NetError."""
    if not _MAC.fullmatch(text):
        raise NetError(f"{text!r} is no Ethernet address: six numbers like 00:16:3e:01:02:03")
    mac = bytes(int(part, 16) for part in text.split(":"))
    if is_group(mac) or not any(mac):
        raise NetError(f"{text!r} is no address that a network interface can have as its own")
    return mac


def numbered_mac(number: int) -> bytes:
    """The address of that number, from 0 to 2**24 - 1, in Xen's range."""
    return XEN_VENDOR + number.to_bytes(3, "big")
