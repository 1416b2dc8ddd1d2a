"""The file that a snapshot is: what it is, a header in JSON, a run of bytes, and what tells whether it is
whole.

| bytes | what |
|---|---|
| 16 | `MAGIC` |
| 4 | the version of the format |
| 4 | 1 when what follows is compressed by zlib, else 0 |
| 8 | bytes of the header |
| 8 | bytes of the run |
| 8 | bytes of both together as they are in the file |
| 32 | SHA-256 of all that is before and after this |

Numbers are little-endian. A file is hostile until it has been looked at: nothing is allocated by what it says
that is not bounded, and by its own length where it is not compressed.
"""

from __future__ import annotations

import json
import zlib
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from paravane.snapshot.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC: Final = b"Paravane\r\nsaved\x1a"
VERSION: Final = 3
"""Of the format, and of what all states in it are: a change of any declaration is another version."""

_HEAD: Final = Struct("<16sIIQQQ")
_DIGEST: Final = 32
_FAST: Final = 1

MOST_HEADER: Final = 64 << 20
"""Bytes of JSON that a machine may take: it is hundreds of kilobytes."""

MOST_BYTES: Final = 6 << 30
"""Bytes of the run: a machine of 4 GiB with what is known of its frames."""


def pack(header: Any, pieces: Sequence[bytes], *, compressed: bool) -> list[bytes]:
    """The parts of the file in order. `header` is what JSON can hold."""
    text = json.dumps(header, separators=(",", ":")).encode()
    size = sum(map(len, pieces))
    parts: list[bytes] = [text, *pieces]
    if compressed:
        deflate = zlib.compressobj(_FAST)
        parts = [deflate.compress(part) for part in parts]
        parts.append(deflate.flush())
    head = _HEAD.pack(MAGIC, VERSION, compressed, len(text), size, sum(map(len, parts)))
    digest = sha256(head)
    for part in parts:
        digest.update(part)
    return [head, digest.digest(), *parts]


def unpack(data: bytes | memoryview) -> tuple[Any, memoryview]:
    """The header and the run of bytes. Raises SnapshotError for what is no whole snapshot of this version."""
    data = memoryview(data).cast("B")
    stored, text_size, size, compressed = _look_at_head(data)
    body = data[_HEAD.size + _DIGEST :]
    if len(body) != stored:
        what = "truncated" if len(body) < stored else "damaged"
        raise SnapshotError(f"the snapshot is {what}: {len(body)} bytes are there, and it says {stored}")
    digest = sha256(data[: _HEAD.size])
    digest.update(body)
    if digest.digest() != data[_HEAD.size : _HEAD.size + _DIGEST]:
        raise SnapshotError("the snapshot is damaged: its checksum is wrong")
    if compressed:
        body = memoryview(_inflate(body, text_size + size))
    if len(body) != text_size + size:
        raise SnapshotError("the snapshot is damaged: its parts are not as long as it says")
    try:
        return json.loads(bytes(body[:text_size])), body[text_size:]
    except (ValueError, RecursionError):
        raise SnapshotError("the snapshot is damaged: its header cannot be read") from None


def _look_at_head(data: memoryview) -> tuple[int, int, int, bool]:
    """Bytes that follow the head, of the header and of the run, and whether they are compressed. Raises
    SnapshotError."""
    if bytes(data[: len(MAGIC)]) != MAGIC:
        begun = len(data) and MAGIC.startswith(bytes(data[: len(MAGIC)]))
        raise SnapshotError("the snapshot is truncated" if begun else "this is not a snapshot of a machine")
    if len(data) < _HEAD.size + _DIGEST:
        raise SnapshotError("the snapshot is truncated")
    _, version, compressed, text_size, size, stored = _HEAD.unpack_from(data)
    if version != VERSION:
        age = "a newer" if version > VERSION else "an older"
        raise SnapshotError(f"the snapshot is from {age} Paravane: its format is {version}, not {VERSION}")
    if text_size > MOST_HEADER or size > MOST_BYTES or compressed > 1:
        raise SnapshotError("the snapshot is damaged: no machine takes so much")
    return stored, text_size, size, bool(compressed)


def _inflate(body: memoryview, size: int) -> bytes:
    """At most so many bytes and one. Raises SnapshotError."""
    inflate = zlib.decompressobj()
    try:
        return inflate.decompress(body, size + 1)
    except zlib.error:
        raise SnapshotError("the snapshot is damaged: it cannot be decompressed") from None
