"""Domain identifiers (public/xen.h, DOMID_*)."""

from enum import IntEnum
from typing import Annotated

from paravane.abi.layout import UINT16
from paravane.abi.names import c_names


@c_names("DOMID_")
class DomId(IntEnum):
    """Identifiers from FIRST_RESERVED up name no ordinary domain."""

    SELF = 0x7FF0
    FIRST_RESERVED = 0x7FF0
    IO = 0x7FF1
    XEN = 0x7FF2
    COW = 0x7FF3
    INVALID = 0x7FF4
    IDLE = 0x7FFF
    MASK = 0x7FFF


DOMID = Annotated[int, UINT16, DomId]
"""A `domid_t` field."""
