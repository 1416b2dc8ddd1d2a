"""A vcpu's whole state as the ABI has it: what XEN_DOMCTL_getvcpucontext tells (public/arch-x86/xen.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.arch import xen_pfn_to_cr3
from paravane.abi.trap import TI_DPL_MASK, TI_IF, CpuUserRegs, TrapInfo
from paravane.abi.vcpu import VcpuContextFlag, VcpuGuestContext
from paravane.traps.emulate.control import read_cr0
from paravane.traps.table import NR_VECTORS
from paravane.x86 import Eflags

if TYPE_CHECKING:
    from paravane.traps.state import TrapState
    from paravane.vcpu import Vcpu

GDT_FRAMES: Final = 16
_DEBUG_REGISTERS: Final = 8


def vcpu_context(vcpu: Vcpu) -> VcpuGuestContext:
    """What `Vcpu.initialise` would make the same vcpu of. It must not be executing."""
    state, paging = vcpu.traps.state, vcpu.paging
    callbacks = state.callbacks
    frames = paging.gdt_frames + [0] * (GDT_FRAMES - len(paging.gdt_frames))
    return VcpuGuestContext(
        fpu_ctxt=vcpu.cpu.fpu_save(),
        flags=_flags(vcpu),
        user_regs=state.entry or _registers(state),
        trap_ctxt=tuple(_trap(state, vector) for vector in range(NR_VECTORS)),
        ldt_base=paging.ldt_base if paging.ldt_entries else 0,
        ldt_ents=paging.ldt_entries,
        gdt_frames=tuple(frames),
        gdt_ents=paging.gdt_entries,
        kernel_ss=state.kernel_ss,
        kernel_sp=state.kernel_sp,
        ctrlreg=(read_cr0(state), 0, state.cr2, xen_pfn_to_cr3(paging.base_mfn), state.cr4, 0, 0, 0),
        debugreg=_debug_registers(state),
        event_callback_cs=callbacks.event.cs,
        event_callback_eip=callbacks.event.eip,
        failsafe_callback_cs=callbacks.failsafe.cs,
        failsafe_callback_eip=callbacks.failsafe.eip,
        vm_assist=paging.domain.vm_assist,
    )


def _flags(vcpu: Vcpu) -> int:
    state = vcpu.traps.state
    flags = int(VcpuContextFlag.i387_valid)
    if state.callbacks.failsafe.masks_events:
        flags |= VcpuContextFlag.failsafe_disables_events
    if not vcpu.run_state.down:
        flags |= VcpuContextFlag.online
    kernel = state.in_kernel() if state.entry is None else state.entry.cs & 3 != 3
    return flags | VcpuContextFlag.in_kernel if kernel else flags


def _registers(state: TrapState) -> CpuUserRegs:
    """As the vcpu left the guest, with its own I/O privilege in EFLAGS."""
    cpu = state.cpu
    eax, ecx, edx, ebx, esp, ebp, esi, edi = cpu.gprs()
    eflags = cpu.eflags & ~Eflags.IOPL | state.iopl << 12 | Eflags.IF
    return CpuUserRegs(
        ebx=ebx,
        ecx=ecx,
        edx=edx,
        esi=esi,
        edi=edi,
        ebp=ebp,
        eax=eax,
        error_code=0,
        entry_vector=0,
        eip=cpu.eip,
        cs=cpu.cs,
        saved_upcall_mask=0,
        pad0=0,
        eflags=eflags,
        esp=esp,
        ss=cpu.ss,
        pad1=0,
        es=cpu.es,
        pad2=0,
        ds=cpu.ds,
        pad3=0,
        fs=cpu.fs,
        pad4=0,
        gs=cpu.gs,
        pad5=0,
    )


def _trap(state: TrapState, vector: int) -> TrapInfo:
    gate = state.table[vector]
    return TrapInfo(vector, gate.dpl & TI_DPL_MASK | (TI_IF if gate.masks_events else 0), gate.cs, gate.eip)


def _debug_registers(state: TrapState) -> tuple[int, ...]:
    """DR0 to DR7, with nothing in the two that do not exist."""
    read = state.debug.read
    return tuple(0 if number in (4, 5) else read(number, state.cr4) for number in range(_DEBUG_REGISTERS))
