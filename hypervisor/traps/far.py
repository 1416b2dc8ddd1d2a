"""Decoding of far calls and jumps, for the emulation of call gates. Rare, so a disassembler does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from capstone import CS_ARCH_X86, CS_MODE_16, CS_MODE_32, Cs
from capstone.x86 import X86_OP_IMM, X86_OP_MEM

from paravane.cpu import PageFault
from paravane.traps.emulate.fault import Fault, NotEmulated
from paravane.traps.segments import Segment, read_segment
from paravane.x86 import Vector

if TYPE_CHECKING:
    from paravane.traps.state import TrapState

_CALLS, _JUMPS = frozenset(("lcall", "call")), frozenset(("ljmp", "jmp"))
_STACK_REGISTERS = frozenset(("esp", "ebp", "sp", "bp"))


class FarTransfer(NamedTuple):
    """A far call or jump: the selector its operand holds, and the instruction's length in bytes."""

    is_jump: bool
    selector: int
    length: int


def decode_far(state: TrapState, code: bytes, size: int) -> FarTransfer:
    """The far transfer at the start of `code`. NotEmulated for anything else or an operand out of reach."""
    disassembler = Cs(CS_ARCH_X86, CS_MODE_32 if size == 32 else CS_MODE_16)
    disassembler.detail = True
    instruction = next(disassembler.disasm(code, state.cpu.eip, 1), None)
    if instruction is None or instruction.mnemonic not in _CALLS | _JUMPS:
        raise NotEmulated
    is_jump = instruction.mnemonic in _JUMPS
    opcode = instruction.opcode[0]
    operands = instruction.operands
    if opcode in (0x9A, 0xEA) and operands and operands[0].type == X86_OP_IMM:
        return FarTransfer(is_jump, operands[0].imm & 0xFFFF, instruction.size)
    if opcode != 0xFF or instruction.modrm >> 3 & 7 not in (3, 5) or operands[0].type != X86_OP_MEM:
        raise NotEmulated
    offset_size = 2 if (0x66 in instruction.prefix) == (size == 32) else 4
    memory = operands[0].mem
    names = [instruction.reg_name(part) for part in (memory.base, memory.index)]
    override = instruction.reg_name(memory.segment)
    segment = override or ("ss" if names[0] in _STACK_REGISTERS else "ds")
    base, index = (_register(state, name) for name in names)
    offset = base + index * memory.scale + memory.disp + offset_size & (1 << 8 * instruction.addr_size) - 1
    return FarTransfer(is_jump, _read_selector(state, segment, offset), instruction.size)


def _register(state: TrapState, name: str | None) -> int:
    """A 16- or 32-bit general register by name; 0 for none."""
    if not name:
        return 0
    value: int = getattr(state.cpu, name if name.startswith("e") else f"e{name}")
    return value if name.startswith("e") else value & 0xFFFF


def _read_selector(state: TrapState, name: str, offset: int) -> int:
    segment: Segment | None = read_segment(state, state.cpu.selector(name))
    if (
        segment is None
        or not segment.is_present
        or not segment.is_readable
        or not segment.contains(offset, 2)
    ):
        raise NotEmulated
    try:
        return int.from_bytes(state.cpu.read(segment.base + offset & 0xFFFFFFFF, 2), "little")
    except PageFault as fault:
        raise Fault(Vector.PF, 0, fault.va) from None
