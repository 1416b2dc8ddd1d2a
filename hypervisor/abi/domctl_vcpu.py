"""The parts of domctl that are about the vcpus of a domain (public/domctl.h)."""

from paravane.abi.domctl import HANDLE_64
from paravane.abi.layout import (
    U8,
    U32,
    U64_ALIGNED,
    Layout,
)
from paravane.classes import NamedTuple


class XenDomctlVcpucontext(NamedTuple):
    """Of setvcpucontext and getvcpucontext; `ctxt` points to a vcpu_guest_context."""

    vcpu: U32
    ctxt: HANDLE_64


XEN_DOMCTL_VCPUCONTEXT = Layout("xen_domctl_vcpucontext", XenDomctlVcpucontext)


class XenDomctlGetvcpuinfo(NamedTuple):
    """`cpu_time` in nanoseconds; `cpu` is the physical processor."""

    vcpu: U32
    online: U8
    blocked: U8
    running: U8
    cpu_time: U64_ALIGNED
    cpu: U32


XEN_DOMCTL_GETVCPUINFO = Layout("xen_domctl_getvcpuinfo", XenDomctlGetvcpuinfo)


class XenDomctlMaxVcpus(NamedTuple):
    """`max`: how many vcpus createdomain said."""

    max: U32


XEN_DOMCTL_MAX_VCPUS = Layout("xen_domctl_max_vcpus", XenDomctlMaxVcpus)
