"""How a viewer wants its pixels (RFC 6143, 7.4), and making them.

Pictures come as four bytes a pixel: blue, green, red, and one without a meaning. Whatever a viewer asks for,
each byte of its pixels is an `or` of what blue, green and red contribute to it; so bytes are made a plane at
a time, by tables, and no loop of ours goes over pixels.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

from paravane.classes import NamedTuple

PIXEL: Final = 4
"""Bytes of a pixel as pictures come."""

_FORMAT: Final = struct.Struct(">BBBBHHHBBB3x")
SIZE: Final = _FORMAT.size
_PLANES: Final = (2, 1, 0)
"""Where red, green and blue are among the bytes of a pixel as pictures come."""

_IDENTITY: Final = bytes(range(256))


class PixelFormat(NamedTuple):
    """`struct PIXEL_FORMAT`: the largest values of the colours, and by how many bits each is shifted."""

    bits: int
    depth: int
    big_endian: int
    true_colour: int
    red_max: int
    green_max: int
    blue_max: int
    red_shift: int
    green_shift: int
    blue_shift: int

    @property
    def colours(self) -> tuple[tuple[int, int], ...]:
        """Largest value and shift of red, green and blue."""
        return (
            (self.red_max, self.red_shift),
            (self.green_max, self.green_shift),
            (self.blue_max, self.blue_shift),
        )

    @property
    def size(self) -> int:
        """Bytes of a pixel."""
        return self.bits // 8

    def packed(self) -> bytes:
        return _FORMAT.pack(*self)


NATIVE: Final = PixelFormat(32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
"""Of pictures as they come."""

PALETTE: Final = PixelFormat(8, 8, 0, 1, 7, 7, 3, 5, 2, 0)
"""Of a viewer that wants a colour map: a pixel is the number of its colour in the one we give it."""


@cache
def palette() -> bytes:
    """The colours of `PALETTE`, each as red, green, blue of 16 bits, big end first."""
    return b"".join(
        struct.pack(">HHH", *((value >> shift & most) * 0xFFFF // most for most, shift in PALETTE.colours))
        for value in range(256)
    )


def parse_format(data: bytes) -> PixelFormat:
    """A format as it is sent. Raises ValueError for one that pixels cannot have."""
    found = PixelFormat._make(_FORMAT.unpack(data))
    if found.bits not in (8, 16, 32):
        raise ValueError(f"a pixel of {found.bits} bits")
    if not found.true_colour:
        if found.bits != 8:
            raise ValueError(f"a colour map for pixels of {found.bits} bits")
        return PALETTE
    for most, shift in found.colours:
        if not 0 < most < 1 << 16 or shift + most.bit_length() > found.bits:
            raise ValueError(f"a colour of up to {most}, shifted by {shift}, in {found.bits} bits")
    return found


class Translator:
    """Makes pixels of one format."""

    def __init__(self, wanted: PixelFormat) -> None:
        self.size = wanted.size
        """Bytes of a pixel."""
        self._same = wanted._replace(true_colour=1, depth=24) == NATIVE
        tables = _tables(wanted)
        self._bytes = tables[::-1] if wanted.big_endian else tables
        self.compact = _compact(wanted, tables)
        """Of pixels of four bytes of which three say everything, the first of these (RFC 6143, 7.7.5)."""

    def translate(self, data: bytes) -> bytes:
        """The same pixels."""
        if self._same:
            return data
        return _woven(data, self._bytes)

    def translate_compact(self, data: bytes) -> bytes:
        """The same pixels as compressed encodings have them."""
        if self.compact is None:
            return self.translate(data)
        return _woven(data, self._bytes[self.compact : self.compact + 3])


Contributions = tuple[tuple[int, bytes], ...]
"""Of a byte: from which of the bytes of a pixel as it comes, and what each value of that gives."""


def _tables(wanted: PixelFormat) -> list[Contributions]:
    """For each byte of a pixel, little end first."""
    found = []
    for at in range(wanted.size):
        tables = [
            (plane, bytes((value * most // 255 << shift) >> 8 * at & 255 for value in range(256)))
            for plane, (most, shift) in zip(_PLANES, wanted.colours, strict=True)
        ]
        found.append(tuple((plane, table) for plane, table in tables if any(table)))
    return found


def _woven(data: bytes, wanted: list[Contributions]) -> bytes:
    made = bytearray(len(data) // PIXEL * len(wanted))
    for at, contributions in enumerate(wanted):
        if contributions:
            made[at :: len(wanted)] = _plane(data, contributions)
    return bytes(made)


def _plane(data: bytes, contributions: Contributions) -> bytes:
    """One byte of each pixel."""
    value, size = 0, len(data) // PIXEL
    for plane, table in contributions:
        part = data[plane::PIXEL]
        if table != _IDENTITY:
            part = part.translate(table)
        if len(contributions) == 1:
            return part
        value |= int.from_bytes(part, "little")
    return value.to_bytes(size, "little")


def _compact(wanted: PixelFormat, tables: list[Contributions]) -> int | None:
    """`tables` are little end first. Where the lower three bytes and the upper ones would do, it is the
    lower."""
    if wanted.bits != 32 or wanted.depth > 24:
        return None
    if not tables[3]:
        return 1 if wanted.big_endian else 0
    if not tables[0]:
        return 0 if wanted.big_endian else 1
    return None
