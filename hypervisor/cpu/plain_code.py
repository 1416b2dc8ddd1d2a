"""Code that is plainly made of common instructions, told by one look of a regular expression.

What is looked for in a block (`paravane.cpu.suspects`) has bytes that are mostly something else: an
offset of -16 is LOCK. To decode such a block takes a microsecond a byte, to match it less than a tenth of
that. So the commonest instructions of compiled kernels are written here as patterns, by the lengths that the
SDM's volume 2 gives their forms; each of them is defined, and none waits, returns or rotates through CF.
No byte string begins with two of them, so that there is one way to read it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALU: Final = range(0x00, 0x40, 8)  # ADD, OR, ADC, SBB, AND, SUB, XOR, CMP
_NO_BASE: Final = range(5, 0x100, 8)  # SIB bytes that have a displacement though ModRM tells none


def _any(values: Iterable[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % value for value in values) + b"]"


def _operand() -> bytes:
    """ModRM in 32-bit addressing, with SIB and displacement."""
    forms = [rb"[\xc0-\xff]"]
    for mod, displacement in ((0x00, b""), (0x40, b"."), (0x80, b".{4}")):
        sib, absolute = range(mod + 4, mod + 0x40, 8), range(mod + 5, mod + 0x40, 8)
        if mod:
            forms.append(_any(sib) + b"." + displacement)
            without = set(sib)
        else:
            forms.append(_any(sib) + b"(?:" + _any(_NO_BASE) + b".{4}|(?!" + _any(_NO_BASE) + b").)")
            forms.append(_any(absolute) + b".{4}")
            without = {*sib, *absolute}
        forms.append(_any(byte for byte in range(mod, mod + 0x40) if byte not in without) + displacement)
    return b"(?:" + b"|".join(forms) + b")"


def _reg(*fields: int) -> bytes:
    """Looks ahead at a ModRM byte whose reg field is one of these."""
    classes = (b"\\x%02x-\\x%02x" % (at, at + 7) for at in range(0, 0x100, 8) if at >> 3 & 7 in fields)
    return b"(?=[" + b"".join(classes) + b"])"


def _pattern() -> bytes:
    # FS and GS, of which compilers have one for each processor's data and the other for a thread's.
    segment, operand = rb"[\x64\x65]?", _operand()
    rotates = _reg(0, 1, 4, 5, 7)
    alone = rb"[\x40-\x5f\x90\x98\x99\xc3\xc9]"
    with_byte = _any((*(op + 4 for op in _ALU), 0x6A, *range(0x70, 0x80), 0xA8, *range(0xB0, 0xB8), 0xEB))
    with_word = _any((*(op + 5 for op in _ALU), 0x68, 0xA9, *range(0xB8, 0xC0), 0xE8, 0xE9))
    of_operand = (
        segment + _any((*(op + form for op in _ALU for form in range(4)), *range(0x84, 0x8C))),
        rb"\x8d(?![\xc0-\xff])",
        rb"[\xd0-\xd3]" + rotates,
        rb"[\xf6\xf7]" + _reg(*range(2, 8)),
        rb"\xfe" + _reg(0, 1),
        rb"\xff" + _reg(0, 1, 2, 4, 6),
        rb"\x0f[\x40-\x4f\x90-\x9f\xa3\xab\xaf\xb6\xb7\xbe\xbf]",
    )
    of_operand_and_byte = (
        segment + rb"[\x80\x83]",
        rb"\x6b",
        rb"[\xc0\xc1]" + rotates,
        rb"[\xc6\xf6]" + _reg(0),
    )
    of_operand_and_word = segment + rb"\x81", rb"\x69", rb"[\xc7\xf7]" + _reg(0)
    instructions = (
        b"(?:" + b"|".join(of_operand) + b")" + operand,
        alone,
        with_byte + b".",
        b"(?:" + with_word + rb"|\x0f[\x80-\x8f]|" + segment + rb"[\xa0-\xa3]).{4}",
        b"(?:" + b"|".join(of_operand_and_byte) + b")" + operand + b".",
        b"(?:" + b"|".join(of_operand_and_word) + b")" + operand + b".{4}",
    )
    # Not possessive, though nothing is to be tried again: with that, Python before 3.11.5 matches too much.
    return b"(?:" + b"|".join(instructions) + b")+"


DECODED_FIRST: Final = 8 << 10
"""Bytes of code that a processor's guest has decoded before the pattern is made, which takes as long as to
decode some 20 KiB: a small guest never comes so far."""


class PlainCode:
    """`is_plain` for one processor, once that pays."""

    def __init__(self) -> None:
        self._left = DECODED_FIRST

    def tells(self, code: bytes) -> bool:
        """Whether `code` is told to be plain. False also while it is quicker decoded."""
        self._left -= len(code)
        return self._left < 0 and is_plain(code)


@cache
def _plain() -> re.Pattern[bytes]:
    return re.compile(_pattern(), re.DOTALL)


def is_plain(code: bytes) -> bool:
    """Whether `code`, of a 32-bit segment, is whole instructions of those kinds and nothing else."""
    return _plain().fullmatch(code) is not None
