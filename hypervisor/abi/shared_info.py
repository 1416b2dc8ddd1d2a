"""The page a domain shares with the hypervisor (public/xen.h, public/arch-x86/xen.h, xen-x86_32.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import S8, U8, U32, U64, ULONG, Array, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

XEN_LEGACY_MAX_VCPUS: Final = 32
"""Vcpus whose vcpu_info is in shared_info; the others must register one."""


@c_names("XEN_PVCLOCK_")
class PvclockFlag(IntEnum):
    """`vcpu_time_info.flags`."""

    TSC_STABLE_BIT = 1 << 0
    GUEST_STOPPED = 1 << 1


class VcpuTimeInfo(NamedTuple):
    """System time in ns: system_time + (tsc - tsc_timestamp << tsc_shift) * tsc_to_system_mul / 2**32.
    `version` is odd while the record is being written."""

    version: U32
    pad0: U32
    tsc_timestamp: U64
    system_time: U64
    tsc_to_system_mul: U32
    tsc_shift: S8
    flags: U8
    pad1: Annotated[tuple[int, ...], Array("B", 2)]


VCPU_TIME_INFO = Layout("vcpu_time_info", VcpuTimeInfo)


class ArchVcpuInfo(NamedTuple):
    """`cr2`: faulting linear address of the last page fault."""

    cr2: ULONG
    pad: Annotated[tuple[int, ...], Array("I", 5)]


ARCH_VCPU_INFO = Layout("arch_vcpu_info", ArchVcpuInfo)


class VcpuInfo(NamedTuple):
    """Event state of one vcpu: something pending, upcalls masked, words of `evtchn_pending` to look at."""

    evtchn_upcall_pending: U8
    evtchn_upcall_mask: U8
    evtchn_pending_sel: ULONG
    arch: Annotated[ArchVcpuInfo, ARCH_VCPU_INFO]
    time: Annotated[VcpuTimeInfo, VCPU_TIME_INFO]


VCPU_INFO = Layout("vcpu_info", VcpuInfo)


class ArchSharedInfo(NamedTuple):
    """What the guest publishes about its p2m list, and the high word of the wall clock's seconds."""

    max_pfn: ULONG
    pfn_to_mfn_frame_list_list: ULONG
    nmi_reason: ULONG
    p2m_cr3: ULONG
    p2m_vaddr: ULONG
    p2m_generation: ULONG
    wc_sec_hi: U32


ARCH_SHARED_INFO = Layout("arch_shared_info", ArchSharedInfo)


class SharedInfo(NamedTuple):
    """`wc_*`: wall clock (UTC) at system time 0, in seconds and ns; `wc_version` is odd during an update."""

    vcpu_info: Annotated[tuple[VcpuInfo, ...], Array(VCPU_INFO, XEN_LEGACY_MAX_VCPUS)]
    evtchn_pending: Annotated[tuple[int, ...], Array("I", 32)]
    evtchn_mask: Annotated[tuple[int, ...], Array("I", 32)]
    wc_version: U32
    wc_sec: U32
    wc_nsec: U32
    arch: Annotated[ArchSharedInfo, ARCH_SHARED_INFO]


SHARED_INFO = Layout("shared_info", SharedInfo)
