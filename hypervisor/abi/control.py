"""What only control and hardware domains may ask for (public/platform.h), and what paravirtual domains may
ask of interfaces that are for others (public/hvm)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.domid import DOMID
from paravane.abi.layout import U16, U32, U64, Array, Chars, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

XENPF_INTERFACE_VERSION: Final = 0x03000001
"""Xen 4.17's; callers with another version are refused with -EACCES."""


class XenPlatformOp(NamedTuple):
    """Argument of platform_op."""

    cmd: U32
    interface_version: U32
    u: Annotated[bytes, Chars(128)]


XEN_PLATFORM_OP = Layout("xen_platform_op", XenPlatformOp)


class XenDmOpBuf(NamedTuple):
    """One buffer of dm_op (public/hvm/dm_op.h)."""

    h: U32
    size: U32


XEN_DM_OP_BUF = Layout("xen_dm_op_buf", XenDmOpBuf)


@c_names("HVMOP_")
class HvmOp(IntEnum):
    """Commands of hvm_op that a paravirtual domain can have executed or refused (public/hvm/hvm_op.h)."""

    set_param = 0
    get_param = 1
    flush_tlbs = 5
    pagetable_dying = 9
    get_time = 10
    get_mem_type = 15
    set_evtchn_upcall_vector = 23
    guest_request_vm_event = 24


HVM_NR_PARAMS: Final = 39


class XenHvmParam(NamedTuple):
    """Argument of HVMOP_set_param and HVMOP_get_param."""

    domid: DOMID
    pad: U16
    index_: U32
    value: U64


XEN_HVM_PARAM = Layout("xen_hvm_param", XenHvmParam)


class XenHvmPagetableDying(NamedTuple):
    """Argument of HVMOP_pagetable_dying."""

    domid: DOMID
    pad: Annotated[tuple[int, ...], Array("H", 3)]
    gpa: U64


XEN_HVM_PAGETABLE_DYING = Layout("xen_hvm_pagetable_dying", XenHvmPagetableDying)


class XenHvmGetTime(NamedTuple):
    """Argument of HVMOP_get_time: system time in nanoseconds."""

    now: U64


XEN_HVM_GET_TIME = Layout("xen_hvm_get_time", XenHvmGetTime)


class XenHvmGetMemType(NamedTuple):
    """Argument of HVMOP_get_mem_type."""

    domid: DOMID
    mem_type: U16
    pad: Annotated[tuple[int, ...], Array("H", 2)]
    pfn: U64


XEN_HVM_GET_MEM_TYPE = Layout("xen_hvm_get_mem_type", XenHvmGetMemType)
