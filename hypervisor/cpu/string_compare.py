"""PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM (SDM volume 2, 4.1), where the engine gets them wrong.

Given a length of -2^31 it reads far out of bounds, or finds nothing. Asked for "equal ordered" it forgets
what starts near the end of a whole operand and would go on past it: the very thing that a search for a
substring is made of. These are done here; all others by the engine.
"""

from typing import Final

from paravane.classes import NamedTuple
from paravane.cpu.instructions import Instruction
from paravane.x86 import Eflags

MASK_EXPLICIT, INDEX_EXPLICIT, MASK_IMPLICIT, INDEX_IMPLICIT = 0xF3A60, 0xF3A61, 0xF3A62, 0xF3A63
STRING_COMPARES: Final = frozenset((MASK_EXPLICIT, INDEX_EXPLICIT, MASK_IMPLICIT, INDEX_IMPLICIT))
OPERAND: Final = 16
"""Bytes of an operand."""

_EXPLICIT: Final = (MASK_EXPLICIT, INDEX_EXPLICIT)
_INDEX: Final = (INDEX_EXPLICIT, INDEX_IMPLICIT)
_WORDS, _SIGNED, _LAST_OR_WIDE = 1, 2, 0x40
_EQUAL_ANY, _RANGES, _EQUAL_EACH, _EQUAL_ORDERED = range(4)
_NEGATIVE, _NEGATIVE_WITHIN = 1, 3
_LOWEST: Final = 0x80000000
_CHANGED: Final = int(Eflags.CF | Eflags.PF | Eflags.AF | Eflags.ZF | Eflags.SF | Eflags.OF)


class Result(NamedTuple):
    """What ECX, or XMM0 (little-endian), becomes, and the arithmetic flags."""

    value: int
    flags: int


def engine_is_wrong(instruction: Instruction, control: int, eax: int, edx: int) -> bool:
    """Whether one of STRING_COMPARES with immediate byte `control` is to be done here."""
    return control >> 2 & 3 == _EQUAL_ORDERED or (
        instruction.opcode in _EXPLICIT and _LOWEST in (eax & 0xFFFFFFFF, edx & 0xFFFFFFFF)
    )


def gives_index(instruction: Instruction) -> bool:
    """The result goes to ECX, not to XMM0."""
    return instruction.opcode in _INDEX


def compare(
    instruction: Instruction, control: int, first: bytes, second: bytes, eax: int, edx: int
) -> Result:
    """Do it. `first` is the operand that is always a register, with its explicit length in EAX; `second` the
    other one, with its length in EDX.
    """
    elements = [_elements(operand, control) for operand in (first, second)]
    if instruction.opcode in _EXPLICIT:
        lengths = [_explicit(value, len(elements[0])) for value in (eax, edx)]
    else:
        lengths = [values.index(0) if 0 in values else len(values) for values in elements]
    size = len(elements[0])
    found = _aggregate(control >> 2 & 3, elements[0][: lengths[0]], elements[1][: lengths[1]], size)
    polarity = control >> 4 & 3
    if polarity == _NEGATIVE:
        found ^= (1 << size) - 1
    elif polarity == _NEGATIVE_WITHIN:
        found ^= (1 << lengths[1]) - 1
    flags = Eflags.CF if found else 0
    flags |= Eflags.ZF if lengths[1] < size else 0
    flags |= Eflags.SF if lengths[0] < size else 0
    flags |= Eflags.OF if found & 1 else 0
    chosen = control & _LAST_OR_WIDE
    if gives_index(instruction):
        last, lowest = found.bit_length() - 1, (found & -found).bit_length() - 1
        return Result((last if chosen else lowest) if found else size, flags)
    return Result(_wide(found, size) if chosen else found, flags)


def eflags_after(eflags: int, result: Result) -> int:
    """EFLAGS once the instruction is done."""
    return eflags & ~_CHANGED | result.flags


def _elements(operand: bytes, control: int) -> list[int]:
    size = 2 if control & _WORDS else 1
    signed = control & _SIGNED != 0
    return [
        int.from_bytes(operand[at : at + size], "little", signed=signed) for at in range(0, OPERAND, size)
    ]


def _explicit(value: int, most: int) -> int:
    """The magnitude of a signed register, as far as an operand goes."""
    value &= 0xFFFFFFFF
    return min(_LOWEST * 2 - value if value & _LOWEST else value, most)


def _aggregate(how: int, first: list[int], second: list[int], size: int) -> int:
    """One bit for each element of the second operand, given what is valid of both."""
    found = 0
    for at in range(size):
        if how == _EQUAL_EACH:
            # Past the end of both is equal, past that of one is not.
            hit = first[at : at + 1] == second[at : at + 1]
        elif how == _EQUAL_ORDERED:
            # What would lie past the operand is not compared; what lies past the string differs.
            within = first[: size - at]
            hit = second[at : at + len(within)] == within
        elif at >= len(second):
            hit = False
        elif how == _RANGES:
            pairs = zip(first[::2], first[1::2], strict=False)
            hit = any(low <= second[at] <= high for low, high in pairs)
        else:
            hit = second[at] in first
        found |= hit << at
    return found


def _wide(found: int, size: int) -> int:
    """Each bit as a whole element."""
    bits = 8 * OPERAND // size
    return sum(((1 << bits) - 1) << bits * at for at in range(size) if found >> at & 1)
