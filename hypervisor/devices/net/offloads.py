"""What a receiver can do itself on a frame, and the frame made fit for it."""

from __future__ import annotations

from typing import Final

from paravane.classes import NamedTuple
from paravane.devices.net.checksum import FIELD, with_checksum
from paravane.devices.net.errors import OffloadError
from paravane.devices.net.frame import Frame
from paravane.devices.net.headers import EtherType
from paravane.devices.net.segmentation import check_segments, segments


class Offloads(NamedTuple):
    """What may be left undone on frames for a receiver: checksums over IPv4 and IPv6, and the segmentation of
    TCP over each."""

    checksum4: bool = False
    checksum6: bool = False
    segment4: bool = False
    segment6: bool = False


NOTHING: Final = Offloads()
"""Frames as they are on a wire."""

EVERYTHING: Final = Offloads(True, True, True, True)


def check(frame: Frame) -> None:
    """Raises OffloadError for a frame on which the work that its sender left cannot be done."""
    headers = frame.headers if frame.blank else None
    if headers is None:
        return
    if headers.malformed or headers.fragment or headers.protocol not in FIELD or not headers.transport:
        raise OffloadError("its checksum is blank, and it is no whole TCP or UDP packet")
    if frame.segment_size:
        check_segments(frame)


def fit(frame: Frame, offloads: Offloads) -> list[Frame]:
    """The frames that a receiver with these offloads gets for `frame`: itself if it can take that. Raises
    OffloadError as `check` does, which says whether this can be done for all receivers."""
    if not frame.blank:
        return [frame]
    over_ipv6 = frame.headers.ethertype == EtherType.IPV6
    blank = offloads.checksum6 if over_ipv6 else offloads.checksum4
    if frame.segment_size:
        if blank and (offloads.segment6 if over_ipv6 else offloads.segment4):
            return [frame]
        return segments(frame, blank=blank)
    return [frame] if blank else [Frame(with_checksum(frame.data, frame.headers))]
