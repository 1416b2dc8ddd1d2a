"""Hypercall numbers and calling convention (public/xen.h, "HYPERCALLS"; public/arch-x86/xen-x86_32.h).

The number is in EAX, arguments in EBX, ECX, EDX, ESI, EDI, EBP; the result replaces EAX, all other registers
survive. The guest calls entry `number` of its hypercall page, or executes the same `int` itself.
"""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import U32, Array, Layout, Scalar
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("__HYPERVISOR_")
class Hypercall(IntEnum):
    """Every hypercall number of the ABI, those this hypervisor refuses included."""

    set_trap_table = 0
    mmu_update = 1
    set_gdt = 2
    stack_switch = 3
    set_callbacks = 4
    fpu_taskswitch = 5
    sched_op_compat = 6
    platform_op = 7
    set_debugreg = 8
    get_debugreg = 9
    update_descriptor = 10
    memory_op = 12
    multicall = 13
    update_va_mapping = 14
    set_timer_op = 15
    event_channel_op_compat = 16
    xen_version = 17
    console_io = 18
    physdev_op_compat = 19
    grant_table_op = 20
    vm_assist = 21
    update_va_mapping_otherdomain = 22
    iret = 23
    vcpu_op = 24
    set_segment_base = 25
    mmuext_op = 26
    xsm_op = 27
    nmi_op = 28
    sched_op = 29
    callback_op = 30
    xenoprof_op = 31
    event_channel_op = 32
    physdev_op = 33
    hvm_op = 34
    sysctl = 35
    domctl = 36
    kexec_op = 37
    tmem_op = 38
    argo_op = 39
    xenpmu_op = 40
    dm_op = 41
    hypfs_op = 42
    arch_0 = 48
    arch_1 = 49
    arch_2 = 50
    arch_3 = 51
    arch_4 = 52
    arch_5 = 53
    arch_6 = 54
    arch_7 = 55
    mca = 48


HYPERCALL_VECTOR: Final = 0x82
"""The software interrupt of every 32-bit PV hypercall."""

HYPERCALL_PAGE_ENTRY_SIZE: Final = 32
"""Bytes per entry of the hypercall page; entry n calls hypercall n."""

HYPERCALL_PAGE_ENTRIES: Final = 128

ENTRY_PUSH_EAX: Final = 0x50
"""`push %eax`: first byte of the `iret` entry, whose frame starts with the guest's EAX."""

ENTRY_MOV_EAX: Final = 0xB8
"""`mov $imm32, %eax`: first byte of every other entry."""

ENTRY_INT: Final = 0xCD
"""`int $imm8`."""

ENTRY_RET: Final = 0xC3
"""`ret`: the `iret` entry has none."""


class MulticallEntry(NamedTuple):
    """One call of a multicall batch; `result` is written by the hypervisor."""

    op: Annotated[int, Scalar("I"), Hypercall]
    result: U32
    args: Annotated[tuple[int, ...], Array("I", 6)]


MULTICALL_ENTRY = Layout("multicall_entry", MulticallEntry)


@c_names("VMASST_CMD_")
class VmassistCmd(IntEnum):
    """First argument of vm_assist."""

    enable = 0
    disable = 1


@c_names(
    "VMASST_TYPE_",
    x4gb_segments="VMASST_TYPE_4gb_segments",
    x4gb_segments_notify="VMASST_TYPE_4gb_segments_notify",
)
class VmassistType(IntEnum):
    """Second argument of vm_assist: a bit number, not a mask."""

    x4gb_segments = 0
    x4gb_segments_notify = 1
    writable_pagetables = 2
    pae_extended_cr3 = 3
    architectural_iopl = 4
    runstate_update_flag = 5
    m2p_strict = 32
