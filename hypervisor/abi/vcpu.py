"""vcpu_op and the initial context of a secondary vcpu (public/vcpu.h, public/arch-x86/xen.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import S32, U32, U64, UINT32, UINT64, ULONG, Array, Chars, Layout, Union
from paravane.abi.names import c_names
from paravane.abi.trap import CPU_USER_REGS, TRAP_INFO, CpuUserRegs, TrapInfo
from paravane.classes import NamedTuple
from paravane.x86 import FXSAVE_SIZE


@c_names("VCPUOP_")
class VcpuOp(IntEnum):
    """Commands of vcpu_op."""

    initialise = 0
    up = 1
    down = 2
    is_up = 3
    get_runstate_info = 4
    register_runstate_memory_area = 5
    set_periodic_timer = 6
    stop_periodic_timer = 7
    set_singleshot_timer = 8
    stop_singleshot_timer = 9
    register_vcpu_info = 10
    send_nmi = 11
    get_physid = 12
    register_vcpu_time_memory_area = 13


@c_names("RUNSTATE_")
class Runstate(IntEnum):
    """What a vcpu is doing; index into `vcpu_runstate_info.time`."""

    running = 0
    runnable = 1
    blocked = 2
    offline = 3


XEN_RUNSTATE_UPDATE: Final = 1 << 63
"""Set in `state_entry_time` while the record is being written (VMASST_TYPE_runstate_update_flag)."""


class VcpuRunstateInfo(NamedTuple):
    """Time in ns: of entry into `state`, and spent in each run state."""

    state: Annotated[S32, Runstate]
    state_entry_time: U64
    time: Annotated[tuple[int, ...], Array("Q", 4)]


VCPU_RUNSTATE_INFO = Layout("vcpu_runstate_info", VcpuRunstateInfo)


class VcpuRegisterRunstateMemoryArea(NamedTuple):
    """`addr`: guest virtual address (32 bits are used) of a vcpu_runstate_info."""

    addr: Annotated[int, Union({"p": UINT64, "h": UINT32, "v": UINT32})]


VCPU_REGISTER_RUNSTATE_MEMORY_AREA = Layout(
    "vcpu_register_runstate_memory_area", VcpuRegisterRunstateMemoryArea
)


class VcpuRegisterTimeMemoryArea(NamedTuple):
    """`addr`: guest virtual address (32 bits are used) of a vcpu_time_info."""

    addr: Annotated[int, Union({"p": UINT64, "h": UINT32, "v": UINT32})]


VCPU_REGISTER_TIME_MEMORY_AREA = Layout("vcpu_register_time_memory_area", VcpuRegisterTimeMemoryArea)


class VcpuSetPeriodicTimer(NamedTuple):
    """Period in ns."""

    period_ns: U64


VCPU_SET_PERIODIC_TIMER = Layout("vcpu_set_periodic_timer", VcpuSetPeriodicTimer)


class VcpuSetSingleshotTimer(NamedTuple):
    """System time in ns at which VIRQ_TIMER fires once."""

    timeout_abs_ns: U64
    flags: U32


VCPU_SET_SINGLESHOT_TIMER = Layout("vcpu_set_singleshot_timer", VcpuSetSingleshotTimer)

VCPU_SSHOTTMR_future: Final = 1
"""`flags`: -ETIME when the timeout has already passed."""


class VcpuRegisterVcpuInfo(NamedTuple):
    """Where the guest wants a vcpu's vcpu_info: machine frame and byte offset in it."""

    mfn: U64
    offset: U32
    rsvd: U32


VCPU_REGISTER_VCPU_INFO = Layout("vcpu_register_vcpu_info", VcpuRegisterVcpuInfo)


class VcpuGetPhysid(NamedTuple):
    """APIC id in bits 0-31, ACPI id in bits 32-63."""

    phys_id: U64


VCPU_GET_PHYSID = Layout("vcpu_get_physid", VcpuGetPhysid)


@c_names("VGCF_")
class VcpuContextFlag(IntEnum):
    """`vcpu_guest_context.flags`."""

    I387_VALID = 1 << 0
    IN_KERNEL = 1 << 2
    i387_valid = 1 << 0
    in_kernel = 1 << 2
    failsafe_disables_events = 1 << 3
    syscall_disables_events = 1 << 4
    online = 1 << 5


_WORDS8 = Annotated[tuple[int, ...], Array("I", 8)]


class VcpuGuestContext(NamedTuple):
    """State in which VCPUOP_initialise starts a vcpu. `ctrlreg[3]` is `xen_cr3`: the root's mfn rotated."""

    fpu_ctxt: Annotated[bytes, Chars(FXSAVE_SIZE)]
    flags: ULONG
    user_regs: Annotated[CpuUserRegs, CPU_USER_REGS]
    trap_ctxt: Annotated[tuple[TrapInfo, ...], Array(TRAP_INFO, 256)]
    ldt_base: ULONG
    ldt_ents: ULONG
    gdt_frames: Annotated[tuple[int, ...], Array("I", 16)]
    gdt_ents: ULONG
    kernel_ss: ULONG
    kernel_sp: ULONG
    ctrlreg: _WORDS8
    debugreg: _WORDS8
    event_callback_cs: ULONG
    event_callback_eip: ULONG
    failsafe_callback_cs: ULONG
    failsafe_callback_eip: ULONG
    vm_assist: ULONG


VCPU_GUEST_CONTEXT = Layout("vcpu_guest_context", VcpuGuestContext)
