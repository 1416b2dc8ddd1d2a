"""What a disk gave that nobody could know but who had it: a stream of answers, compressed by zlib.

An answer has a head, which says at which operation of the disk's it came, counted from 1, and then its data:
bytes that were on the disk before the guest wrote anything there, the first time that they are read; or none,
where the host refused the operation with an error. What a guest has written itself, or read before, is not in
it again.
"""

from __future__ import annotations

import struct
import zlib
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.recording.errors import RecordingError

if TYPE_CHECKING:
    from pathlib import Path

MOST_DATA: Final = 1 << 30
"""Bytes of what was read that are kept of one disk."""

MOST_FILE: Final = MOST_DATA + (MOST_DATA >> 4)
"""Bytes of the file of a disk, at most: what cannot be compressed becomes a little longer."""

LONGEST: Final = 1 << 20
"""Bytes of one answer: no request has more."""

_HEAD: Final = struct.Struct("<QQIH2x")
_PORTION: Final = 1 << 16


class Answer(NamedTuple):
    """`error` is an errno, 0 with data."""

    operation: int
    place: int
    data: bytes
    error: int = 0


class Writer:
    """Writes answers to a new file, which is whole when it is closed. `digest` is its SHA-256 then."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._stream = open(path, "xb")  # noqa: SIM115 - closed in `close`
        self._deflate = zlib.compressobj(1)
        self._sha = sha256()
        self.kept = 0
        """Bytes of data."""

    def add(self, answer: Answer) -> None:
        """Raises OSError where the file cannot be written."""
        self.kept += len(answer.data)
        self._write(
            self._deflate.compress(_HEAD.pack(answer.operation, answer.place, len(answer.data), answer.error))
        )
        self._write(self._deflate.compress(answer.data))

    def close(self) -> str:
        """The digest. Idempotent. Raises OSError."""
        if not self._stream.closed:
            with self._stream:
                self._write(self._deflate.flush())
        return self._sha.hexdigest()

    def _write(self, data: bytes) -> None:
        self._sha.update(data)
        self._stream.write(data)


class Reader:
    """Reads them, from a file that is hostile. It holds no more of it than an answer. Close it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj()
        self._ready = bytearray()
        self._packed = b""
        self._total = 0
        self._last = 0

    def next(self) -> Answer | None:
        """The next one; None: there are no more. Raises RecordingError."""
        head = self._take(_HEAD.size)
        if head is None:
            return None
        operation, place, length, error = _HEAD.unpack(head)
        if operation < max(1, self._last) or length > LONGEST or bool(length) == bool(error):
            raise RecordingError("what its disk gave is damaged")
        self._last = operation
        data = self._take(length)
        if data is None:
            raise RecordingError("what its disk gave is not whole")
        return Answer(operation, place, data, error)

    def close(self) -> None:
        self._stream.close()

    def _take(self, size: int) -> bytes | None:
        """So many bytes; None at the end."""
        while len(self._ready) < size:
            if self._inflate.eof:
                if self._ready:
                    raise RecordingError("what its disk gave is not whole")
                return None
            self._fill()
        found = bytes(self._ready[:size])
        del self._ready[:size]
        return found

    def _fill(self) -> None:
        self._packed = self._packed or self._stream.read(_PORTION)
        if not self._packed:
            raise RecordingError("what its disk gave is not whole")
        try:
            found = self._inflate.decompress(self._packed, _PORTION)
        except zlib.error:
            raise RecordingError("what its disk gave is damaged") from None
        self._packed = self._inflate.unconsumed_tail
        self._total += len(found)
        if self._total > 2 * MOST_DATA:
            raise RecordingError(f"its disk gave more than {MOST_DATA >> 20} MiB")
        self._ready += found
