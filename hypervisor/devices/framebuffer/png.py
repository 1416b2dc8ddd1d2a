"""Pictures as PNG (ISO/IEC 15948): eight bits a colour, lines as they are, packed by zlib."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from paravane.devices.vnc.pixel_format import PIXEL

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(">IIBBBBB")
_TRUE_COLOUR: Final = 2
_LEVEL: Final = 1
"""Of zlib: the machine waits."""


def png(width: int, height: int, data: bytes) -> bytes:
    """A file of pixels as `Screen.read` gives them."""
    rgb = bytearray(len(data) // PIXEL * 3)
    rgb[0::3], rgb[1::3], rgb[2::3] = data[2::PIXEL], data[1::PIXEL], data[0::PIXEL]
    # Each line begins with how it was filtered: not at all.
    lines = b"".join([b"\0" + rgb[at : at + width * 3] for at in range(0, len(rgb), width * 3)])
    header = _HEADER.pack(width, height, 8, _TRUE_COLOUR, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, _LEVEL)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
