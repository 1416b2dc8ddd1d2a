"""A vcpu's initial state as VCPUOP_initialise gives it (public/arch-x86/xen.h, struct vcpu_guest_context)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from paravane.abi.vcpu import VcpuContextFlag
from paravane.cpu import SegmentFault
from paravane.refusal import Refusal
from paravane.traps import failsafe
from paravane.traps.bounce import Registers
from paravane.traps.callbacks import Callback, Callbacks
from paravane.traps.debug import DebugRegisters
from paravane.traps.fpu import load_fpu, reset_fpu, set_task_switched
from paravane.traps.iret import go
from paravane.traps.segments import reach
from paravane.traps.table import fix_selector
from paravane.x86 import Cr0, Eflags

if TYPE_CHECKING:
    from paravane.abi.trap import CpuUserRegs
    from paravane.abi.vcpu import VcpuGuestContext
    from paravane.traps.state import TrapState

GENERAL_REGISTERS = ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi")
DEBUG_REGISTERS = (0, 1, 2, 3, 6, 7)


def load_context(state: TrapState, context: VcpuGuestContext) -> None:
    """Everything that is kept here: trap table, callbacks, kernel stack, FPU, CR0.TS, CR4, debug registers,
    IOPL.

    Selectors are raised to ring 1, values a guest may not have are dropped without a word, as Xen does.
    """
    for vector, info in enumerate(context.trap_ctxt):
        state.table.install(info._replace(vector=vector))
    state.kernel_ss, state.kernel_sp = fix_selector(context.kernel_ss), context.kernel_sp
    masks = bool(context.flags & VcpuContextFlag.failsafe_disables_events)
    event_cs, failsafe_cs = map(fix_selector, (context.event_callback_cs, context.failsafe_callback_cs))
    event = Callback(event_cs, context.event_callback_eip, masks_events=True)
    state.callbacks.become(
        Callbacks(event, failsafe=Callback(failsafe_cs, context.failsafe_callback_eip, masks))
    )
    state.iopl = context.user_regs.eflags >> 12 & 3
    if context.flags & VcpuContextFlag.I387_VALID:
        load_fpu(state, context.fpu_ctxt)
    else:
        reset_fpu(state)
    set_task_switched(state, bool(context.ctrlreg[0] & Cr0.TS))
    state.cr2 = context.ctrlreg[2]
    state.cr4 = state.policy.fix_cr4(context.ctrlreg[4])
    state.debug = DebugRegisters()
    for register in DEBUG_REGISTERS:
        with suppress(Refusal):
            state.debug.write(register, context.debugreg[register], state.cr4, state.cpu)


def load_registers(state: TrapState, registers: CpuUserRegs) -> None:
    """Put the guest where `registers` say. A data segment that cannot be loaded is null and enters failsafe.

    A CS or SS that cannot be loaded is an exception of the guest. Raises GuestCrash.
    """
    cpu = state.cpu
    for name in GENERAL_REGISTERS:
        setattr(cpu, name, getattr(registers, name))
    wanted = registers.ds, registers.es, registers.fs, registers.gs
    pairs = zip(failsafe.SEGMENTS, wanted, strict=True)
    loaded = [_load_segment(state, name, value) for name, value in pairs]
    eflags = registers.eflags & ~(Eflags.IOPL | Eflags.VM) | Eflags.IF
    cs, ss = fix_selector(registers.cs), fix_selector(registers.ss)
    go(state, Registers.target(cs, registers.eip, eflags, ss, registers.esp))
    if not all(loaded):
        failsafe.deliver(state, wanted)


def _load_segment(state: TrapState, name: str, selector: int) -> bool:
    reach(state, selector)
    try:
        # Xen loads them in ring 0; the return to the guest then drops what is too privileged for it.
        state.cpu.load_segment(name, selector, cpl=0)
    except SegmentFault:
        state.cpu.load_segment(name, 0)
        return False
    return True
