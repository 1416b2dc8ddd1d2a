"""Shared request and response rings (public/io/ring.h)."""

from typing import Annotated

from paravane.abi.layout import U8, U32, Array, Chars, Layout, Named, Union
from paravane.classes import NamedTuple


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
