"""Control and debug registers, CLTS, CLI/STI, WBINVD, RDTSC and CPUID (Xen's pv/emul-priv-op.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.refusal import Refusal
from paravane.traps.emulate import decode, msr
from paravane.traps.emulate.cpuid import CR0_FIXED
from paravane.traps.emulate.fault import Completion, Fault, NotEmulated
from paravane.traps.fpu import set_task_switched
from paravane.x86 import Cr0, Cr4, Vector

if TYPE_CHECKING:
    from paravane.cpu import Cpu
    from paravane.traps.emulate.decode import Instruction
    from paravane.traps.state import TrapState

GENERAL_REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
"""In the order of their numbers in ModRM."""


def require_kernel(state: TrapState) -> None:
    """#GP(0) in ring 3: what follows is privileged for the guest's applications too."""
    if not state.in_kernel():
        raise Fault(Vector.GP, 0)


def read_cr0(state: TrapState) -> int:
    return CR0_FIXED | (Cr0.TS if state.cr0_ts else 0)


def control_register(state: TrapState, instruction: Instruction) -> Completion:
    """`mov` from or to CR0, CR2, CR3 and CR4."""
    require_kernel(state)
    register = GENERAL_REGISTERS[instruction.rm]
    if instruction.opcode == decode.READ_CR:
        setattr(state.cpu, register, read_control_register(state, instruction.reg))
    else:
        value: int = getattr(state.cpu, register)
        _write(state, instruction.reg, value)
    return Completion.COMPLETE


def read_control_register(state: TrapState, number: int) -> int:
    if number == 0:
        return read_cr0(state)
    if number == 2:
        return state.cr2
    if number == 3:
        return state.host.guest_cr3()
    if number == 4:
        return state.cr4
    raise NotEmulated


def _write(state: TrapState, number: int, value: int) -> None:
    if number == 0:
        if (value ^ CR0_FIXED) & ~Cr0.TS:
            state.host.guest_note(f"refused to change CR0 to {value:#010x}: only TS is the guest's")
            raise NotEmulated
        set_task_switched(state, bool(value & Cr0.TS))
    elif number == 2:
        state.show_cr2(value)
    elif number == 3:
        try:
            state.host.load_guest_cr3(value)
        except Refusal as refusal:
            state.host.guest_note(f"refused to load CR3 with {value:#010x}: {refusal}")
            raise NotEmulated from None
    elif number == 4:
        state.cr4 = state.policy.fix_cr4(value)
    else:
        raise NotEmulated


def debug_register(state: TrapState, instruction: Instruction) -> Completion:
    """`mov` from or to DR0-DR7: #UD for one that does not exist, #GP for a value a guest may not load."""
    require_kernel(state)
    register = GENERAL_REGISTERS[instruction.rm]
    try:
        if instruction.opcode == decode.READ_DR:
            setattr(state.cpu, register, state.debug.read(instruction.reg, state.cr4))
        else:
            state.debug.write(instruction.reg, getattr(state.cpu, register), state.cr4, state.cpu)
    except Refusal as refusal:
        if refusal.errno == Errno.ENODEV:
            raise Fault(Vector.UD) from None
        raise Fault(Vector.GP, 0) from None
    return Completion.COMPLETE


def clts(state: TrapState, instruction: Instruction) -> Completion:
    require_kernel(state)
    set_task_switched(state, False)
    return Completion.COMPLETE


def wbinvd(state: TrapState, instruction: Instruction) -> Completion:
    """Nothing to write back: a domain without devices has no cache to care for."""
    require_kernel(state)
    return Completion.COMPLETE


def io_privilege(state: TrapState) -> bool:
    """Whether the current ring is as privileged as the virtual IOPL asks.

    With the architectural_iopl assist a kernel counts as ring 0, otherwise as ring 1, so that it must ask for
    IOPL 1 first (PHYSDEVOP_set_iopl).
    """
    if not state.in_kernel():
        return state.iopl >= 3
    return state.iopl >= (0 if state.host.architectural_iopl else 1)


def interrupt_flag(state: TrapState, instruction: Instruction) -> Completion:
    """CLI and STI do nothing where IOPL allows them: a guest masks upcalls in vcpu_info, POPF could not
    follow. Xen answers them before it has decoded them, so that no single step is reported after them."""
    if not io_privilege(state):
        raise NotEmulated
    return Completion.UNSTEPPED


def read_tsc(state: TrapState, instruction: Instruction) -> Completion:
    """RDTSC and RDTSCP: the processor always traps them, the guest's CR4.TSD decides about ring 3."""
    if instruction.opcode == decode.RDTSCP:
        state.cpu.ecx = state.tsc_aux
    if not state.in_kernel() and state.cr4 & Cr4.TSD:
        raise Fault(Vector.GP, 0)
    _split(state.cpu, state.host.tsc())
    return Completion.COMPLETE


def read_msr(state: TrapState, instruction: Instruction) -> Completion:
    require_kernel(state)
    _split(state.cpu, msr.read_or_fake(state, state.cpu.ecx))
    return Completion.COMPLETE


def write_msr(state: TrapState, instruction: Instruction) -> Completion:
    require_kernel(state)
    cpu = state.cpu
    msr.write(state, cpu.ecx, cpu.edx << 32 | cpu.eax)
    return Completion.COMPLETE


def cpuid(state: TrapState, instruction: Instruction) -> Completion:
    """CPUID under a forced-emulation prefix, or faulted."""
    cpu = state.cpu
    cpu.eax, cpu.ebx, cpu.ecx, cpu.edx = state.policy.leaf(cpu.eax, cpu.ecx)
    return Completion.COMPLETE


def _split(cpu: Cpu, value: int) -> None:
    cpu.eax = value & 0xFFFFFFFF
    cpu.edx = value >> 32 & 0xFFFFFFFF
