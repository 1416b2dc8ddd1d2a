"""Emulation of privileged instructions: which, and what comes after (Xen's pv_emulate_privileged_op)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from paravane.abi.arch import XEN_EMULATE_PREFIX
from paravane.cpu import PageFault, instructions
from paravane.traps.emulate import control, decode, io
from paravane.traps.emulate.fault import Completion, Fault, NotEmulated
from paravane.traps.segments import FLAT_SELECTORS, read_segment
from paravane.traps.state import EMULATED
from paravane.x86 import PAGE_SIZE, Eflags, Vector

if TYPE_CHECKING:
    from paravane.traps.emulate.decode import Instruction
    from paravane.traps.state import TrapState

Operation = Callable[["TrapState", "Instruction"], Completion]
"""Carries an instruction out. Raises Fault or NotEmulated."""

_OPERATIONS: Final[dict[int, Operation]] = {
    decode.CLI: control.interrupt_flag,
    decode.STI: control.interrupt_flag,
    decode.CLTS: control.clts,
    decode.WBINVD: control.wbinvd,
    decode.READ_CR: control.control_register,
    decode.WRITE_CR: control.control_register,
    decode.READ_DR: control.debug_register,
    decode.WRITE_DR: control.debug_register,
    decode.RDMSR: control.read_msr,
    decode.WRMSR: control.write_msr,
    decode.RDTSC: control.read_tsc,
    decode.RDTSCP: control.read_tsc,
    decode.CPUID: control.cpuid,
    **dict.fromkeys(instructions.STRING_IO, io.string_in_out),
    **dict.fromkeys(decode.IMMEDIATE_IO | decode.REGISTER_IO, io.in_out),
}
ICEBP: Final = 0xF1
_TWO_BYTE_OPCODE: Final = b"\x0f"
_PORT_ITEM: Final = 4
"""Bytes of the largest item that INS and OUTS move."""

_LAST_WITHIN_PAGE: Final = PAGE_SIZE - instructions.MAX_LENGTH
"""Offset of the last instruction that lies in one page, however long it is."""
_RF: Final = int(Eflags.RF)
_TF: Final = int(Eflags.TF)

_FAR_RETURNS: Final = (0xCF, 0xCB, 0xCA)
_FORCED_CPUID: Final = XEN_EMULATE_PREFIX + b"\x0f\xa2"


def fetch(state: TrapState) -> Instruction | None:
    """The instruction at CS:EIP if it may be one to emulate. Raises Fault where its bytes cannot be read."""
    cpu = state.cpu
    eip = cpu.eip
    if cpu.cs in FLAT_SELECTORS and eip & PAGE_SIZE - 1 <= _LAST_WITHIN_PAGE:
        try:  # what nearly every kernel's code is: 32-bit code in a flat segment, within a page
            return state.decoded.find(cpu.read(eip, instructions.MAX_LENGTH), 32)
        except PageFault:
            pass  # reported below
    segment = read_segment(state, cpu.cs)
    if segment is None or not segment.is_present or not segment.is_code:
        return None
    linear = segment.base + cpu.eip & 0xFFFFFFFF
    wanted = min(instructions.MAX_LENGTH, segment.limit - cpu.eip + 1)
    if wanted <= 0:
        raise Fault(Vector.GP, 0)
    end = wanted
    address = 0
    try:
        code = cpu.read(linear, wanted)
    except PageFault as fault:
        end, address = fault.va - linear & 0xFFFFFFFF, fault.va
        code = cpu.read(linear, end) if end else b""
    try:
        return state.decoded.find(code, segment.bits)
    except decode.Truncated:
        if end < wanted:
            raise Fault(Vector.PF, 0, address) from None
        raise Fault(Vector.GP, 0) from None


def emulate(state: TrapState, instruction: Instruction | None) -> bool:
    """Carry out `instruction`, at EIP, which raised #GP(0). False: it is the guest's own fault.

    Raises Fault when the instruction itself raises an exception. Otherwise EIP is after the instruction.
    """
    operation = None if instruction is None else _OPERATIONS.get(instruction.opcode)
    if instruction is None or operation is None:
        return False
    if instruction.locked:
        raise Fault(Vector.UD)
    try:
        completion = operation(state, instruction)
    except NotEmulated:
        return False
    state.counters.cell[EMULATED] += 1
    if completion is not Completion.REPEATS:
        retire(state, instruction.length, stepped=completion is Completion.COMPLETE)
    return True


def retire(state: TrapState, length: int, *, stepped: bool = True) -> None:
    """Step over an instruction that was carried out. A single step then raises #DB in the guest."""
    cpu = state.cpu
    cpu.eip = cpu.eip + length & 0xFFFFFFFF
    eflags = cpu.system_eflags
    if eflags & _RF:
        cpu.eflags &= ~_RF
    if eflags & _TF and stepped:
        state.debug.stepped()
        state.breakpoint_hit = True


def icebp_length(state: TrapState) -> int:
    """Bytes of the ICEBP at EIP (0xF1, a #DB trap that the engine calls invalid); 0: something else."""
    cpu = state.cpu
    if readable(state, cpu.segment_base("cs") + cpu.eip & 0xFFFFFFFF, 1) == _TWO_BYTE_OPCODE:
        return 0  # UD2 and its like, which need no decoding
    found = instruction_at(state)
    return found.length if found is not None and found.opcode == ICEBP and not found.is_locked else 0


def is_repeating(state: TrapState) -> bool:
    """Whether the instruction at EIP is a string instruction with repetitions left."""
    found = instruction_at(state)
    return found is not None and found.opcode in decode.STRINGS and found.is_repeated and bool(state.cpu.ecx)


def is_port_string(state: TrapState) -> bool:
    """Whether the page fault in CR2 is one of INS or OUTS at EIP.

    Only then is CR2 where EDI or ESI points, which costs less to look at than the code. (With segments that
    are not flat it may not be: the fault is then the guest's as the engine raised it.)
    """
    cpu = state.cpu
    *_, esi, edi = cpu.gprs()
    address = cpu.cr2
    if not (address - edi & 0xFFFFFFFF < _PORT_ITEM or address - esi & 0xFFFFFFFF < _PORT_ITEM):
        return False
    found = instruction_at(state)
    return found is not None and found.opcode in instructions.STRING_IO


def returns_to_absent_stack(state: TrapState, selector: int) -> bool:
    """Whether `iret` or `lret` met a stack segment that is not present: #SS, which the engine calls #NP."""
    found = instruction_at(state)
    if found is None or found.opcode not in _FAR_RETURNS:
        return False
    segment = read_segment(state, selector)
    return segment is not None and not segment.is_code


def instruction_at(state: TrapState) -> instructions.Instruction | None:
    """Whatever instruction EIP is at; None where its bytes cannot be read."""
    cpu = state.cpu
    code = readable(state, cpu.segment_base("cs") + cpu.eip & 0xFFFFFFFF, instructions.MAX_LENGTH)
    try:
        return instructions.decode(code, big=runs_32_bit_code(state))
    except IndexError:
        return None


def runs_32_bit_code(state: TrapState) -> bool:
    """The default size of the code segment in use."""
    code = read_segment(state, state.cpu.cs)
    return code is None or code.bits == 32


def readable(state: TrapState, linear: int, size: int) -> bytes:
    """`size` bytes at `linear`, or as many as come before a page that cannot be read."""
    try:
        return state.cpu.read(linear, size)
    except PageFault as fault:
        before = fault.va - linear & 0xFFFFFFFF
        return state.cpu.read(linear, before) if before else b""


def emulate_forced_cpuid(state: TrapState) -> bool:
    """`ud2; "xen"; cpuid` raised #UD: answer CPUID with the guest's policy. False: an ordinary #UD.

    Xen reads the bytes at linear EIP, without the base of CS. Raises Fault(#PF) for bytes out of reach.
    """
    cpu = state.cpu
    for start, end in ((0, 5), (5, 7)):
        try:
            code = cpu.read(cpu.eip + start & 0xFFFFFFFF, end - start)
        except PageFault as fault:
            raise Fault(Vector.PF, 0, fault.va) from None
        if code != _FORCED_CPUID[start:end]:
            return False
    cpu.eax, cpu.ebx, cpu.ecx, cpu.edx = state.policy.leaf(cpu.eax, cpu.ecx)
    state.counters.cell[EMULATED] += 1
    retire(state, len(_FORCED_CPUID))
    return True
