"""A frame on its way, and what its sender has left to others to do on it."""

from __future__ import annotations

from paravane.devices.net.headers import Headers, read_headers


class Frame:
    """An Ethernet frame without its frame check sequence.

    `blank`: the checksum of its TCP or UDP header is still to be filled in (NETTXF_csum_blank). With a
    `segment_size` other than 0 it is a TCP packet that stands for several, which carry so many bytes each
    (XEN_NETIF_EXTRA_TYPE_GSO); the checksum is blank then as well.
    """

    __slots__ = ("_headers", "blank", "data", "segment_size")

    def __init__(self, data: bytes, *, blank: bool = False, segment_size: int = 0) -> None:
        self.data = data
        self.blank = blank or segment_size > 0
        self.segment_size = segment_size
        self._headers: Headers | None = None

    @property
    def headers(self) -> Headers:
        """What its headers say, read at the first look."""
        if self._headers is None:
            self._headers = read_headers(self.data)
        return self._headers

    def __repr__(self) -> str:
        return f"<Frame of {len(self.data)} bytes>"
