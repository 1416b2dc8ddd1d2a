"""What passes a port, in a file that tcpdump and tshark read: libpcap's classic format, pcap-savefile(5)."""

from __future__ import annotations

import logging
import os
import stat
import struct
from typing import TYPE_CHECKING, Final

from paravane.devices.net.errors import NetError, OffloadError
from paravane.devices.net.offloads import NOTHING, fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.net.frame import Frame

_MAGIC: Final = 0xA1B23C4D
"""Times are in nanoseconds."""
_VERSION: Final = (2, 4)
_LONGEST: Final = 0x40000
_ETHERNET: Final = 1
_HEADER: Final = struct.Struct("<IHHiIII")
_RECORD: Final = struct.Struct("<IIII")

log = logging.getLogger(__name__)


class Capture:
    """A file of captured frames. `wall` gives the time in nanoseconds since 1970 UTC by the machine's clock,
    so that a capture of virtual time is the same in every run.

    Each frame is written at once and whole: the file can be read while the machine runs, and is good when it
    was killed. When it cannot be written any more (a full disk), the capture ends with one line in the log;
    the network goes on.
    """

    def __init__(self, path: str, wall: Callable[[], int]) -> None:
        """Raises NetError when there can be no such file, or it is something else than a file: a pipe that
        nobody reads would stop the machine."""
        self.path = path
        self._wall = wall
        try:
            # Nothing is opened for good, or waited for, before it is known to be a file.
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise NetError(f"cannot write {path}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self.close()
            raise NetError(f"cannot capture into {path}, which is no file")
        os.ftruncate(self._fd, 0)
        self._end = 0
        self._write(_HEADER.pack(_MAGIC, *_VERSION, 0, 0, _LONGEST, _ETHERNET))

    def record(self, frame: Frame) -> None:
        """Write a frame as it would be seen on a wire: cut into segments, with its checksums. One on which
        that cannot be done is written as it is."""
        if self._fd < 0:
            return
        try:
            parts = fit(frame, NOTHING)
        except OffloadError:
            parts = [frame]
        now = self._wall()
        when = divmod(now, 10**9)
        self._write(
            b"".join(_RECORD.pack(*when, len(part.data), len(part.data)) + part.data for part in parts)
        )

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        try:
            if os.write(self._fd, data) == len(data):
                self._end += len(data)
                return
            reason = "there is no room for more"
            # Readers would stumble over half a record.
            os.ftruncate(self._fd, self._end)
        except OSError as error:
            reason = error.strerror or str(error)
        log.warning("the capture into %s ends: %s", self.path, reason)
        self.close()
