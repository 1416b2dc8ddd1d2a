"""States of a split device, in its two `state` nodes (public/io/xenbus.h, public/io/protocols.h)."""

from enum import IntEnum
from typing import Final

from paravane.abi.names import c_names


@c_names("XenbusState")
class XenbusState(IntEnum):
    """Connection state of a frontend or a backend."""

    Unknown = 0
    Initialising = 1
    InitWait = 2
    Initialised = 3
    Connected = 4
    Closing = 5
    Closed = 6
    Reconfiguring = 7
    Reconfigured = 8


XEN_IO_PROTO_ABI_X86_32: Final = "x86_32-abi"
"""Value of a block frontend's `protocol` node: ring structs are laid out for x86_32."""

XEN_IO_PROTO_ABI_X86_64: Final = "x86_64-abi"
