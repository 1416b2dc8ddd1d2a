"""The console: the emergency hypercall console_io and the shared ring (public/xen.h, public/io/console.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import U32, Chars, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("CONSOLEIO_")
class ConsoleIo(IntEnum):
    """Commands of console_io."""

    write = 0
    read = 1


XENCONS_IN_SIZE: Final = 1024
XENCONS_OUT_SIZE: Final = 2048


class XenconsInterface(NamedTuple):
    """The console page. Indices run freely; byte i of a stream is at index i modulo the ring's size."""

    in_: Annotated[bytes, Chars(XENCONS_IN_SIZE)]
    out: Annotated[bytes, Chars(XENCONS_OUT_SIZE)]
    in_cons: U32
    in_prod: U32
    out_cons: U32
    out_prod: U32


XENCONS_INTERFACE = Layout("xencons_interface", XenconsInterface)
