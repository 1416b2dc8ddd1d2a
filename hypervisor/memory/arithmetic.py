"""What an instruction makes of a value in memory, and of the arithmetic flags.

Flags are those of Intel SDM volume 1, appendix A; where that leaves one undefined, it is what processors
do. `size` is an operand's size in bytes, values are unsigned, `flags` is EFLAGS before, and what is given is
the result with EFLAGS after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.x86 import Eflags

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT_MASK: Final = 31
"""Bits of a shift count that the processor looks at."""


def compute(name: str, old: int, operand: int, size: int, flags: int) -> tuple[int, int]:
    """What `old` becomes under arithmetic `name` with `operand`, and EFLAGS after it."""
    mask = (1 << 8 * size) - 1
    operand &= mask
    if name in ("inc", "dec"):
        result, after = compute("add" if name == "inc" else "sub", old, 1, size, flags)
        return result, after & ~Eflags.CF | flags & Eflags.CF
    if name == "not":
        return ~old & mask, flags
    if name == "neg":
        return compute("sub", 0, old, size, flags)
    carry = flags & 1 if name in ("adc", "sbb") else 0
    if name in ("add", "adc"):
        return _sum(old, operand, carry, size, flags)
    if name in ("sub", "sbb", "cmp"):
        return _difference(old, operand, carry, size, flags)
    result = _LOGIC[name](old, operand)
    return result, _with_flags(flags, result, size, carry=False, auxiliary=False, overflow=False)


_LOGIC: Final[dict[str, Callable[[int, int], int]]] = {
    "and": lambda old, operand: old & operand,
    "or": lambda old, operand: old | operand,
    "xor": lambda old, operand: old ^ operand,
}


def _sum(old: int, operand: int, carry: int, size: int, flags: int) -> tuple[int, int]:
    mask, sign = (1 << 8 * size) - 1, 1 << 8 * size - 1
    result = old + operand + carry & mask
    after = _with_flags(
        flags,
        result,
        size,
        carry=old + operand + carry > mask,
        auxiliary=bool((old ^ operand ^ result) & 16),
        overflow=bool(~(old ^ operand) & (old ^ result) & sign),
    )
    return result, after


def _difference(old: int, operand: int, borrow: int, size: int, flags: int) -> tuple[int, int]:
    mask, sign = (1 << 8 * size) - 1, 1 << 8 * size - 1
    result = old - operand - borrow & mask
    after = _with_flags(
        flags,
        result,
        size,
        carry=old < operand + borrow,
        auxiliary=bool((old ^ operand ^ result) & 16),
        overflow=bool((old ^ operand) & (old ^ result) & sign),
    )
    return result, after


def _with_flags(flags: int, result: int, size: int, *, carry: bool, auxiliary: bool, overflow: bool) -> int:
    flags &= ~(Eflags.CF | Eflags.PF | Eflags.AF | Eflags.ZF | Eflags.SF | Eflags.OF)
    flags |= Eflags.CF if carry else 0
    flags |= 0 if (result & 0xFF).bit_count() & 1 else Eflags.PF
    flags |= Eflags.AF if auxiliary else 0
    flags |= 0 if result else Eflags.ZF
    flags |= Eflags.SF if result >> 8 * size - 1 & 1 else 0
    flags |= Eflags.OF if overflow else 0
    return flags


def shift(name: str, old: int, count: int, size: int, flags: int) -> tuple[int, int]:
    """A shift or rotation by `count`, which is not 0 and at most 31."""
    if name in ("rol", "ror"):
        return _rotate(name, old, count, size, flags)
    if name in ("rcl", "rcr"):
        return _rotate_through_carry(name, old, count, size, flags)
    return _shift(name, old, count, size, flags)


def _shift(name: str, old: int, count: int, size: int, flags: int) -> tuple[int, int]:
    bits = 8 * size
    mask, sign = (1 << bits) - 1, 1 << bits - 1
    if name == "shl":
        result, carry = old << count & mask, bool(old << count >> bits & 1)
    elif name == "shr":
        result, carry = old >> count, bool(old >> count - 1 & 1)
    else:
        signed = old - (1 << bits) if old & sign else old
        result, carry = signed >> count & mask, bool(signed >> count - 1 & 1)
    after = _after_shift(flags, result, size, carry=carry)
    return result, _overflow(after, count, bool((old ^ result) & sign))


def double_shift(name: str, old: int, filler: int, count: int, size: int, flags: int) -> tuple[int, int]:
    """SHLD and SHRD: bits of `filler` move in. `count` is not 0 and at most 31; beyond the operand's size the
    processor's result is undefined, and this one rotates the three operands' bits.
    """
    bits = 8 * size
    mask, sign = (1 << bits) - 1, 1 << bits - 1
    if name == "shld":
        wide = (old << 2 * bits | filler << bits | old) << count
        result, carry = wide >> 2 * bits & mask, bool(wide >> 3 * bits & 1)
    else:
        wide = old << 2 * bits | filler << bits | old
        result, carry = wide >> count & mask, bool(wide >> count - 1 & 1)
    after = _after_shift(flags, result, size, carry=carry)
    return result, _overflow(after, count, bool((old ^ result) & sign))


def _rotate(name: str, old: int, count: int, size: int, flags: int) -> tuple[int, int]:
    bits = 8 * size
    right = count % bits if name == "ror" else -count % bits
    result = (old >> right | old << bits - right) & (1 << bits) - 1
    top = result >> bits - 1
    carry, other = (top, result >> bits - 2 & 1) if name == "ror" else (result & 1, top)
    return result, _overflow(flags & ~Eflags.CF | carry, count, bool(carry ^ other))


def _rotate_through_carry(name: str, old: int, count: int, size: int, flags: int) -> tuple[int, int]:
    """CF is one bit more, above the others."""
    bits = 8 * size
    wide = (flags & Eflags.CF) << bits | old
    right = count % (bits + 1) if name == "rcr" else -count % (bits + 1)
    wide = (wide >> right | wide << bits + 1 - right) & (1 << bits + 1) - 1
    result, carry = wide & (1 << bits) - 1, wide >> bits
    # By one to the left: CF and the top bit. By one to the right: the two top bits.
    other = carry if name == "rcl" else result >> bits - 2 & 1
    return result, _overflow(flags & ~Eflags.CF | carry, count, bool(result >> bits - 1 ^ other))


def _after_shift(flags: int, result: int, size: int, *, carry: bool) -> int:
    return _with_flags(
        flags, result, size, carry=carry, auxiliary=bool(flags & Eflags.AF), overflow=bool(flags & Eflags.OF)
    )


def _overflow(flags: int, count: int, overflow: bool) -> int:
    """OF is defined for a count of 1 only."""
    if count != 1:
        return flags
    return flags | Eflags.OF if overflow else flags & ~Eflags.OF


def _less(flags: int) -> bool:
    return bool(flags & Eflags.SF) != bool(flags & Eflags.OF)


_CONDITIONS: Final[tuple[Callable[[int], bool], ...]] = (
    lambda flags: bool(flags & Eflags.OF),
    lambda flags: bool(flags & Eflags.CF),
    lambda flags: bool(flags & Eflags.ZF),
    lambda flags: bool(flags & (Eflags.CF | Eflags.ZF)),
    lambda flags: bool(flags & Eflags.SF),
    lambda flags: bool(flags & Eflags.PF),
    _less,
    lambda flags: _less(flags) or bool(flags & Eflags.ZF),
)


def condition(code: int, flags: int) -> bool:
    """Whether condition `code` (0 to 15, the low bits of SETcc's opcode) holds."""
    return _CONDITIONS[code >> 1](flags) != bool(code & 1)
