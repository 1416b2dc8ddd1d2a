"""Takes a kernel out of its wrappings: a gzip file, a Linux bzImage (the Linux/x86 boot protocol, 2.08).

As Xen's domain builder does, first a gzip wrapping is removed, then a bzImage's payload unpacked. What
follows the compressed stream (a bzImage appends the unpacked size) is not looked at.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Annotated, Final, Protocol

from paravane.abi.layout import U8, U16, U32, Chars, Layout
from paravane.classes import NamedTuple
from paravane.image.errors import ImageError
from paravane.image.packed import LZ4_MAGIC, unpack_lz4, unpack_zstd

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_UNPACKED: Final = 256 << 20
"""Bytes. No 32-bit kernel comes near it; a bomb stops here."""

_LZMA_MEMORY = 512 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_SECTOR = 512


class SetupHeader(NamedTuple):
    """The part of a bzImage's setup header that says where the compressed kernel lies."""

    before: Annotated[bytes, Chars(0x1F1)]
    setup_sects: U8
    between: Annotated[bytes, Chars(0x202 - 0x1F2)]
    header: Annotated[bytes, Chars(4)]
    version: U16
    rest: Annotated[bytes, Chars(0x248 - 0x208)]
    payload_offset: U32
    payload_length: U32


SETUP_HEADER = Layout("setup_header", SetupHeader)
_SETUP_MAGIC = b"HdrS"
_FIRST_VERSION_WITH_PAYLOAD = 0x208


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...


def _xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)


def _lzma_alone() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)


def _gzip() -> _Decompressor:
    return zlib.decompressobj(wbits=31)


_PAYLOADS: tuple[tuple[bytes, str, Callable[[], _Decompressor] | None], ...] = (
    (_GZIP_MAGIC, "gzip", _gzip),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", "xz", _xz),
    (b"]\0", "lzma", _lzma_alone),
    (b"\x89LZO", "lzo", None),
)
"""Magic number, name and decompressor of each payload a bzImage may have; None: there is none for it here."""

_WHOLE: tuple[tuple[bytes, str, Callable[[bytes, int], bytes]], ...] = (
    (b"\x28\xb5\x2f\xfd", "zstd", unpack_zstd),
    (LZ4_MAGIC, "lz4", unpack_lz4),
)
"""Those that are unpacked in one go, up to a limit."""


def unpack(data: bytes) -> bytes:
    """The kernel inside `data`, or `data` itself when nothing wraps it.

    Raises ImageError for a broken, unknown or unsupported wrapping and for more than MAX_UNPACKED bytes.
    """
    if data.startswith(_GZIP_MAGIC):
        data = _decompress(_gzip(), data, "gzip file")
    if len(data) >= SETUP_HEADER.size and data[0x202:0x206] == _SETUP_MAGIC:
        return _unpack_bzimage(data)
    return data


def _unpack_bzimage(data: bytes) -> bytes:
    setup = SETUP_HEADER.unpack(data)
    if setup.version < _FIRST_VERSION_WITH_PAYLOAD:
        raise ImageError(
            f"this bzImage has boot protocol {setup.version >> 8}.{setup.version & 0xFF:02}, which does not "
            "say where its kernel lies; 2.08 is the first that does"
        )
    start = (setup.setup_sects + 1) * _SECTOR + setup.payload_offset
    payload = data[start : start + setup.payload_length]
    if start >= len(data) or len(payload) < setup.payload_length:
        raise ImageError(
            f"the bzImage is truncated: its kernel should lie at {start:#x}, {setup.payload_length:#x} bytes "
            f"long, in a file of {len(data):#x}"
        )
    for magic, name, decompressor in _PAYLOADS:
        if payload.startswith(magic):
            if decompressor is None:
                raise ImageError(
                    f"the kernel in this bzImage is compressed with {name}; unpack its vmlinux first"
                )
            return _decompress(decompressor(), payload, f"{name} payload of the bzImage")
    for magic, name, unpack_whole in _WHOLE:
        if payload.startswith(magic):
            unpacked = unpack_whole(payload, MAX_UNPACKED)
            if len(unpacked) > MAX_UNPACKED:
                raise _too_large(f"{name} payload of the bzImage")
            return unpacked
    raise ImageError(
        f"the kernel in this bzImage is compressed in an unknown way (it starts {payload[:6].hex(' ')})"
    )


def _decompress(decompressor: _Decompressor, data: bytes, what: str) -> bytes:
    try:
        unpacked = decompressor.decompress(data, MAX_UNPACKED)
    except (zlib.error, lzma.LZMAError, OSError) as error:
        raise ImageError(f"the {what} is damaged: {error}") from error
    if decompressor.eof:
        return unpacked
    if len(unpacked) >= MAX_UNPACKED:
        raise _too_large(what)
    raise ImageError(f"the {what} is truncated: it ends after {len(unpacked):#x} unpacked bytes")


def _too_large(what: str) -> ImageError:
    return ImageError(f"the {what} unpacks to more than {MAX_UNPACKED >> 20} MiB")
