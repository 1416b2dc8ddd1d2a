"""ModRM, SIB and displacement of a memory operand (Intel SDM vol. 2, section 2.1.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paravane.asm.diagnostics import SourceError
from paravane.asm.operands import REG16

if TYPE_CHECKING:
    from paravane.asm.operands import Memory

_PAIRS16 = {
    ("bx", "si"): 0, ("bx", "di"): 1, ("bp", "si"): 2, ("bp", "di"): 3,
    ("si", ""): 4, ("di", ""): 5, ("bp", ""): 6, ("bx", ""): 7,
}  # fmt: skip
_NO_BASE, _SIB, _BARE16 = 5, 4, 6
_SEGMENT_PREFIX = {"es": 0x26, "cs": 0x2E, "ss": 0x36, "ds": 0x3E, "fs": 0x64, "gs": 0x65}


class Encoding(NamedTuple):
    """`data` from ModRM on; where a symbolic displacement lies in it, or None; its width in bytes."""

    data: bytes
    field: int | None
    width: int


def segment_prefix(name: str) -> int:
    return _SEGMENT_PREFIX[name]


def override(memory: Memory) -> bytes:
    """The segment prefix, unless the segment is the one the processor takes anyway."""
    if memory.segment is None:
        return b""
    stack = memory.base is not None and memory.base.name in ("ebp", "esp", "bp")
    default = "ss" if stack else "ds"
    return b"" if memory.segment.name == default else bytes([_SEGMENT_PREFIX[memory.segment.name]])


def is_16bit(memory: Memory) -> bool:
    return any(register is not None and register.kind == REG16 for register in (memory.base, memory.index))


def signed32(value: int, memory: Memory) -> int:
    """A displacement as the signed number it is modulo 2^32. Raises SourceError when it has more bits."""
    if not -(1 << 32) < value < 1 << 32:
        raise SourceError("displacement is larger than 32 bits", memory.start, memory.end)
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def encode(memory: Memory, register: int, width: int = 0) -> Encoding:
    """The bytes of a memory operand; `register` is ModRM's other half. Symbolic displacements are zeros.

    `width` is a wish for the bits of the displacement, 0 for as few as it needs.
    """
    if is_16bit(memory) or width == 16:
        return _encode16(memory, register, width)
    if width and memory.is_bare:
        width = 0
    value = None if memory.value is None else signed32(memory.value, memory)
    field = value.to_bytes(4, "little", signed=True) if value is not None else bytes(4)
    base, index = memory.base, memory.index
    if base is None and index is None:
        head = bytes([register << 3 | _NO_BASE])
        return _result(head, field, value)
    if base is None:
        assert index is not None
        return _result(bytes([register << 3 | _SIB, _sib(memory, _NO_BASE)]), field, value)
    mode = _mode(value, base.number == _NO_BASE, width)
    field = field[: (0, 1, 4)[mode]]
    if index is None and base.number != _SIB:
        return _result(bytes([mode << 6 | register << 3 | base.number]), field, value)
    return _result(bytes([mode << 6 | register << 3 | _SIB, _sib(memory, base.number)]), field, value)


def _mode(value: int | None, needs_displacement: bool, width: int) -> int:
    if value is None or width > 8:
        return 2
    if value == 0 and width == 0 and not needs_displacement:
        return 0
    return 1 if -128 <= value <= 127 else 2


def _sib(memory: Memory, base: int) -> int:
    index = 4 if memory.index is None else memory.index.number
    return (memory.scale.bit_length() - 1) << 6 | index << 3 | base


def _result(head: bytes, field: bytes, value: int | None) -> Encoding:
    return Encoding(head + field, len(head) if value is None else None, len(field))


def _encode16(memory: Memory, register: int, width: int) -> Encoding:
    pair = (memory.base.name if memory.base else "", memory.index.name if memory.index else "")
    code = _BARE16 if memory.is_bare else _PAIRS16.get(pair)
    if code is None:
        raise SourceError("not a valid 16-bit address", memory.start, memory.end)
    value = memory.value
    if value is not None:
        value = (value & 0xFFFF) - (0x10000 if value & 0x8000 else 0)
    mode = 0 if memory.is_bare else _mode(value, pair == ("bp", ""), width)
    field = bytes(2) if value is None else value.to_bytes(2, "little", signed=True)
    return _result(
        bytes([mode << 6 | register << 3 | code]), field[: 2 if memory.is_bare else (0, 1, 2)[mode]], value
    )
