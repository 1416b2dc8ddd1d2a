"""The keyboard and pointer protocol (public/io/kbdif.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import S32, U8, U32, UINT8, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

XENKBD_IN_EVENT_SIZE: Final = 40
XENKBD_IN_RING_SIZE: Final = 2048
XENKBD_IN_RING_OFFS: Final = 1024
XENKBD_IN_RING_LEN: Final = XENKBD_IN_RING_SIZE // XENKBD_IN_EVENT_SIZE

XENKBD_OUT_EVENT_SIZE: Final = 40
XENKBD_OUT_RING_SIZE: Final = 1024
XENKBD_OUT_RING_OFFS: Final = 3072
XENKBD_OUT_RING_LEN: Final = XENKBD_OUT_RING_SIZE // XENKBD_OUT_EVENT_SIZE


@c_names("XENKBD_TYPE_")
class XenkbdType(IntEnum):
    """`type` of an event."""

    MOTION = 1
    RESERVED = 2
    KEY = 3
    POS = 4
    MTOUCH = 5


_TYPE = Annotated[int, UINT8, XenkbdType]


class XenkbdMotion(NamedTuple):
    """MOTION: pixels that the pointer moved by; `rel_z` counts clicks of the wheel, towards the user."""

    type: _TYPE
    rel_x: S32
    rel_y: S32
    rel_z: S32


XENKBD_MOTION = Layout("xenkbd_motion", XenkbdMotion)


class XenkbdKey(NamedTuple):
    """KEY: `keycode` is Linux's KEY_ or BTN_ number."""

    type: _TYPE
    pressed: U8
    keycode: U32


XENKBD_KEY = Layout("xenkbd_key", XenkbdKey)


class XenkbdPosition(NamedTuple):
    """POS: the pixel where the pointer is."""

    type: _TYPE
    abs_x: S32
    abs_y: S32
    rel_z: S32


XENKBD_POSITION = Layout("xenkbd_position", XenkbdPosition)


class XenkbdPage(NamedTuple):
    """The shared page up to its rings. Indices run freely."""

    in_cons: U32
    in_prod: U32
    out_cons: U32
    out_prod: U32


XENKBD_PAGE = Layout("xenkbd_page", XenkbdPage)
