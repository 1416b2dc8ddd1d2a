"""The network protocol (public/io/netif.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import S16, U8, U16, U32, UINT8, Array, Chars, Layout, Union
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

XEN_NETIF_NR_SLOTS_MIN: Final = 18
"""Slots a packet may take, at least, on either ring."""

XEN_NETIF_MAX_TX_SIZE: Final = 0xFFFF


@c_names("NETTXF_")
class NetTxFlag(IntEnum):
    """`netif_tx_request.flags`."""

    csum_blank = 1 << 0
    data_validated = 1 << 1
    more_data = 1 << 2
    extra_info = 1 << 3


class NetifTxRequest(NamedTuple):
    """First request of a packet: `size` is the packet's; later ones: the fragment's."""

    gref: U32
    offset: U16
    flags: U16
    id: U16
    size: U16


NETIF_TX_REQUEST = Layout("netif_tx_request", NetifTxRequest)


@c_names("NETIF_RSP_")
class NetifRsp(IntEnum):
    """`status` of a response; of a receive response only when negative, else the byte count."""

    DROPPED = -2
    ERROR = -1
    OKAY = 0
    NULL = 1


class NetifTxResponse(NamedTuple):
    """NETIF_RSP_NULL answers a slot that held extra information."""

    id: U16
    status: Annotated[S16, NetifRsp]


NETIF_TX_RESPONSE = Layout("netif_tx_response", NetifTxResponse)


class NetifRxRequest(NamedTuple):
    """A page the backend may write one packet (or fragment) to."""

    id: U16
    pad: U16
    gref: U32


NETIF_RX_REQUEST = Layout("netif_rx_request", NetifRxRequest)


@c_names("NETRXF_")
class NetRxFlag(IntEnum):
    """`netif_rx_response.flags`."""

    data_validated = 1 << 0
    csum_blank = 1 << 1
    more_data = 1 << 2
    extra_info = 1 << 3
    gso_prefix = 1 << 4


class NetifRxResponse(NamedTuple):
    """`status` >= 0: bytes written from `offset`."""

    id: U16
    offset: U16
    flags: U16
    status: S16


NETIF_RX_RESPONSE = Layout("netif_rx_response", NetifRxResponse)


@c_names("XEN_NETIF_EXTRA_TYPE_")
class NetifExtraType(IntEnum):
    """`netif_extra_info.type`."""

    NONE = 0
    GSO = 1
    MCAST_ADD = 2
    MCAST_DEL = 3
    HASH = 4
    MAX = 5


XEN_NETIF_EXTRA_FLAG_MORE: Final = 1


@c_names("XEN_NETIF_GSO_TYPE_")
class NetifGsoType(IntEnum):
    """`netif_extra_info.u.gso.type`."""

    NONE = 0
    TCPV4 = 1
    TCPV6 = 2


class NetifExtraGso(NamedTuple):
    """Segmentation offload: `size` is the largest payload of a segment in bytes."""

    size: U16
    type: Annotated[int, UINT8, NetifGsoType]
    pad: U8
    features: U16


NETIF_EXTRA_GSO = Layout("netif_extra_info.u.gso", NetifExtraGso)


class NetifExtraMcast(NamedTuple):
    """A multicast address to add or drop."""

    addr: Annotated[bytes, Chars(6)]


NETIF_EXTRA_MCAST = Layout("netif_extra_info.u.mcast", NetifExtraMcast)


class NetifExtraHash(NamedTuple):
    """The packet's hash."""

    type: U8
    algorithm: U8
    value: Annotated[tuple[int, ...], Array("B", 4)]


NETIF_EXTRA_HASH = Layout("netif_extra_info.u.hash", NetifExtraHash)


class NetifExtraInfo(NamedTuple):
    """A slot between the first request (or response) and the rest of its packet."""

    type: Annotated[int, UINT8, NetifExtraType]
    flags: U8
    u: Annotated[
        bytes,
        Union(
            {
                "gso": NETIF_EXTRA_GSO,
                "mcast": NETIF_EXTRA_MCAST,
                "hash": NETIF_EXTRA_HASH,
                "pad": Array("H", 3),
            },
            raw=True,
        ),
    ]


NETIF_EXTRA_INFO = Layout("netif_extra_info", NetifExtraInfo)

NETIF_TX_RING_ENTRY_SIZE: Final = NETIF_TX_REQUEST.size
NETIF_RX_RING_ENTRY_SIZE: Final = NETIF_RX_REQUEST.size
