"""Output to whoever reads it: a pipe that is full, a terminal that is stopped, never holds up the rest.

A thread does the writing, since nothing else is sure not to block: a descriptor's mode is shared with whoever
else has it, and one that can take a byte may not be able to take two.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

CAPACITY: Final = 1 << 16
"""Bytes that may wait for the reader; whoever produces more is to wait as well."""

_CHUNK: Final = 1 << 12
_LOOK_AGAIN: Final = 0.05
"""Seconds after which whoever waits looks whether it is to go on."""

_LATE: Final = 10.0
"""Seconds that our own thread has to write what would be taken, on a host that does not let it."""


class Holdable(Protocol):
    """What output needs of the machine that it comes from: see `paravane.Machine`."""

    def hold(self) -> None: ...
    def release(self) -> None: ...
    def post(self, call: Callable[[], object]) -> None: ...


class Outlet:
    """Writes to a file descriptor in the order it is told to, in a thread of its own.

    `failure` is why output goes nowhere any more (None: it does not fail); from then on all is dropped.
    """

    def __init__(self, fileno: int, *, failed: Callable[[], None] | None = None) -> None:
        """`failed` is called, in the writing thread, when the first write fails."""
        self.failure: OSError | None = None
        self._fileno = fileno
        self._failed = failed
        self._waiting = bytearray()
        self._in_flight = 0
        self._room_wanted: tuple[int, Callable[[], None]] | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, data: bytes) -> None:
        """Take all of `data`, also when `congested`. Never waits."""
        with self._changed:
            self._add(data)

    @property
    def congested(self) -> bool:
        """Whether the reader is so slow that it is time to wait for it."""
        return self.unread >= CAPACITY

    @property
    def unread(self) -> int:
        return len(self._waiting) + self._in_flight

    def when_room(self, call: Callable[[], None], unread: int = CAPACITY // 2) -> None:
        """Make `call` once, in the writing thread, as soon as at most `unread` bytes wait; at once, in this
        thread, when the outlet has failed. A later `when_room` replaces an earlier one."""
        with self._changed:
            if self.failure is None:
                self._room_wanted = unread, call
                self._start()
                self._changed.notify_all()
                return
        # The writing thread ends with the failure: it may not be there to make the call.
        call()

    def drain(self, deadline: float | None, abandon: Callable[[], bool] = lambda: False) -> int:
        """Wait until everything is written, `deadline` (of `time.monotonic`) has come, or `abandon` says so.

        The deadline is the reader's. Where a write would be taken at once it is we who are late, because the
        host has other things to do, and nothing is lost for that.

        How many bytes nobody took. They are dropped, but for a few that a write in progress may still place.
        """
        latest = max(deadline or 0.0, time.monotonic()) + _LATE
        with self._changed:
            while self.unread and not abandon():
                now = time.monotonic()
                left = _LOOK_AGAIN if deadline is None else min(_LOOK_AGAIN, deadline - now)
                if left <= 0:
                    if now >= latest or not self._takes_bytes():
                        break
                    left = _LOOK_AGAIN
                self._changed.wait(left)
            lost = self.unread
            self._waiting.clear()
        return lost

    def close(self) -> None:
        """Drop what waits, and end the writing thread, so that the file descriptor can be closed. A write in
        progress has to be ended by other means: a socket is shut down first. Idempotent."""
        with self._changed:
            self.failure = self.failure or OSError(errno.EPIPE, os.strerror(errno.EPIPE))
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _takes_bytes(self) -> bool:
        """Whether a write would not wait for the reader."""
        poll = select.poll()
        poll.register(self._fileno, select.POLLOUT)
        return bool(poll.poll(0))

    def _add(self, data: bytes) -> None:
        if self.failure or not data:
            return
        self._waiting += data
        self._start()
        self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            # As a daemon: a write that never ends must not keep the process.
            self._thread = _started(threading.Thread(target=self._write_all, daemon=True))

    def _write_all(self) -> None:
        # Signals are the main thread's business; here they would only cut writes short.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while self.failure is None:
            with self._changed:
                while not self._waiting and self._room_wanted is None and self.failure is None:
                    self._changed.wait()
                chunk = bytes(self._waiting[:_CHUNK])
                del self._waiting[:_CHUNK]
                self._in_flight = len(chunk)
            if chunk:
                self._write(chunk)
            self._tell_of_room()

    def _write(self, chunk: bytes) -> None:
        written, failure = 0, None
        try:
            written = os.write(self._fileno, chunk)
        except BlockingIOError:
            # The description is shared with whoever made it non-blocking: wait instead of changing it.
            poll = select.poll()
            poll.register(self._fileno, select.POLLOUT)
            poll.poll()
        except OSError as error:
            failure = error
        with self._changed:
            self._in_flight = 0
            self._waiting[:0] = chunk[written:]
            if failure is not None:
                self.failure = failure
                self._waiting.clear()
            self._changed.notify_all()
        if failure is not None and self._failed is not None:
            self._failed()

    def _tell_of_room(self) -> None:
        with self._changed:
            wanted = self._room_wanted
            if wanted is None or (self.unread > wanted[0] and self.failure is None):
                return
            self._room_wanted = None
        wanted[1]()


class Congestible(Protocol):
    """What a slow reader can stop: see `Outlet`."""

    @property
    def congested(self) -> bool: ...
    def when_room(self, call: Callable[[], None]) -> None: ...


class Backpressure:
    """Holds a machine while the reader of its output is slow."""

    def __init__(self, outlet: Congestible, machine: Holdable) -> None:
        self._outlet = outlet
        self._machine = machine
        self._holding = False

    def heed(self) -> None:
        """Something was put: if the reader has to catch up, no guest runs before it has. In the machine's
        thread."""
        if self._outlet.congested and not self._holding:
            self._holding = True
            self._machine.hold()
            self._outlet.when_room(lambda: self._machine.post(self._release))

    def _release(self) -> None:
        self._holding = False
        self._machine.release()


def _started(thread: threading.Thread) -> threading.Thread:
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None
    return thread
