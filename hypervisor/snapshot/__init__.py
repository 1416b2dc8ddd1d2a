"""A whole machine as a snapshot, and back: see README.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from paravane.snapshot.codec import Blob
from paravane.snapshot.container import pack, unpack
from paravane.snapshot.errors import SnapshotError
from paravane.snapshot.restore import restore
from paravane.snapshot.save import save
from paravane.snapshot.state import CODEC, Kind, MachineSaved
from paravane.whole_file import beside

if TYPE_CHECKING:
    from os import PathLike

    from paravane.snapshot.parts import Parts

__all__ = ["Kind", "MachineSaved", "SnapshotError", "read", "restore", "save", "to_bytes", "write"]


def write(parts: Parts, path: str | PathLike[str]) -> None:
    """Save a machine to a file, which is written whole or not at all. Raises SnapshotError and OSError."""
    pieces = _pieces(parts, compressed=True)
    with beside(Path(path)) as stream:
        stream.writelines(pieces)


def to_bytes(parts: Parts) -> bytes:
    """Save a machine to memory, not compressed. Raises SnapshotError."""
    return b"".join(_pieces(parts, compressed=False))


def read(source: bytes | memoryview | str | PathLike[str]) -> MachineSaved:
    """What a snapshot holds, in memory or in a file. Raises SnapshotError and OSError."""
    data = source if isinstance(source, bytes | memoryview) else Path(source).read_bytes()
    header, blob = unpack(data)
    saved: MachineSaved = CODEC.decode(MachineSaved, header, blob)
    return saved


def _pieces(parts: Parts, *, compressed: bool) -> list[bytes]:
    blob = Blob()
    header = CODEC.encode(MachineSaved, save(parts), blob)
    return pack(header, blob.pieces, compressed=compressed)
