"""Copy on write: what a guest writes goes into a file beside the disk's own, which is only read.

The file has a head of 4096 bytes, a map with a bit for each 512-byte sector, and then the sectors, each at
its own place: what was never written takes no space (the file is sparse), and a sector that is in the file
is there as a whole, so nothing is ever copied. A sector is written before its bit is set: a process that is
killed in between leaves the old sector, and one whose write was answered has both."""

from __future__ import annotations

import os
import struct
from itertools import groupby
from typing import TYPE_CHECKING, Final

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
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.devices.block.files import Stamp
    from paravane.devices.block.raw import RawVolume
    from paravane.devices.block.volume import Buffers

SECTOR: Final = 512
_MAGIC: Final = b"paravane cow 1\n\0"
_HEAD: Final = struct.Struct("<16sQ")
"""Magic, and bytes of the disk that it was made over."""

_HEAD_SIZE: Final = 4096
_MARKED_AT_ONCE: Final = 64 << 20
"""Bytes whose part of the map is looked at at a time: a guest may discard a whole disk in one request."""


class Overlay:
    """The sectors that were written, over a read-only `base` (`paravane.devices.block.volume.Volume`)."""

    read_only = False

    def __init__(self, base: RawVolume, number: int, *, never_waits: bool = False) -> None:
        """`number` is the open file, which is the volume's from now on, as the base is. Raises OSError and,
        for a file that is no overlay or one over another disk, ValueError."""
        self._base = base
        self._number = number
        self.size = base.size // SECTOR * SECTOR
        self.never_waits = never_waits and base.never_waits
        self._in_memory = never_waits
        map_size = -(-self.size // SECTOR // 8)
        self._data = _HEAD_SIZE + -(-map_size // _HEAD_SIZE) * _HEAD_SIZE
        self._closed = False
        self._begin()

    @classmethod
    def of_file(cls, base: RawVolume, path: str | os.PathLike[str]) -> Overlay:
        """Goes on with the overlay in a file, or begins one where that is new or empty. Raises ValueError, a
        sentence; the base is closed then."""
        try:
            number = open_file(path, writable=True, create=True)
        except ValueError:
            base.close()
            raise
        try:
            return cls(base, number)
        except (OSError, ValueError) as error:
            os.close(number)
            base.close()
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"{shown(os.fspath(path))}: {reason}") from None

    @classmethod
    def in_memory(cls, base: RawVolume) -> Overlay:
        """What is written is lost when the volume is closed."""
        return cls(base, os.memfd_create("overlay", os.MFD_CLOEXEC), never_waits=True)

    def read(self, buffers: Buffers, place: int, *, at_once: bool = False) -> None:
        length = sum(map(len, buffers))
        for written, start, end in self._runs(place, length, at_once=at_once):
            part = _cut(buffers, start - place, end - place)
            if written:
                # A file in memory never waits, and its file system may not know how to say so.
                read_whole(self._number, part, self._data + start, at_once=at_once and not self.never_waits)
            else:
                self._base.read(part, start, at_once=at_once)

    def write(self, buffers: Buffers, place: int) -> None:
        write_whole(self._number, buffers, self._data + place)
        self._mark(place, sum(map(len, buffers)))

    def flush(self) -> None:
        os.fdatasync(self._number)

    def discard(self, place: int, length: int) -> None:
        if not punch(self._number, self._data + place, length):
            write_zeros(self._number, self._data + place, length)
        self._mark(place, length)

    def erase(self, place: int, length: int) -> None:
        """What the base has there stays, unseen: it is not the guest's."""
        write_zeros(self._number, self._data + place, length)
        os.fdatasync(self._number)
        self.discard(place, length)

    @property
    def stamps(self) -> tuple[Stamp, ...]:
        """Of the files of the host's that it stands on."""
        return self._base.stamps if self._in_memory else (*self._base.stamps, stamp_of(self._number))

    def contents(self) -> Iterator[tuple[int, bytes]]:
        """What is in memory of it, and is not zero: places and bytes, for `refill`."""
        return written_parts(self._number) if self._in_memory else iter(())

    def refill(self, place: int, part: bytes) -> None:
        """Have a part of `contents` again. Raises ValueError for what is none, and OSError."""
        if not self._in_memory:
            raise ValueError("an overlay that is a file has no contents of its own")
        write_part(self._number, place, part)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._number)
            self._base.close()

    def _begin(self) -> None:
        head = _HEAD.pack(_MAGIC, self.size)
        size, found = size_of(self._number), os.pread(self._number, len(head), 0)
        # A file that has its size but no head is one that was begun by a process that was killed.
        if not size or (size == self._data + self.size and not any(found)):
            os.ftruncate(self._number, self._data + self.size)
            write_whole(self._number, [bytearray(head)], 0)
            return
        if found[: len(_MAGIC)] != _MAGIC:
            raise ValueError("this is no copy-on-write file of Paravane's, and is left as it is")
        if found != head or size != self._data + self.size:
            raise ValueError("this was made over a disk of another size")

    def _bits(self, place: int, length: int, *, at_once: bool) -> tuple[int, int, bytearray]:
        """The bytes of the map for a range: the first sector, how many, and the map from the first one's byte
        on."""
        first, count = place // SECTOR, length // SECTOR
        bits = bytearray((first + count + 7) // 8 - first // 8)
        read_whole(self._number, [bits], _HEAD_SIZE + first // 8, at_once=at_once)
        return first, count, bits

    def _runs(self, place: int, length: int, *, at_once: bool) -> Iterator[tuple[bool, int, int]]:
        """Ranges of sectors that were written, or were not: whether, first byte, end."""
        waits = at_once and not self.never_waits
        first, count, bits = self._bits(place, length, at_once=waits)
        marks = int.from_bytes(bits, "little") >> (first & 7) & (1 << count) - 1
        if marks in (0, (1 << count) - 1):
            yield marks > 0, place, place + length
            return
        for written, group in groupby(range(count), key=lambda sector: marks >> sector & 1):
            sectors = list(group)
            yield bool(written), place + sectors[0] * SECTOR, place + (sectors[-1] + 1) * SECTOR

    def _mark(self, place: int, length: int) -> None:
        """These sectors are in the file from now on."""
        for start in range(place, place + length, _MARKED_AT_ONCE):
            self._mark_some(start, min(_MARKED_AT_ONCE, place + length - start))

    def _mark_some(self, place: int, length: int) -> None:
        first, count, bits = self._bits(place, length, at_once=False)
        before = int.from_bytes(bits, "little")
        after = before | ((1 << count) - 1) << (first & 7)
        if after != before:
            write_whole(
                self._number, [bytearray(after.to_bytes(len(bits), "little"))], _HEAD_SIZE + first // 8
            )


def _cut(buffers: Buffers, start: int, end: int) -> list[memoryview]:
    """The part of the buffers from byte `start` to `end`."""
    found, at = [], 0
    for buffer in buffers:
        low, high = max(start - at, 0), min(end - at, len(buffer))
        if low < high:
            found.append(memoryview(buffer)[low:high])
        at += len(buffer)
    return found
