"""Far calls and jumps, decoded for the emulation of call gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.cpu import PageFault, instructions
from paravane.cpu.instructions import OPERAND_SIZE
from paravane.cpu.operands import memory_operand
from paravane.traps.emulate.fault import Fault, NotEmulated
from paravane.traps.segments import read_segment
from paravane.x86 import Vector

if TYPE_CHECKING:
    from paravane.cpu.instructions import Instruction
    from paravane.traps.state import TrapState

_CALL, _JUMP, _GROUP_5 = 0x9A, 0xEA, 0xFF
_GROUP_5_CALL, _GROUP_5_JUMP = 3, 5
_SELECTOR_SIZE: Final = 2


class FarTransfer(NamedTuple):
    """A far call or jump: the selector its operand holds, and the instruction's length in bytes."""

    is_jump: bool
    selector: int
    length: int


def decode_far(state: TrapState, code: bytes, size: int) -> FarTransfer:
    """The far transfer at the start of `code`. NotEmulated for anything else or an operand out of reach."""
    try:
        found = instructions.decode(code, big=size == 32)
    except IndexError:
        raise NotEmulated from None
    if found.is_locked:
        raise NotEmulated
    if found.opcode in (_CALL, _JUMP):
        selector = int.from_bytes(code[found.length - _SELECTOR_SIZE : found.length], "little")
        return FarTransfer(found.opcode == _JUMP, selector, found.length)
    is_far = found.reg in (_GROUP_5_CALL, _GROUP_5_JUMP)
    if found.opcode != _GROUP_5 or not is_far or not found.has_memory_operand:
        raise NotEmulated
    return FarTransfer(
        found.reg == _GROUP_5_JUMP, _selector_in_memory(state, code, found, size), found.length
    )


def _selector_in_memory(state: TrapState, code: bytes, found: Instruction, size: int) -> int:
    """The selector that follows the offset in the memory operand."""
    operand = memory_operand(code, found, big=size == 32)
    name = found.segment or operand.segment
    offset_size = 2 if (OPERAND_SIZE in found.prefixes) == (size == 32) else 4
    offset = operand.offset(state.cpu.gprs()) + offset_size & operand.mask
    segment = read_segment(state, state.cpu.selector(name))
    if segment is None or not segment.is_present or not segment.is_readable:
        raise NotEmulated
    if not segment.contains(offset, _SELECTOR_SIZE):
        raise NotEmulated
    try:
        data = state.cpu.read(segment.base + offset & 0xFFFFFFFF, _SELECTOR_SIZE)
    except PageFault as fault:
        raise Fault(Vector.PF, 0, fault.va) from None
    return int.from_bytes(data, "little")
