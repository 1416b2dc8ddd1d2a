"""Slots of the two rings of netif.h as numbers: read and written for every packet, so by plain `struct`."""

from __future__ import annotations

import struct
from typing import Final

from paravane.abi.netif import (
    NETIF_EXTRA_INFO,
    NETIF_RX_REQUEST,
    NETIF_RX_RESPONSE,
    NETIF_TX_REQUEST,
    NETIF_TX_RESPONSE,
    NetifExtraType,
)
from paravane.classes import NamedTuple

TX_SLOT: Final = max(NETIF_TX_REQUEST.size, NETIF_TX_RESPONSE.size)
RX_SLOT: Final = max(NETIF_RX_REQUEST.size, NETIF_RX_RESPONSE.size)

TX_REQUEST: Final = struct.Struct("<IHHHH")
TX_RESPONSE: Final = struct.Struct("<Hh")
RX_REQUEST: Final = struct.Struct("<HHI")
RX_RESPONSE: Final = struct.Struct("<HHHh")
_EXTRA: Final = struct.Struct("<BB6s")
_GSO: Final = struct.Struct("<HBBH")

assert (TX_REQUEST.size, TX_RESPONSE.size) == (NETIF_TX_REQUEST.size, NETIF_TX_RESPONSE.size)
assert (RX_REQUEST.size, RX_RESPONSE.size) == (NETIF_RX_REQUEST.size, NETIF_RX_RESPONSE.size)
assert _EXTRA.size == NETIF_EXTRA_INFO.size


class Slot(NamedTuple):
    """A transmit request. The `size` of a packet's first one is the whole packet's."""

    gref: int
    offset: int
    flags: int
    id: int
    size: int


class Extra(NamedTuple):
    """A slot of extra information; `flags` says whether another one follows."""

    type: int
    flags: int
    body: bytes

    @property
    def segment(self) -> tuple[int, int]:
        """Of XEN_NETIF_EXTRA_TYPE_GSO: the size of a segment, and the type of the packet."""
        size, kind, _, _ = _GSO.unpack(self.body)
        return size, kind


def read_slot(entry: bytes) -> Slot:
    return Slot._make(TX_REQUEST.unpack(entry))


def read_extra(entry: bytes) -> Extra:
    return Extra._make(_EXTRA.unpack_from(entry))


def gso_extra(size: int, kind: int) -> bytes:
    """The slot that says of a packet which segments it stands for."""
    return _EXTRA.pack(NetifExtraType.GSO, 0, _GSO.pack(size, kind, 0, 0))
