"""A domain's ramdisk, as Xen's toolstack hands it over: a gzipped one is unpacked on the way.

The size then is what the last four bytes of the file promise, and 16 more; if the file does not unpack into
that, the guest gets it as it is, in as much space.
"""

from __future__ import annotations

import zlib
from typing import Final

MAX_UNPACKED: Final = 1 << 30
"""Bytes. A file that promises more is left packed."""

_SLACK = 16
_SHORTEST_GZIP = 6
_ANY_WRAPPING = zlib.MAX_WBITS + 32


def module_size(blob: bytes) -> int:
    """Bytes the ramdisk takes in the domain."""
    if len(blob) < _SHORTEST_GZIP or not blob.startswith(b"\x1f\x8b"):
        return len(blob)
    promised = int.from_bytes(blob[-4:], "little")
    return len(blob) if promised > MAX_UNPACKED else max(promised + _SLACK, len(blob))


def module_contents(blob: bytes) -> bytes:
    """What goes to the front of that space; zeroes follow. At most `module_size(blob)` bytes."""
    if len(blob) < _SHORTEST_GZIP or not blob.startswith(b"\x1f\x8b"):
        return blob
    promised = int.from_bytes(blob[-4:], "little")
    if promised > MAX_UNPACKED:
        return blob
    unpacker = zlib.decompressobj(_ANY_WRAPPING)
    try:
        unpacked = unpacker.decompress(blob, promised + _SLACK)
    except zlib.error:
        return blob
    return unpacked if unpacker.eof else blob
