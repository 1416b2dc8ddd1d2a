"""Numbers of variable length, seven bits a byte, the lowest first (DWARF version 4, section 7.6)."""

from __future__ import annotations


def uleb128(value: int) -> bytes:
    """The encoding of an unsigned number; a negative one is taken as 64 bits, as GNU as does."""
    if value < 0:
        value &= (1 << 64) - 1
    return _bytes(value, (value.bit_length() + 6) // 7)


def sleb128(value: int) -> bytes:
    """The encoding of a signed number: bit 6 of the last byte is the sign."""
    bits = (value if value >= 0 else ~value).bit_length() + 1
    return _bytes(value, (bits + 6) // 7)


def leb128(value: int, *, is_signed: bool) -> bytes:
    return sleb128(value) if is_signed else uleb128(value)


def _bytes(value: int, count: int) -> bytes:
    count = max(count, 1)
    out = bytearray((value >> 7 * n) & 0x7F | 0x80 for n in range(count))
    out[-1] &= 0x7F
    return bytes(out)
