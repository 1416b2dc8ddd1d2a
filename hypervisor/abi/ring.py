"""Shared request and response rings (public/io/ring.h)."""

from typing import Annotated, NamedTuple

from paravane.abi.layout import U8, U32, Array, Chars, Layout, Named, Union
from paravane.x86 import PAGE_SIZE


class RingPvtNetif(NamedTuple):
    """`pvt` of a network ring."""

    smartpoll_active: U8


RING_PVT_NETIF = Layout("sring.pvt.netif", RingPvtNetif)


class RingPvtTapifUser(NamedTuple):
    """`pvt` of a user-space block ring."""

    msg: U8


RING_PVT_TAPIF_USER = Layout("sring.pvt.tapif_user", RingPvtTapifUser)


class Sring(NamedTuple):
    """First 64 bytes of a ring page; the entries follow, a power of two of them. Indices run freely."""

    req_prod: U32
    req_event: U32
    rsp_prod: U32
    rsp_event: U32
    pvt: Annotated[
        bytes, Union({"pvt_pad": Chars(4), "netif": RING_PVT_NETIF, "tapif_user": RING_PVT_TAPIF_USER})
    ]
    pad: Annotated[tuple[int, ...], Array("B", 44), Named("__pad")]


SRING = Layout("sring", Sring)


def ring_entries(entry_size: int, page_bytes: int = PAGE_SIZE) -> int:
    """Entries of a ring: the greatest power of two that fits after the header."""
    room = (page_bytes - SRING.size) // entry_size
    return 1 << (room.bit_length() - 1)
