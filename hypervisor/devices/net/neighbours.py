"""IPv6's neighbour discovery (RFC 4861): of which addresses a message speaks, as an ARP packet does over
IPv4."""

from __future__ import annotations

from typing import Final

from paravane.classes import NamedTuple

_ADVERTISEMENT: Final = 136
_OPTIONS: Final = {133: 8, 134: 16, 135: 24, _ADVERTISEMENT: 24}
"""Types of messages, and where their options begin: router solicitation and advertisement, neighbour
solicitation and advertisement."""

_LINK_ADDRESSES: Final = (1, 2)
"""Options: the link-layer address of the source, of the target."""


class Claim(NamedTuple):
    """`target`: the IPv6 address that an advertisement answers for, empty for other messages; `stations`: the
    Ethernet addresses that are told."""

    target: bytes = b""
    stations: tuple[bytes, ...] = ()


def read_claim(message: bytes) -> Claim | None:
    """What a message of ICMPv6 claims: nothing unless it is one of neighbour discovery. None for one that is
    cut short."""
    at = _OPTIONS.get(message[0])
    if at is None:
        return Claim()
    if len(message) < at:
        return None
    stations = []
    while at < len(message):
        size = message[at + 1] * 8 if at + 1 < len(message) else 0
        if not 0 < size <= len(message) - at:
            return None
        if message[at] in _LINK_ADDRESSES:
            stations.append(message[at + 2 : at + 8])
        at += size
    target = message[8:24] if message[0] == _ADVERTISEMENT else b""
    return Claim(target, tuple(stations))
