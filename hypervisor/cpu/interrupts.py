"""Ctrl-C while a guest runs."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType


class DeferredSigint:
    """Turns SIGINT into a stop while a guest executes, and delivers it to the previous handler afterwards.

    A handler that raises inside one of the engine's callbacks would have its exception printed and dropped
    there. Does nothing outside the main thread, or where SIGINT is not handled in Python.

    To install a handler costs as much as a short run of a guest. Who runs guests again and again holds it
    installed meanwhile, as a context manager; then a SIGINT between two runs goes to the previous handler at
    once. Processors that never run at the same time may share one.

    With `stops` False it is delivered when the guest stops by itself, for whoever wants all runs whole.
    """

    def __init__(self) -> None:
        self.stops = True
        self._previous: Callable[[int, FrameType | None], object] | None = None
        self._stop: Callable[[], None] | None = None
        self._seen = False
        self._held = False

    def __enter__(self) -> None:
        self._held = True
        self._install()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held = False
        self._restore()

    def during(self, run: Callable[[], None], stop: Callable[[], None]) -> None:
        """Call `run`, in which a SIGINT calls `stop`."""
        if not self._held:
            self._install()
        self._seen, self._stop = False, stop
        try:
            run()
        finally:
            self._stop = None
            previous = self._previous
            if not self._held:
                self._restore()
            if self._seen and previous is not None:
                previous(signal.SIGINT, None)

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGINT)
        # It is still ours where an exception of the previous handler came into the middle of `_restore`.
        if callable(previous) and previous != self._note:
            self._previous = previous
            signal.signal(signal.SIGINT, self._note)

    def _restore(self) -> None:
        previous = self._previous
        if previous is None:
            return
        # Who was called between two runs may have installed a handler of its own, to stay.
        if signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, previous)
        self._previous = None  # not before: a SIGINT that comes until now goes there

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._stop is not None:
            self._seen = True
            if self.stops:
                self._stop()
        elif self._previous is not None:
            self._previous(number, frame)
