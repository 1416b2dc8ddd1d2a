"""Consoles into files: all that comes out is appended, nothing comes in."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

from paravane.classes import dataclass
from paravane.devices.console.host_end import OutputEnd

if TYPE_CHECKING:
    from paravane.devices.xenbus import DeviceHost

log = logging.getLogger(__name__)


class Appended:
    """A file that grows: what a former life of the domain left there stays. Close it.

    Each write goes there at once. When it cannot be written any more (a full disk), that ends with one line
    in the log; the guest goes on.
    """

    def __init__(self, path: str) -> None:
        """Raises ValueError when there can be no such file, or it is something else than a file: a pipe that
        nobody reads would stop the machine."""
        self.path = path
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            self._fd = os.open(path, flags, 0o666)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None
        found = os.fstat(self._fd)
        if not (stat.S_ISREG(found.st_mode) or found.st_rdev == os.stat(os.devnull).st_rdev):
            self.close()
            raise ValueError(f"cannot write a console into {path}, which is no file")

    def write(self, data: bytes) -> None:
        """Append all of it."""
        try:
            while self._fd >= 0 and data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            log.warning("what a console writes is kept in %s no more: %s", self.path, error.strerror)
            self.close()

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _FileEnd(OutputEnd):
    def __init__(self, path: str) -> None:
        self._file = Appended(path)

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class FileEnd:
    """A console that is appended to a file."""

    path: str

    def open(self, host: DeviceHost) -> _FileEnd:
        """Raises ValueError."""
        return _FileEnd(self.path)
