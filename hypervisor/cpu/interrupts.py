"""Ctrl-C while a guest runs."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class DeferredSigint:
    """Turns SIGINT into `stop` while a run lasts, and delivers it to the previous handler afterwards.

    A handler that raises inside one of the engine's callbacks would have its exception printed and dropped
    there. Does nothing outside the main thread, or where SIGINT is not handled in Python.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._previous: Callable[[int, FrameType | None], object] | None = None
        self._seen = False

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGINT)
        if callable(previous):
            self._seen = False
            self._previous = previous
            signal.signal(signal.SIGINT, self._note)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        previous, self._previous = self._previous, None
        if previous is None:
            return
        signal.signal(signal.SIGINT, previous)
        if self._seen:
            previous(signal.SIGINT, None)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._seen = True
        self._stop()
