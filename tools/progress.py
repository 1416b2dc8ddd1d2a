"""A line on the terminal that says how far a long work has come, and is gone when it is over.

The work does not know of it: a thread looks at what there is to look at, a few times a second. Of work that
takes less than half a second nothing is seen, nor where stderr is no terminal.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from paravane.text import shown
from paravane.tools.streams import STDERR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AFTER: Final = 0.5
"""Seconds that a work takes before anything is said of it."""

PERIOD: Final = 0.1
"""Seconds between two looks."""

_ERASE: Final = b"\r\x1b[K"
_COLUMNS: Final = 80


class Progress:
    """The line, from when it is begun until it is closed. Use `telling`."""

    def __init__(self, state: Callable[[], str], fileno: int, after: float) -> None:
        self._state = state
        self._fileno = fileno
        self._after = after
        self._began = time.monotonic()
        self._drawing = threading.Lock()
        self._drawn = b""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def begun(self) -> bool:
        """Whether there may be a line."""
        return self._thread is not None

    def begin(self) -> None:
        """Have the line appear after a while, if this is a terminal that can erase it again."""
        if os.environ.get("TERM") != "dumb" and os.isatty(self._fileno):
            # As a daemon: a terminal that takes nothing must not keep the process.
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """No line while in the `with`: something else is printed in its place."""
        with self._drawing:
            self._erase()
            yield

    def close(self) -> None:
        """Erase the line for good. Idempotent."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._erase()

    def _tell(self) -> None:
        # Signals are the main thread's business: one that came here would not end the call that it waits in.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        wait = self._after
        while not self._over.wait(wait):
            with self._drawing:
                self._draw()
            wait = PERIOD

    def _draw(self) -> None:
        # In ASCII, a character a column. The last one stays free: there some terminals begin another line.
        text = shown(self._state()).encode("ascii", "backslashreplace")
        seconds = f" ({time.monotonic() - self._began:.0f} s)".encode()
        line = text[: max(0, columns(self._fileno) - 1 - len(seconds))] + seconds
        if line != self._drawn and self._put(_ERASE + line):
            self._drawn = line

    def _erase(self) -> None:
        if self._drawn and self._put(_ERASE):
            self._drawn = b""

    def _put(self, data: bytes) -> bool:
        """Write to the terminal, unless that would wait (its user has stopped it) or is not for us to do: a
        command in the background is not to write over what is in front."""
        poll = select.poll()
        poll.register(self._fileno, select.POLLOUT)
        if not poll.poll(0) or _in_background(self._fileno):
            return False
        try:
            os.write(self._fileno, data)
        except OSError:
            return False
        return True


@contextmanager
def telling(
    state: Callable[[], str], *, wanted: bool = True, fileno: int = STDERR, after: float = AFTER
) -> Iterator[Progress]:
    """Show `state()` and the seconds since, as a line on stderr, while in the `with`; `wanted` is False where
    something else goes to the terminal meanwhile. One at a time.

    `state` is called in a thread of its own, at any moment, and must not raise.
    """
    progress = Progress(state, fileno, after)
    if wanted:
        progress.begin()
    try:
        yield progress
    finally:
        progress.close()


def portion(fileno: int) -> str:
    """How much of an open file has been read: `, 45 %`; empty for a pipe, which has no size."""
    try:
        about = os.fstat(fileno)
        if not stat.S_ISREG(about.st_mode) or not about.st_size:
            return ""
        return f", {100 * os.lseek(fileno, 0, os.SEEK_CUR) // about.st_size} %"
    except OSError:
        return ""


def columns(fileno: int, otherwise: int = _COLUMNS) -> int:
    """Columns of the terminal that a file is; `otherwise` if it is none, or does not know them."""
    try:
        return os.get_terminal_size(fileno).columns or otherwise
    except OSError:
        return otherwise


def _in_background(fileno: int) -> bool:
    try:
        return os.tcgetpgrp(fileno) != os.getpgrp()
    except OSError:  # a terminal that controls nobody here
        return False
