"""Being told when a file is opened (inotify(7)), which Python's own library has nothing for."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Final

_IN_OPEN: Final = 0x20
_ROOM: Final = 4096
"""Bytes for events: each has 16, and a name only where a folder is watched."""


class Openings:
    """Readable (`fileno`) when somebody has opened the file at `path`. Close it."""

    def __init__(self, path: str) -> None:
        """Raises OSError: a user may have so many, and no more."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _error()
        if libc.inotify_add_watch(self._fd, os.fsencode(path), _IN_OPEN) < 0:
            error = _error()
            os.close(self._fd)
            raise error

    def fileno(self) -> int:
        return self._fd

    def forget(self) -> None:
        """What has happened so far was seen."""
        with suppress(BlockingIOError):
            while os.read(self._fd, _ROOM):
                pass

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
