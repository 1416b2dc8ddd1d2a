"""Decompressors for kernels packed as lz4 or zstd, which take libraries of the extra `paravane[kernels]`."""

from __future__ import annotations

import struct
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from paravane.image.errors import ImageError

if TYPE_CHECKING:
    from types import ModuleType

LZ4_MAGIC: Final = b"\x02\x21\x4c\x18"
"""Start of the older lz4 frames, which is what Linux's build makes and Xen's tools take."""

_LZ4_BLOCK: Final = 8 << 20
"""Bytes that a block of those unpacks to at most."""

_ZSTD_WINDOW: Final = 128 << 20
_PIECE: Final = 1 << 10
"""Bytes of zstd given at once: even the densest unpack to no more than 32 MiB."""


def unpack_lz4(data: bytes, limit: int) -> bytes:
    """What an lz4 payload holds, cut off past `limit`. ImageError when it is damaged."""
    library = _library("lz4.block", "lz4")
    unpacked, at = bytearray(), len(LZ4_MAGIC)
    # The last word of a bzImage's payload is the unpacked size, and no block.
    while len(data) - at > 4 and len(unpacked) <= limit:
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if at + size > len(data):
            raise ImageError(f"the lz4 payload is truncated: a block of {size:#x} bytes ends beyond it")
        try:
            unpacked += library.decompress(data[at : at + size], uncompressed_size=_LZ4_BLOCK)
        except library.LZ4BlockError as error:
            raise ImageError(f"the lz4 payload is damaged: {error}") from error
        at += size
    return bytes(unpacked)


def unpack_zstd(data: bytes, limit: int) -> bytes:
    """What a zstd frame holds, cut off past `limit`. ImageError when it is damaged or ends too soon."""
    library = _library("zstandard", "zstd")
    unpacked = bytearray()
    stream: Any = library.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    for at in range(0, len(data), _PIECE):
        try:
            unpacked += stream.decompress(data[at : at + _PIECE])
        except library.ZstdError as error:
            raise ImageError(f"the zstd payload is damaged: {error}") from error
        if stream.eof or len(unpacked) > limit:
            return bytes(unpacked)
    raise ImageError(f"the zstd payload is truncated: it ends after {len(unpacked):#x} unpacked bytes")


def _library(module: str, form: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError:
        raise ImageError(
            f"the kernel in this bzImage is compressed with {form}: install `paravane[kernels]` to unpack it"
        ) from None
