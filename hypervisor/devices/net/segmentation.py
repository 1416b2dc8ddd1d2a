"""Cutting a large TCP packet into those that it stands for, as a network card with TSO would."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from paravane.devices.net.checksum import with_checksum, with_header_checksum
from paravane.devices.net.errors import OffloadError
from paravane.devices.net.frame import Frame
from paravane.devices.net.headers import EtherType, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SEGMENTS: Final = 256
"""Packets that one packet may stand for: without a limit one of 64 KiB could ask for as many as it has
bytes, each with headers of its own."""

_FIN_PSH: Final = 0x09
_CWR: Final = 0x80
_ID_FIELD: Final = slice(4, 6)
_U16: Final = struct.Struct(">H")


def segments(frame: Frame, *, blank: bool) -> list[Frame]:
    """The frames that a frame with a segment size stands for, in order; their TCP checksums are left `blank`
    or filled in. One that carries no more than a segment stands for itself alone.

    All have the headers of the whole, but for lengths, sequence numbers, the identification of IPv4, and the
    flags: FIN and PSH are for the last one, CWR for the first. Raises OffloadError for what is no whole TCP
    packet, or stands for too many.
    """
    check_segments(frame)
    begin = _payload(frame)
    payload = frame.data[begin : frame.headers.end]
    return list(_cut(frame, begin, payload, frame.segment_size, blank=blank))


def check_segments(frame: Frame) -> None:
    """Raises OffloadError for a frame that cannot be cut."""
    headers = frame.headers
    if headers.malformed or headers.fragment or headers.protocol != Protocol.TCP or not headers.transport:
        raise OffloadError("it is to be segmented, and is no whole TCP packet")
    if headers.end - _payload(frame) > frame.segment_size * MOST_SEGMENTS:
        raise OffloadError(f"it is to be cut into more than {MOST_SEGMENTS} segments")


def _payload(frame: Frame) -> int:
    """Where what TCP carries begins."""
    transport = frame.headers.transport
    return transport + (frame.data[transport + 12] >> 4) * 4


def _cut(frame: Frame, begin: int, payload: bytes, size: int, *, blank: bool) -> Iterator[Frame]:
    headers, at = frame.headers, frame.headers.transport
    front, tcp = frame.data[: headers.network], frame.data[at:begin]
    network = frame.data[headers.network : at]
    sequence, flags = int.from_bytes(tcp[4:8], "big"), tcp[13]
    # One that carries nothing is one packet all the same.
    for number, offset in enumerate(range(0, len(payload) or 1, size)):
        part = payload[offset : offset + size]
        kept = flags
        if offset + size < len(payload):
            kept &= ~_FIN_PSH
        if number:
            kept &= ~_CWR
        where = ((sequence + offset) & 0xFFFF_FFFF).to_bytes(4, "big")
        data = b"".join(
            (
                front,
                _network_header(headers.ethertype, network, len(tcp) + len(part), number),
                *(tcp[:4], where, tcp[8:13], bytes((kept,)), tcp[14:]),
                part,
            )
        )
        cut = Frame(data, blank=True)
        yield cut if blank else Frame(with_checksum(data, cut.headers))


def _network_header(ethertype: int, header: bytes, carried: int, number: int) -> bytes:
    """The IP header of segment `number`, which carries so many bytes."""
    if ethertype == EtherType.IPV6:
        length = len(header) - 40 + carried
        return header[:4] + _U16.pack(length) + header[6:]
    identification = (_U16.unpack(header[_ID_FIELD])[0] + number) & 0xFFFF
    length = len(header) + carried
    return with_header_checksum(header[:2] + _U16.pack(length) + _U16.pack(identification) + header[6:])
