"""Lines of text that come while guests run: a trace, refusals explained, the log."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from paravane.tools.outlet import Backpressure, Outlet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.tools.outlet import Holdable


class Lines:
    """Puts out whole lines, each at once: whatever ends the process, none before the last one is missing.

    A file is written directly, since that does not block; anything else through an `Outlet`, whose slow
    reader holds the machine it is joined to. `failure` is why lines are lost (None: none are).
    """

    def __init__(self, fileno: int) -> None:
        self._fileno = fileno
        self._outlet = None if stat.S_ISREG(os.fstat(fileno).st_mode) else Outlet(fileno)
        self._backpressure: Backpressure | None = None
        self._failure: OSError | None = None

    @property
    def failure(self) -> OSError | None:
        return self._failure if self._outlet is None else self._outlet.failure

    def join(self, machine: Holdable | None) -> None:
        """From now on hold this machine, or none, when the reader is slow."""
        if self._outlet is not None:
            self._backpressure = None if machine is None else Backpressure(self._outlet, machine)

    def write(self, line: str) -> None:
        """Put out one line, or several; never raises and never waits."""
        self.put(line.encode("utf-8", "backslashreplace") + b"\n")

    def put(self, data: bytes) -> None:
        """Put out bytes; never raises and never waits."""
        if self._outlet is None:
            self._write_file(data)
            return
        self._outlet.put(data)
        if self._backpressure is not None:
            self._backpressure.heed()

    def drain(self, deadline: float | None, abandon: Callable[[], bool]) -> int:
        """Wait as `Outlet.drain` does; how many bytes nobody took."""
        return 0 if self._outlet is None else self._outlet.drain(deadline, abandon)

    def _write_file(self, data: bytes) -> None:
        # A file takes all at once, unless the disk is full.
        rest = data
        while rest and self._failure is None:
            try:
                rest = rest[os.write(self._fileno, rest) :]
            except OSError as error:
                self._failure = error


class LineHandler(logging.Handler):
    """Puts log records out as lines."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.write(self.format(record))


@contextmanager
def logging_to(lines: Lines, level: str) -> Iterator[None]:
    """The hypervisor's log as lines, while in the `with`."""
    log, handler = logging.getLogger("paravane"), LineHandler(lines)
    before = log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
