"""Protocol buffers on the wire, as little of them as traces need (protobuf.dev, "Encoding").

A message is a sequence of fields: a key, which is a field number and a wire type, and a value. Whoever calls
knows the schema; here are only the four wire types.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 are groups, which nobody writes any more."""

_WORD: Final = (1 << 64) - 1
_SMALL: Final = tuple(bytes([value]) for value in range(0x80))
_SOON_AGAIN: Final = 1 << 14
"""Numbers of two bytes: lengths, for instance."""

_LONGEST_VARINT: Final = 10
"""Bytes of one that holds 64 bits."""


def varint(value: int) -> bytes:
    """A number of up to 64 bits, seven in each byte, the low ones first; below zero as two's complement."""
    if value >= _SOON_AGAIN:
        # Times above all, whose upper part is that of the last one.
        value &= _WORD
        return _two_more(value & _SOON_AGAIN - 1) + _septets(value >> 14)
    if value >= 0:
        return _SMALL[value] if value < 0x80 else _septets(value)
    value &= _WORD
    return _two_more(value & _SOON_AGAIN - 1) + _septets(value >> 14)


length = lru_cache(1 << 12)(varint)
"""As `varint`, for numbers that come again and again."""


@lru_cache(1 << 13)
def _septets(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@cache
def _two_more(value: int) -> bytes:
    """14 bits of a number that has more of them."""
    return bytes((value & 0x7F | 0x80, value >> 7 | 0x80))


def number(field: int, value: int) -> bytes:
    """A field that is an integer, an enumeration or a truth value."""
    return start(field, VARINT) + varint(value)


def fixed64(field: int, value: int) -> bytes:
    """A field of eight bytes."""
    return start(field, FIXED64) + (value & _WORD).to_bytes(8, "little")


def message(field: int, body: bytes) -> bytes:
    """A field that is a message itself, or bytes."""
    return start(field, BYTES) + varint(len(body)) + body


@cache
def start(field: int, wire: int) -> bytes:
    """What a field of a wire type begins with."""
    return varint(field << 3 | wire)


# A trace says the same few names over and over.
@lru_cache(1 << 12)
def text(field: int, value: str) -> bytes:
    """A field that is a string. Half a surrogate pair, which UTF-8 cannot say, is written as an escape."""
    return message(field, value.encode("utf-8", "backslashreplace"))


class Message:
    """A message read: its fields by number. Whatever asks for a field that is not there, or is of another
    type, raises ValueError, and so does reading a message that is damaged."""

    def __init__(self, body: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for field, value in fields(body):
            self._fields.setdefault(field, []).append(value)

    def __contains__(self, field: int) -> bool:
        return field in self._fields

    def number(self, field: int, default: int | None = None) -> int:
        """A field that is an integer, unsigned."""
        value = self._fields[field][-1] if field in self._fields else default
        if not isinstance(value, int):
            raise ValueError(f"field {field} is no number, or is missing")
        return value

    def text(self, field: int, default: str | None = None) -> str:
        """A field that is a string."""
        return default if default is not None and field not in self else self.all(field)[-1].decode()

    def message(self, field: int) -> Message:
        """A field that is a message itself."""
        return Message(self.all(field)[-1])

    def all(self, field: int) -> list[bytes]:
        """Every value of a field that is a message or a string; there is at least one."""
        values = [value for value in self._fields.get(field, []) if isinstance(value, bytes)]
        if not values or len(values) < len(self._fields[field]):
            raise ValueError(f"field {field} is no message, or is missing")
        return values


def fields(body: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in order: number, and an unsigned integer or bytes. ValueError if damaged."""
    at, end = 0, len(body)
    while at < end:
        key, at = read_varint(body, at)
        wire = key & 7
        if wire == VARINT:
            value, at = read_varint(body, at)
            yield key >> 3, value
            continue
        if wire == BYTES:
            size, at = read_varint(body, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"a field has wire type {wire}, which is none")
        if size > end - at:
            raise ValueError("a field is cut off")
        raw = body[at : at + size]
        at += size
        yield key >> 3, raw if wire == BYTES else int.from_bytes(raw, "little")


def read_varint(body: bytes, at: int) -> tuple[int, int]:
    """The number at an offset, and the offset after it. ValueError if it is cut off or has over 64 bits."""
    value = shift = 0
    for byte in body[at : at + _LONGEST_VARINT]:
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & _WORD, at
        shift += 7
    raise ValueError("a number is cut off, or has more than 64 bits")


def signed(value: int) -> int:
    """An unsigned 64-bit number as the signed one it was written from."""
    return value - (1 << 64) if value >> 63 else value
