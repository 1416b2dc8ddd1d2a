"""An end of a console whose output others hear of as well: a file, and whoever looks on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.devices.console.file_end import Appended

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.console.host_end import HostEnd, Joined


class Tee:
    """`end`, whose output is appended to the file `log` and told to `tap`, if there are such."""

    def __init__(self, end: HostEnd, log: str | None, tap: Callable[[bytes], None] | None) -> None:
        """Raises ValueError, with nothing taken over, when there can be no such file."""
        self._log = None if log is None else Appended(log)
        self._end = end
        self._tap = tap
        self.address, self.tty = end.address, end.tty

    def write(self, data: bytes) -> int | None:
        """As `end` does; what that takes was put out, and only once."""
        taken = self._end.write(data)
        out = data if taken is None else data[:taken]
        if out and self._log is not None:
            self._log.write(out)
        if out and self._tap is not None:
            self._tap(out)
        return taken

    def join(self, console: Joined) -> None:
        self._end.join(console)

    def part(self) -> None:
        self._end.part()

    def finish(self) -> None:
        self._end.finish()

    def close(self) -> None:
        self._end.close()
        if self._log is not None:
            self._log.close()
