"""The framebuffer protocol for x86_32 frontends (public/io/fbif.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import S32, U8, U32, UINT8, Array, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

XENFB_OUT_EVENT_SIZE: Final = 40
XENFB_OUT_RING_SIZE: Final = 2048
XENFB_OUT_RING_OFFS: Final = 2048
XENFB_OUT_RING_LEN: Final = XENFB_OUT_RING_SIZE // XENFB_OUT_EVENT_SIZE

XENFB_IN_EVENT_SIZE: Final = 40
XENFB_IN_RING_SIZE: Final = 1024
XENFB_IN_RING_OFFS: Final = 1024
XENFB_IN_RING_LEN: Final = XENFB_IN_RING_SIZE // XENFB_IN_EVENT_SIZE


@c_names("XENFB_TYPE_")
class XenfbType(IntEnum):
    """`type` of an event: the first is the backend's, the others are the frontend's."""

    REFRESH_PERIOD = 1
    UPDATE = 2
    RESIZE = 3


XENFB_NO_REFRESH: Final = 0

_TYPE = Annotated[int, UINT8, XenfbType]


class XenfbUpdate(NamedTuple):
    """UPDATE: pixels of this rectangle have changed."""

    type: _TYPE
    x: S32
    y: S32
    width: S32
    height: S32


XENFB_UPDATE = Layout("xenfb_update", XenfbUpdate)


class XenfbResize(NamedTuple):
    """RESIZE: pixels, except for `stride` and `offset`, bytes, and `depth`, bits of a pixel."""

    type: _TYPE
    width: S32
    height: S32
    stride: S32
    depth: S32
    offset: S32


XENFB_RESIZE = Layout("xenfb_resize", XenfbResize)


class XenfbRefreshPeriod(NamedTuple):
    """REFRESH_PERIOD: milliseconds between two looks, or XENFB_NO_REFRESH."""

    type: _TYPE
    period: U32


XENFB_REFRESH_PERIOD = Layout("xenfb_refresh_period", XenfbRefreshPeriod)


class XenfbPage(NamedTuple):
    """The shared page up to its rings. Indices run freely. `pd` has the frames of the page directory, each
    with the numbers of 1024 frames of the picture; its end lies below the ring of the backend's events."""

    in_cons: U32
    in_prod: U32
    out_cons: U32
    out_prod: U32
    width: S32
    height: S32
    line_length: U32
    mem_length: U32
    depth: U8
    pd: Annotated[tuple[int, ...], Array("I", 256)]


XENFB_PAGE = Layout("xenfb_page", XenfbPage)
