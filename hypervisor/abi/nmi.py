"""nmi_op (public/nmi.h)."""

from enum import IntEnum

from paravane.abi.layout import PTR, ULONG, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("XENNMI_")
class NmiOp(IntEnum):
    """Commands of nmi_op."""

    register_callback = 0
    unregister_callback = 1


@c_names("XEN_NMIREASON_")
class NmiReason(IntEnum):
    """`arch_shared_info.nmi_reason`."""

    io_error = 1 << 0
    pci_serr = 1 << 1
    unknown = 1 << 2


class XennmiCallback(NamedTuple):
    """Argument of XENNMI_register_callback."""

    handler_address: PTR
    pad: ULONG


XENNMI_CALLBACK = Layout("xennmi_callback", XennmiCallback)
