"""The Internet checksum (RFC 1071), filled in where a sender left it blank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.devices.net.errors import OffloadError
from paravane.devices.net.headers import Protocol

if TYPE_CHECKING:
    from paravane.devices.net.headers import Headers

FIELD: Final = {int(Protocol.TCP): 16, int(Protocol.UDP): 6}
"""Where the checksum is in the header of each protocol that has one over a pseudo header."""


def checksum(data: bytes) -> int:
    """The complement of the ones'-complement sum of the 16-bit words of `data`; an odd byte is a high one.

    Such a sum is the remainder by 2**16 - 1 of the whole taken as one number, since 2**16 is 1 there; only 0
    is written as 0xFFFF when any bit is set. That lets a long integer do in one step what words would be
    added for one by one.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))


def with_checksum(data: bytes, headers: Headers) -> bytes:
    """The frame with the checksum of its TCP or UDP header right, whatever stood there. Raises OffloadError
    for a frame that has no such header, or only a part of its packet."""
    at, end = headers.transport, headers.end
    field = FIELD.get(headers.protocol)
    if headers.malformed or field is None or not at or headers.fragment:
        raise OffloadError("its checksum is blank, and it is no whole TCP or UDP packet")
    place = at + field
    pseudo = b"".join(
        (
            headers.source_ip,
            headers.destination_ip,
            (end - at).to_bytes(4, "big"),
            headers.protocol.to_bytes(4, "big"),
        )
    )
    # The pseudo header has an even number of bytes, so that nothing shifts.
    total = checksum(b"".join((pseudo, data[at:place], b"\0\0", data[place + 2 : end])))
    if total == 0 and headers.protocol == Protocol.UDP:
        total = 0xFFFF  # 0 is for packets without a checksum (RFC 768)
    return b"".join((data[:place], total.to_bytes(2, "big"), data[place + 2 :]))


def with_header_checksum(header: bytes) -> bytes:
    """A header of IPv4, whole, with its own checksum right."""
    bare = header[:10] + b"\0\0" + header[12:]
    return bare[:10] + checksum(bare).to_bytes(2, "big") + bare[12:]
