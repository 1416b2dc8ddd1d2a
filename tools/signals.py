"""Signals that end a command: the first is a request (or the first few are), the next one an order."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_ENDING = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    # A limit of processor time or a stray timer must not leave a terminal raw either.
    *(signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2),
)


class Signals:
    """While in the `with`, a signal that would end the process calls `interrupt`, and the first is kept in
    `caught`. After so many `requests` the next one calls `last_wish` and ends the process.

    Signals that are ignored (nohup, a shell's background) stay ignored. Does nothing outside the main thread.
    """

    def __init__(self, last_wish: Callable[[], None], requests: int = 1) -> None:
        self.caught: signal.Signals | None = None
        self.count = 0
        self._requests = requests
        self.interrupt: Callable[[], None] = lambda: None
        self._last_wish = last_wish
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in _ENDING:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle) or signal.SIG_DFL
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def asked_to_stop(self) -> bool:
        """Whether a signal has come."""
        return self.caught is not None

    def another(self) -> Callable[[], bool]:
        """What says whether a signal has come since this call."""
        before = self.count
        return lambda: self.count > before

    def die(self) -> None:
        """End as the signal caught would have ended the process, so that whoever started it can tell. SIGINT
        alone has an exit status of its own."""
        if self.caught is not None and self.caught is not signal.SIGINT:
            self._end(self.caught)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.count >= self._requests:
            self._end(number)
        self.count += 1
        self.caught = self.caught or signal.Signals(number)
        self.interrupt()

    def _end(self, number: int) -> None:
        self._last_wish()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
