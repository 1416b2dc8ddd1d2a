"""A disk that is a file, byte for byte; and one in memory, which is a file that nobody else has."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from paravane.devices.block.files import open_file, punch, read_whole, size_of, write_whole, write_zeros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.devices.block.volume import Buffers

PIECE: Final = 1 << 14
"""Bytes that are looked at, and kept, together."""


class RawVolume:
    """A file or block device (`paravane.devices.block.volume.Volume`). Sparse files stay sparse."""

    def __init__(self, number: int, *, read_only: bool, never_waits: bool = False) -> None:
        """`number` is an open file descriptor, which is the volume's from now on."""
        self._number = number
        self.read_only = read_only
        self.never_waits = never_waits
        self.size = size_of(number)
        self._closed = False

    @classmethod
    def of_file(cls, path: str | os.PathLike[str], *, read_only: bool) -> RawVolume:
        """Raises ValueError, a sentence, when it cannot be opened, or is in use."""
        return cls(open_file(path, writable=not read_only), read_only=read_only)

    @classmethod
    def in_memory(cls, size: int) -> RawVolume:
        """Zeros, `size` bytes, which take memory as they are written. Raises ValueError for a size that the
        host cannot have."""
        number = os.memfd_create("disk", os.MFD_CLOEXEC)
        try:
            os.ftruncate(number, size)
        except OSError as error:
            os.close(number)
            raise ValueError(f"a disk of {size} bytes in memory: {error.strerror}") from None
        return cls(number, read_only=False, never_waits=True)

    def read(self, buffers: Buffers, place: int, *, at_once: bool = False) -> None:
        read_whole(self._number, buffers, place, at_once=at_once)

    def write(self, buffers: Buffers, place: int) -> None:
        write_whole(self._number, buffers, place)

    def flush(self) -> None:
        os.fdatasync(self._number)

    def discard(self, place: int, length: int) -> None:
        if not punch(self._number, place, length):
            write_zeros(self._number, place, length)

    def erase(self, place: int, length: int) -> None:
        write_zeros(self._number, place, length)
        os.fdatasync(self._number)
        punch(self._number, place, length)

    def contents(self) -> Iterator[tuple[int, bytes]]:
        """What was written and is not zero: places and bytes, in order."""
        at = 0
        while at < self.size:
            try:
                at = os.lseek(self._number, at, os.SEEK_DATA) // PIECE * PIECE
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole
                    return
                raise
            piece = os.pread(self._number, min(PIECE, self.size - at), at)
            if any(piece):
                yield at, piece
            at += PIECE

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._number)
