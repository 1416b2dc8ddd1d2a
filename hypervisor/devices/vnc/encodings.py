"""Rectangles as viewers are sent them (RFC 6143, 7.7)."""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from paravane.devices.vnc.pixel_format import PIXEL

if TYPE_CHECKING:
    from paravane.devices.vnc.pixel_format import Translator
    from paravane.devices.vnc.region import Rect


class Encoding(IntEnum):
    """Those that are made here."""

    RAW = 0
    ZLIB = 6
    ZRLE = 16
    DESKTOP_SIZE = -223


_HEADER: Final = struct.Struct(">HHHHi")
_LENGTH: Final = struct.Struct(">I")
_TILE: Final = 64
_TILE_RAW: Final = b"\0"
_TILE_SOLID: Final = b"\1"
_LEVEL: Final = 1
"""Of zlib: pictures on a loopback need not be small, and the machine waits."""


def header(rect: Rect, encoding: Encoding) -> bytes:
    return _HEADER.pack(*rect, encoding)


class Encoder:
    """Encodes for one viewer: each of the compressed encodings is one stream from the first rectangle on."""

    def __init__(self) -> None:
        self._streams: dict[Encoding, zlib._Compress] = {}

    def encode(self, encoding: Encoding, rect: Rect, data: bytes, pixels: Translator) -> bytes:
        """A rectangle with its header. `data` are its pixels, row after row, as pictures come."""
        if encoding is Encoding.ZRLE:
            body = self._compressed(encoding, _tiles(rect, data, pixels))
        elif encoding is Encoding.ZLIB:
            body = self._compressed(encoding, pixels.translate(data))
        else:
            body = pixels.translate(data)
        return header(rect, encoding) + body

    def _compressed(self, encoding: Encoding, data: bytes) -> bytes:
        if encoding not in self._streams:
            self._streams[encoding] = zlib.compressobj(_LEVEL)
        stream = self._streams[encoding]
        packed = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        return _LENGTH.pack(len(packed)) + packed


def _tiles(rect: Rect, data: bytes, pixels: Translator) -> bytes:
    """Tiles of 64 by 64 pixels, row by row: one of a single colour has only that, the others have all their
    pixels. What else there is to save zlib finds."""
    found = []
    for y in range(0, rect.height, _TILE):
        rows = range(y, min(y + _TILE, rect.height))
        for x in range(0, rect.width, _TILE):
            width = min(_TILE, rect.width - x) * PIXEL
            starts = [(row * rect.width + x) * PIXEL for row in rows]
            tile = b"".join([data[start : start + width] for start in starts])
            if tile == tile[:PIXEL] * (len(tile) // PIXEL):
                found += [_TILE_SOLID, pixels.translate_compact(tile[:PIXEL])]
            else:
                found += [_TILE_RAW, pixels.translate_compact(tile)]
    return b"".join(found)
