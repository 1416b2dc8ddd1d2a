"""Trap table, callbacks and frames of a 32-bit PV guest (public/arch-x86/xen.h, xen-x86_32.h)."""

from typing import Annotated, Final

from paravane.abi.layout import U8, U16, U32, ULONG, Layout, Named
from paravane.classes import NamedTuple

TI_DPL_MASK: Final = 3
"""`trap_info.flags`: least privileged ring that may raise the vector with `int n`."""

TI_IF: Final = 4
"""`trap_info.flags`: mask event upcalls when the handler is entered, as an interrupt gate clears IF."""


class TrapInfo(NamedTuple):
    """One entry of set_trap_table; an entry whose `address` is 0 ends the table. `flags`: bits 0-1 are the
    least privileged ring whose `int n` is let through; bit 2 masks event upcalls in the handler."""

    vector: U8
    flags: U8
    cs: U16
    address: ULONG


TRAP_INFO = Layout("trap_info", TrapInfo)


class XenCallback(NamedTuple):
    """A far pointer to a callback."""

    cs: ULONG
    eip: ULONG


XEN_CALLBACK = Layout("xen_callback", XenCallback)


class IretFrame(NamedTuple):
    """What HYPERVISOR_iret pops at ESP: the guest's EAX, then a processor frame. `esp` and `ss` are read only
    on a return to ring 2 or 3. IF in `eflags` becomes the complement of the upcall mask."""

    eax: U32
    eip: U32
    cs: U32
    eflags: U32
    esp: U32
    ss: U32


IRET_FRAME = Layout("iret_frame", IretFrame)


class CpuUserRegs(NamedTuple):
    """Registers as a vcpu context and a crash record hold them."""

    ebx: U32
    ecx: U32
    edx: U32
    esi: U32
    edi: U32
    ebp: U32
    eax: U32
    error_code: U16
    entry_vector: U16
    eip: U32
    cs: U16
    saved_upcall_mask: U8
    pad0: Annotated[U8, Named("_pad0")]
    eflags: U32
    esp: U32
    ss: U16
    pad1: Annotated[U16, Named("_pad1")]
    es: U16
    pad2: Annotated[U16, Named("_pad2")]
    ds: U16
    pad3: Annotated[U16, Named("_pad3")]
    fs: U16
    pad4: Annotated[U16, Named("_pad4")]
    gs: U16
    pad5: Annotated[U16, Named("_pad5")]


CPU_USER_REGS = Layout("cpu_user_regs", CpuUserRegs)
