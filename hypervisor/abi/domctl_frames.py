"""The parts of domctl that are about the frames of a domain (public/domctl.h)."""

from typing import Final

from paravane.abi.domctl import HANDLE_64
from paravane.abi.layout import (
    U64_ALIGNED,
    Layout,
)
from paravane.classes import NamedTuple

XEN_DOMCTL_PFINFO_LTAB_SHIFT: Final = 28
XEN_DOMCTL_PFINFO_NOTAB: Final = 0x0 << 28
XEN_DOMCTL_PFINFO_L1TAB: Final = 0x1 << 28
XEN_DOMCTL_PFINFO_L2TAB: Final = 0x2 << 28
XEN_DOMCTL_PFINFO_L3TAB: Final = 0x3 << 28
XEN_DOMCTL_PFINFO_L4TAB: Final = 0x4 << 28
XEN_DOMCTL_PFINFO_LTABTYPE_MASK: Final = 0x7 << 28
XEN_DOMCTL_PFINFO_LPINTAB: Final = 0x1 << 31
XEN_DOMCTL_PFINFO_XTAB: Final = 0xF << 28
XEN_DOMCTL_PFINFO_BROKEN: Final = 0xD << 28
"""Types of frames in getpageframeinfo3's answer; LPINTAB is set in one that is pinned."""


class XenDomctlGetpageframeinfo3(NamedTuple):
    """`array` holds `num` machine frame numbers of 32 bits; each is replaced by its type."""

    num: U64_ALIGNED
    array: HANDLE_64


XEN_DOMCTL_GETPAGEFRAMEINFO3 = Layout("xen_domctl_getpageframeinfo3", XenDomctlGetpageframeinfo3)


class XenDomctlHypercallInit(NamedTuple):
    """`gmfn`: the frame that becomes a hypercall page."""

    gmfn: U64_ALIGNED


XEN_DOMCTL_HYPERCALL_INIT = Layout("xen_domctl_hypercall_init", XenDomctlHypercallInit)
