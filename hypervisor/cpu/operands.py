"""Memory operands: what ModRM, SIB and displacement of a decoded instruction name (SDM volume 2, 2.1.5)."""

from collections.abc import Sequence

from paravane.classes import NamedTuple
from paravane.cpu.instructions import ADDRESS_SIZE, Instruction

ESP, EBP = 4, 5
NONE = -1
_EBX, _ESI, _EDI = 3, 6, 7
_PAIRS = (
    *((_EBX, _ESI), (_EBX, _EDI), (EBP, _ESI), (EBP, _EDI)),
    *((_ESI, NONE), (_EDI, NONE), (EBP, NONE), (_EBX, NONE)),
)
"""Base and index by the rm field, with 16-bit addresses."""


class MemoryOperand(NamedTuple):
    """registers[base] + registers[other] * scale + displacement, under `mask`; NONE: no such register."""

    base: int
    other: int
    scale: int
    displacement: int
    mask: int

    @property
    def segment(self) -> str:
        """The segment register where no prefix names another."""
        return "ss" if self.base in (ESP, EBP) else "ds"

    def offset(self, registers: Sequence[int]) -> int:
        """The offset in its segment, with general registers in the order of their numbers."""
        value = self.displacement
        if self.base != NONE:
            value += registers[self.base]
        if self.other != NONE:
            value += registers[self.other] * self.scale
        return value & self.mask


def absolute_operand(offset: int, mask: int) -> MemoryOperand:
    """The operand of the moves that hold an offset and no ModRM byte."""
    return MemoryOperand(NONE, NONE, 1, offset, mask)


def memory_operand(code: bytes, instruction: Instruction, *, big: bool) -> MemoryOperand:
    """The memory operand of `instruction`, which was decoded from `code`, has one and is no VEX form."""
    mod, rm = instruction.modrm >> 6, instruction.modrm & 7
    opcode_size = 1 if instruction.opcode <= 0xFF else 2 if instruction.opcode <= 0xFFF else 3
    at = instruction.offset + len(instruction.prefixes) + opcode_size + 1
    if big == (ADDRESS_SIZE in instruction.prefixes):
        return _short(code, at, mod, rm)
    base, index, scale = rm, NONE, 1
    if rm == ESP:
        sib, at = code[at], at + 1
        base, index, scale = sib & 7, sib >> 3 & 7, 1 << (sib >> 6)
        index = NONE if index == ESP else index
    size = (0, 1, 4)[mod]
    if base == EBP and mod == 0:
        base, size = NONE, 4
    displacement = int.from_bytes(code[at : at + size], "little", signed=True)
    return MemoryOperand(base, index, scale, displacement, 0xFFFFFFFF)


def _short(code: bytes, at: int, mod: int, rm: int) -> MemoryOperand:
    base, index = _PAIRS[rm]
    size = mod
    if mod == 0 and rm == 6:
        base, size = NONE, 2
    displacement = int.from_bytes(code[at : at + size], "little", signed=True)
    return MemoryOperand(base, index, 1, displacement, 0xFFFF)
