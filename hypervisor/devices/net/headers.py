"""What the headers of a frame say: Ethernet, VLAN tags, ARP, IPv4, IPv6, and the ports of TCP and UDP.

A frame is what a guest made of it. Every reader here is total: whatever the bytes are, the answer is a
`Headers`, and what cannot be told of a frame that is cut short or contradicts itself is told by `malformed`.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.devices.net.neighbours import Claim, read_claim

if TYPE_CHECKING:
    from collections.abc import Callable

ETH_HEADER: Final = 14


class EtherType(IntEnum):
    IPV4 = 0x0800
    ARP = 0x0806
    VLAN = 0x8100
    IPV6 = 0x86DD
    SERVICE_VLAN = 0x88A8


class Protocol(IntEnum):
    """IANA's numbers of what IP carries."""

    ICMP = 1
    TCP = 6
    UDP = 17
    ICMPV6 = 58


class Extension(IntEnum):
    """Headers of IPv6 that another header follows."""

    HOP_BY_HOP = 0
    ROUTING = 43
    FRAGMENT = 44
    AUTHENTICATION = 51
    DESTINATION = 60


MOST_SHIMS: Final = 3
"""Two tags of VLANs (IEEE 802.1ad), and the headers of LLC and SNAP, in any order."""

MOST_EXTENSIONS: Final = 8
"""Headers of IPv6 before the transport's that are looked through; real ones have two or three."""

_FEWEST: Final = {Protocol.ICMP: 8, Protocol.TCP: 20, Protocol.UDP: 8, Protocol.ICMPV6: 8}
"""Bytes of the shortest header of each protocol."""

_FRAGMENT_OFFSET: Final = 0x1FFF
_U16: Final = struct.Struct(">H")
_U16S: Final = struct.Struct(">HH")
_IPV4: Final = struct.Struct(">BxH2xHxB2x4s4s")
_IPV6: Final = struct.Struct(">B3xHBx16s16s")
_ARP_OF_IPV4: Final = bytes.fromhex("000108000604")
_LONGEST_LENGTH: Final = 1500
"""An Ethernet type up to this is a length."""
_SNAP: Final = (bytes.fromhex("aaaa03000000"), bytes.fromhex("aaaa030000f8"))
"""What stands before an Ethernet type in a frame that has its length there instead (RFC 1042, and IEEE
802.1H's for bridges). Some hosts take IP so, and firewalls that do not look are passed by it
(CVE-2021-27854)."""


class Headers(NamedTuple):
    """What is known of one frame. Offsets are in bytes from its first one.

    `ethertype` is that of what the frame carries past its VLAN tags, at `network`. Of IP there are the
    addresses (4 or 16 bytes; those of an ARP packet as well, empty without either), the `protocol` (-1: not
    IP), and from `transport` up to `end` what it carries. `transport` is 0 in all fragments of a packet but
    the first, which have no header there; `fragment` is true of the first one as well. `ports` are TCP's and
    UDP's. `sender` is the Ethernet address that an ARP packet or a message of IPv6's neighbour discovery
    speaks for, where there are several one that is not the frame's `source`; `claimed` the IPv6 address that
    such a message answers for.
    """

    destination: bytes
    source: bytes
    ethertype: int = 0
    network: int = 0
    malformed: bool = False
    source_ip: bytes = b""
    destination_ip: bytes = b""
    protocol: int = -1
    transport: int = 0
    end: int = 0
    ports: tuple[int, int] | None = None
    fragment: bool = False
    sender: bytes = b""
    claimed: bytes = b""


def read_headers(data: bytes) -> Headers:
    """The headers of an Ethernet frame, which has no frame check sequence."""
    if len(data) < ETH_HEADER:
        return Headers(data[:6].ljust(6, b"\0"), data[6:12].ljust(6, b"\0"), malformed=True)
    ethertype, at = _U16.unpack_from(data, 12)[0], ETH_HEADER
    bare = Headers(data[:6], data[6:12], ethertype, at)
    for _ in range(MOST_SHIMS):
        size = _shim(data, ethertype, at)
        if not size:
            break
        if len(data) < at + size:
            return bare._replace(malformed=True)
        at += size
        ethertype = _U16.unpack_from(data, at - 2)[0]
        bare = bare._replace(ethertype=ethertype, network=at)
    if _shim(data, ethertype, at):
        return bare._replace(malformed=True)  # nobody knows what is in there
    reader = _READERS.get(ethertype)
    return bare if reader is None else reader(data, bare)


def _shim(data: bytes, ethertype: int, at: int) -> int:
    """Bytes of what stands between the Ethernet header and what it carries, and ends with the type of what
    follows: a VLAN tag, or the headers of LLC and SNAP. 0: nothing."""
    if ethertype in (EtherType.VLAN, EtherType.SERVICE_VLAN):
        return 4
    return 8 if ethertype <= _LONGEST_LENGTH and data[at : at + 6] in _SNAP else 0


def _arp(data: bytes, bare: Headers) -> Headers:
    at = bare.network
    if len(data) < at + 28 or data[at : at + 6] != _ARP_OF_IPV4:
        return bare._replace(malformed=True)
    sender, source_ip, destination_ip = (
        data[at + 8 : at + 14],
        data[at + 14 : at + 18],
        data[at + 24 : at + 28],
    )
    return bare._replace(sender=sender, source_ip=source_ip, destination_ip=destination_ip)


def _ipv4(data: bytes, bare: Headers) -> Headers:
    at = bare.network
    if len(data) < at + 20:
        return bare._replace(malformed=True)
    first, total, fragment, protocol, source, destination = _IPV4.unpack_from(data, at)
    size, end = (first & 15) * 4, at + total
    found = Headers(
        *bare[:4],
        malformed=first >> 4 != 4 or size < 20 or total < size or end > len(data),
        source_ip=source,
        destination_ip=destination,
        protocol=protocol,
        end=end,
        fragment=bool(fragment & 0x3FFF),
    )
    if found.malformed:
        return found
    if offset := fragment & _FRAGMENT_OFFSET:
        return _later_fragment(found, offset)
    return _transport(data, found, at + size)


def _ipv6(data: bytes, bare: Headers) -> Headers:
    at = bare.network
    if len(data) < at + 40:
        return bare._replace(malformed=True)
    first, length, protocol, source, destination = _IPV6.unpack_from(data, at)
    end = at + 40 + length
    found = Headers(
        *bare[:4],
        malformed=first >> 4 != 6 or end > len(data),
        source_ip=source,
        destination_ip=destination,
        protocol=protocol,
        end=end,
    )
    return found if found.malformed else _extensions(data, found, at + 40)


def _extensions(data: bytes, found: Headers, at: int) -> Headers:
    """Past the extension headers, which begin at `at`."""
    for _ in range(MOST_EXTENSIONS):
        kind = found.protocol
        if kind not in _EXTENSIONS:
            return _transport(data, found, at)
        if at + 8 > found.end:
            break
        found = found._replace(protocol=data[at])
        if kind == Extension.FRAGMENT:
            fields = _U16.unpack_from(data, at + 2)[0]
            # One that is whole all the same (RFC 6946) is no fragment.
            found = found._replace(fragment=bool(fields & 0xFFF9))
            if offset := fields >> 3:
                return _later_fragment(found, offset)
            at += 8
        elif kind == Extension.AUTHENTICATION:
            at += data[at + 1] * 4 + 8
        else:
            at += data[at + 1] * 8 + 8
        if at > found.end:
            break
    return found._replace(malformed=True)


def _later_fragment(found: Headers, offset: int) -> Headers:
    """Not the first fragment. One that would lie over the flags of a TCP header (`offset` is in 8 bytes) is
    made to get past who looks at headers (RFC 3128)."""
    return found._replace(malformed=offset == 1 and found.protocol == Protocol.TCP)


def _transport(data: bytes, found: Headers, at: int) -> Headers:
    room, protocol = found.end - at, found.protocol
    if room < _FEWEST.get(protocol, 0):  # type: ignore[call-overload]
        return found._replace(malformed=True)
    if protocol == Protocol.TCP:
        size = (data[at + 12] >> 4) * 4
        return found._replace(
            transport=at, ports=_U16S.unpack_from(data, at), malformed=not 20 <= size <= room
        )
    ports = _U16S.unpack_from(data, at) if protocol == Protocol.UDP else None
    found = found._replace(transport=at, ports=ports)
    return _neighbours(data, found) if protocol == Protocol.ICMPV6 else found


def _neighbours(data: bytes, found: Headers) -> Headers:
    """The addresses of which a message of neighbour discovery speaks. One in fragments is for nobody (RFC
    6980)."""
    claim = read_claim(data[found.transport : found.end])
    if claim is None or (found.fragment and claim != Claim()):
        return found._replace(malformed=True)
    others = [station for station in claim.stations if station != found.source]
    sender = others[0] if others else b"".join(claim.stations[:1])
    return found._replace(sender=sender, claimed=claim.target)


_EXTENSIONS: Final = frozenset(int(kind) for kind in Extension)
_READERS: Final[dict[int, Callable[[bytes, Headers], Headers]]] = {
    EtherType.ARP: _arp,
    EtherType.IPV4: _ipv4,
    EtherType.IPV6: _ipv6,
}
