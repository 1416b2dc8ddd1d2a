"""A terminal in raw mode, and back."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import termios
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_IFLAG, _LFLAG, _CC = 0, 3, 6
_COOKED_INPUT = (
    termios.BRKINT
    | termios.PARMRK
    | termios.ISTRIP
    | termios.INLCR
    | termios.IGNCR
    | termios.ICRNL
    | termios.IXON
)
_COOKED_KEYS = termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN


class RawMode:
    """A terminal whose every key is data while in the `with`; left, stopped, crashed, it is as it was before.

    Output keeps its processing: a line feed returns the carriage, as for any program. Job control is looked
    after only when entered in the main thread, as only that one gets signals; a signal that ends the process
    without unwinding it is the business of whoever handles it: call `restore` then. `active` is False for a
    terminal that may not be changed: somebody else's, from a session of its own.
    """

    def __init__(self, fileno: int) -> None:
        self.active = False
        self._fileno = fileno
        self._saved: list[Any] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> RawMode:
        self._saved = termios.tcgetattr(self._fileno)
        atexit.register(self.restore)
        if threading.current_thread() is threading.main_thread():
            self._handle(signal.SIGTSTP, self._stop)
            self._handle(signal.SIGCONT, self._continue)
        self._make_raw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        self.restore()
        atexit.unregister(self.restore)

    def restore(self) -> None:
        """Make the terminal what it was. Idempotent."""
        # Whenever a signal comes, what its handler restores is all that may not be as it was.
        if self.active:
            with suppress(termios.error):  # the terminal itself is gone
                _set(self._fileno, self._saved)
            self.active = False

    def _make_raw(self) -> None:
        mode = [*self._saved]
        mode[_IFLAG] &= ~_COOKED_INPUT
        mode[_LFLAG] &= ~_COOKED_KEYS
        mode[_CC] = [*mode[_CC]]
        mode[_CC][termios.VMIN], mode[_CC][termios.VTIME] = 1, 0
        self.active = True
        try:
            _set(self._fileno, mode)
        except termios.error as error:
            self.active = False
            if error.args[0] != errno.EIO:
                raise

    def _handle(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        if signal.getsignal(number) != signal.SIG_IGN:
            self._handlers[number] = signal.signal(number, handler) or signal.SIG_DFL

    def _stop(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # another one meanwhile would stop it in the middle of this
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _continue(self, number: int, frame: FrameType | None) -> None:
        if signal.SIGTSTP in self._handlers:
            signal.signal(signal.SIGTSTP, self._stop)
        with suppress(termios.error):
            self._make_raw()


def _set(fileno: int, mode: list[Any]) -> None:
    """Change a terminal's mode. A process in the background is stopped here until it has the terminal
    (SIGTTOU); being continued then interrupts the call, which is made again."""
    while True:
        try:
            termios.tcsetattr(fileno, termios.TCSANOW, mode)
        except termios.error as error:
            if error.args[0] != errno.EINTR:
                raise
        else:
            return
