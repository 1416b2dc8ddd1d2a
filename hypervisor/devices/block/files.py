"""Files that disks stand on: opening them for oneself, and input and output that is whole or fails."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.devices.block.volume import Buffers

PART: Final = 1 << 14
"""Bytes of a file in memory that are looked at, and kept, together."""

_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def open_file(path: str | os.PathLike[str], *, writable: bool, create: bool = False) -> int:
    """A file or block device for this disk alone, or for others that only read it as well, as long as it is
    open. Raises ValueError, a sentence with its name."""
    name = shown(os.fspath(path))
    flags = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | (os.O_RDWR if writable else os.O_RDONLY)
    try:
        number = os.open(path, flags | (os.O_CREAT if create else 0), 0o666)
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{name} is no file's name") from None
    try:
        kind = os.fstat(number).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
            raise ValueError(f"{name} is neither a file nor a block device")
        fcntl.flock(number, (fcntl.LOCK_EX if writable else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        what = "in use by another disk" if writable else "being written by another disk"
        raise ValueError(f"{name} is {what}") from None
    except (OSError, ValueError) as error:
        os.close(number)
        raise error if isinstance(error, ValueError) else ValueError(f"{name}: {error.strerror}") from None
    return number


class Stamp(NamedTuple):
    """By what it is told whether a file is what it was: its size, and when it was written last (nanoseconds
    since 1970)."""

    size: int
    written: int


def stamp_of(number: int) -> Stamp:
    """Of an open file."""
    return Stamp(size_of(number), os.fstat(number).st_mtime_ns)


def written_parts(number: int) -> Iterator[tuple[int, bytes]]:
    """What is in a file in memory that is not zero: places and bytes, in order."""
    at, size = 0, size_of(number)
    while at < size:
        try:
            at = os.lseek(number, at, os.SEEK_DATA) // PART * PART
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        part = os.pread(number, min(PART, size - at), at)
        if any(part):
            yield at, part
        at += PART


def write_part(number: int, place: int, part: bytes) -> None:
    """Write one of those again. Raises ValueError for what is not in the file, and OSError."""
    size = size_of(number)
    if not 0 <= place <= size - len(part):
        raise ValueError(f"a disk of {size} bytes has nothing at {place}")
    write_whole(number, [bytearray(part)], place)


def size_of(number: int) -> int:
    """Bytes of an open file or block device."""
    return os.lseek(number, 0, os.SEEK_END)


def read_whole(number: int, buffers: Buffers, place: int, *, at_once: bool = False) -> None:
    """Fill the buffers. Raises OSError: EIO where the file is shorter than it was, BlockingIOError `at_once`
    for what is not in memory."""
    wanted = sum(map(len, buffers))
    done = os.preadv(number, buffers, place, os.RWF_NOWAIT if at_once else 0)
    while done < wanted:
        if at_once:
            raise BlockingIOError(errno.EAGAIN, "not all of it is in memory")
        more = os.preadv(number, _rest(buffers, done), place + done)
        if not more:
            raise OSError(errno.EIO, "the file is shorter than the disk")
        done += more


def write_whole(number: int, buffers: Buffers, place: int) -> None:
    """Store the buffers. Raises OSError."""
    wanted = sum(map(len, buffers))
    done = os.pwritev(number, buffers, place)
    while done < wanted:  # a full disk takes a part, and refuses the rest
        done += os.pwritev(number, _rest(buffers, done), place + done)


def punch(number: int, place: int, length: int) -> bool:
    """Make a hole. Whether the file's system can; the file reads as zeros there then. Raises OSError."""
    if not _libc.fallocate(number, _PUNCH_HOLE | _KEEP_SIZE, place, length):
        return True
    error = ctypes.get_errno()
    if error in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV):
        return False
    raise OSError(error, os.strerror(error))


def write_zeros(number: int, place: int, length: int) -> None:
    """Overwrite with zeros. Raises OSError."""
    zeros = bytearray(min(length, 1 << 20))
    for start in range(0, length, len(zeros) or 1):
        write_whole(number, [memoryview(zeros)[: min(len(zeros), length - start)]], place + start)


def _rest(buffers: Buffers, done: int) -> list[memoryview]:
    """The buffers without the bytes that are done."""
    left = []
    for buffer in buffers:
        if done < len(buffer):
            left.append(memoryview(buffer)[done:])
        done = max(0, done - len(buffer))
    return left
