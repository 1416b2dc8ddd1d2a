"""callback_op (public/callback.h)."""

from enum import IntEnum
from typing import Annotated

from paravane.abi.layout import U16, UINT16, Layout, Named
from paravane.abi.names import c_names
from paravane.abi.trap import XEN_CALLBACK, XenCallback
from paravane.classes import NamedTuple


@c_names("CALLBACKOP_")
class CallbackOp(IntEnum):
    """Commands of callback_op."""

    register = 0
    unregister = 1


@c_names("CALLBACKTYPE_")
class CallbackType(IntEnum):
    """Which callback."""

    event = 0
    failsafe = 1
    syscall = 2
    sysenter_deprecated = 3
    nmi = 4
    sysenter = 5
    syscall32 = 7


@c_names("CALLBACKF_")
class CallbackFlag(IntEnum):
    """Flags: mask event upcalls when the callback is entered."""

    mask_events = 1 << 0


_TYPE = Annotated[int, UINT16, CallbackType]


class CallbackRegister(NamedTuple):
    """Argument of CALLBACKOP_register."""

    type: _TYPE
    flags: U16
    address: Annotated[XenCallback, XEN_CALLBACK]


CALLBACK_REGISTER = Layout("callback_register", CallbackRegister)


class CallbackUnregister(NamedTuple):
    """Argument of CALLBACKOP_unregister."""

    type: _TYPE
    unused: Annotated[U16, Named("_unused")]


CALLBACK_UNREGISTER = Layout("callback_unregister", CallbackUnregister)
