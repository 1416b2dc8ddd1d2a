"""A deadline for what comes before a machine runs: assembling, and files that may be pipes."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_AT_ONCE = 1e-6


class Expired(Exception):
    """The time given was used up."""


@contextmanager
def expiring(deadline: float | None) -> Iterator[None]:
    """Raise Expired, wherever the work in the `with` then is, once `time.monotonic` passes the deadline.

    None never comes. A system call that waits (opening a FIFO, reading a pipe) is cut short as well. It takes
    SIGALRM, and so works in the main thread only; elsewhere the deadline is looked at when the work is done.
    """
    if deadline is None:
        yield
        return
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGALRM, _expire)
        signal.setitimer(signal.ITIMER_REAL, max(deadline - time.monotonic(), _AT_ONCE))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    else:
        yield
    if time.monotonic() >= deadline:
        raise Expired


def _expire(number: int, frame: FrameType | None) -> None:
    raise Expired
