"""A disk that is a file, byte for byte; and one in memory, which is a file that nobody else has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from paravane.devices.block.files import (
    open_file,
    punch,
    read_whole,
    size_of,
    stamp_of,
    write_part,
    write_whole,
    write_zeros,
    written_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.devices.block.files import Stamp
    from paravane.devices.block.volume import Buffers


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

    @property
    def stamps(self) -> tuple[Stamp, ...]:
        """Of the file that it stands on, if that is one of the host's."""
        return () if self.never_waits else (stamp_of(self._number),)

    def contents(self) -> Iterator[tuple[int, bytes]]:
        """What is in memory of it, and is not zero: places and bytes, for `refill`."""
        return written_parts(self._number) if self.never_waits else iter(())

    def refill(self, place: int, part: bytes) -> None:
        """Have a part of `contents` again. Raises ValueError for what is none, and OSError."""
        if not self.never_waits:
            raise ValueError("a disk that is a file has no contents of its own")
        write_part(self._number, place, part)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._number)
