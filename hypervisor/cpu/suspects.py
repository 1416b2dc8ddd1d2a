"""What of a block that was just translated must not run just as the engine would run it."""

import re
from collections.abc import Callable
from typing import Final

from paravane.classes import NamedTuple
from paravane.cpu.instructions import IRET, Instruction, instructions, is_pause, is_undefined
from paravane.cpu.plain_code import is_plain
from paravane.cpu.string_compare import STRING_COMPARES

_ROTATIONS: Final = frozenset((0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3))
_THROUGH_CARRY: Final = (2, 3)
_LINEAR: Final = 0xFFFFFFFF
_IRET_CODE: Final = bytes((IRET,))
# What anything undefined, a rotation through the carry of memory, a comparison of strings and a PAUSE look
# like.
_SUSPICIOUS: Final = re.compile(
    rb"\xf0|\xf3[\x26\x2e\x36\x3e\x64-\x67]*\x90|[\xc4\xc5][\xc0-\xff]|\x8f[\x08-\x3f\x48-\x7f\x88-\xbf\xc8-\xff]"
    rb"|\x0f(?:\xba[\x00-\x1f\x40-\x5f\x80-\x9f\xc0-\xdf]|[\x50\x71-\x73\xd6][\x00-\xbf]|[\x78\x79])"
    rb"|[\xc0\xc1\xd0-\xd3][\x10-\x1f\x50-\x5f\x90-\x9f]|\x0f\x3a[\x60-\x63]",
    re.DOTALL,
)


class Suspects(NamedTuple):
    """Linear addresses of instructions: those to be looked at whenever they are reached, those before which
    the state is to be copied, and those by which a processor waits in a loop."""

    looked_at: set[int]
    copied_before: set[int]
    pauses: set[int]


def suspects(
    code: bytes, address: int, *, big: bool, plain: Callable[[bytes], bool] = is_plain
) -> Suspects | None:
    """Those of the block `code` at linear `address`; None when a look at its bytes tells that it has none.
    `plain` may tell that of one whose bytes are suspicious."""
    may_return = code[-1:] == _IRET_CODE
    if not may_return and _SUSPICIOUS.search(code) is None:
        return None
    if big and not may_return and plain(code):
        return None
    found = Suspects(set(), set(), set())
    end = 0
    for at in instructions(code, big=big):
        end = at.offset + at.length
        if is_undefined(at) or at.opcode in STRING_COMPARES:
            found.looked_at.add(address + at.offset & _LINEAR)
        elif at.opcode == IRET or rotates_memory_through_carry(at):
            found.copied_before.add(address + at.offset & _LINEAR)
        elif is_pause(at):
            found.pauses.add(address + at.offset & _LINEAR)
    if may_return and end != len(code):
        # The engine ended the block elsewhere than a processor would: its last byte may yet be an IRET.
        found.copied_before.add(address + len(code) - 1 & _LINEAR)
    return found


def rotates_memory_through_carry(instruction: Instruction) -> bool:
    """RCL or RCR whose operand is in memory: the engine changes CF before the store, which may fault."""
    return (
        instruction.opcode in _ROTATIONS
        and instruction.reg in _THROUGH_CARRY
        and instruction.has_memory_operand
    )
