"""The slice timer: one thread that ends runs after so much host time."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from types import TracebackType


LENIENCE: Final = 0.002
"""Seconds by which a lenient timer may be late: so often its thread looks whether anything is due."""


class Stoppable(Protocol):
    """Anything whose run can be ended from another thread."""

    def stop(self) -> None: ...


class SliceTimer:
    """Calls `stop` of the armed processor when the time it was armed for is over, and again every `period`
    seconds of host time until it is disarmed.

    A context manager: `with SliceTimer(0.01) as timer: timer.arm(cpu); cpu.run(); timer.disarm()`. Runs must
    return to Python now and then or Ctrl-C would never be seen.

    To wake a thread costs more than a short slice does, so one that waits is only woken for a time that is
    earlier than what it waits for; it finds the later ones when it looks. A timer that was not armed since it
    looked last waits until it is: an idle machine costs nothing.

    Who is armed leniently is expected to end its run by itself, long before: if it does not, it is ended up
    to `LENIENCE` late. Then the thread looks that often, and need not be woken each time.
    """

    def __init__(self, period: float) -> None:
        if period <= 0:
            raise ValueError(f"the slice period must be positive, not {period}")
        self.period = period
        self._armed: Stoppable | None = None
        self._due = math.inf  # on time.monotonic
        self._looks = math.inf  # when the thread looks again; inf: when it is told to
        self._used = False  # whether it was armed since the thread looked last
        self._fired = False
        self._span = period  # seconds that it was armed for last
        self._lenience = 0.0  # seconds that who was armed last may be ended late
        # Taken by itself, never through the condition: that would be a call of Python code, and a Ctrl-C
        # after it has taken the lock and before its return would leave it taken for ever.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._closing = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> SliceTimer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread. Idempotent. MemoryError when the host has none."""
        if self._thread is None:
            self._closing = False
            thread = threading.Thread(target=self._watch, name="slice-timer", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise MemoryError(f"the host has no thread to end time slices: {error}") from None
            self._thread = thread

    def arm(self, target: Stoppable, seconds: float | None = None, *, lenient: bool = False) -> None:
        """End `target`'s runs in `seconds` from now (None: the period)."""
        with self._lock:
            self._armed = target
            self._fired = False
            self._used = True
            self._lenience = LENIENCE if lenient else 0.0
            self._set(seconds)

    def shorten(self, seconds: float) -> None:
        """End the runs of who is armed in `seconds` at the latest. Nobody may be."""
        with self._lock:
            if self._armed is not None and time.monotonic() + seconds < self._due:
                self._set(seconds)

    def disarm(self) -> bool:
        """End nobody's runs. On return no stop is on its way any more, so the target may be closed. True when
        the timer has stopped it since `arm`."""
        with self._lock:
            self._armed = None
            return self._fired

    def close(self) -> None:
        """Stop the thread and wait for it. Idempotent."""
        self.disarm()
        thread, self._thread = self._thread, None
        if thread is not None:
            with self._lock:
                self._closing = True
                # All: a notification that a Ctrl-C cut short may have left one who no longer waits.
                self._changed.notify_all()
            thread.join()

    def _set(self, seconds: float | None) -> None:
        self._span = self.period if seconds is None else seconds
        self._due = time.monotonic() + self._span
        latest = self._due + self._lenience
        if latest < self._looks:
            self._looks = latest
            self._changed.notify_all()

    def _watch(self) -> None:
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                if self._armed is not None and self._due <= now:
                    self._fired = True
                    self._armed.stop()
                    self._due = now + self.period
                self._wait(now)

    def _wait(self, now: float) -> None:
        """Until there is something to look at."""
        if self._armed is not None:
            self._looks = max(self._due, now + self._lenience)
        else:
            # Of who is armed leniently next it will know soon enough then.
            rest = max(self._lenience, self._span) if self._lenience else self.period
            self._looks = now + rest if self._used else math.inf
        self._used = False
        # What is armed while we wait may set `_looks` to an earlier time, and wakes us then.
        self._changed.wait(None if self._looks == math.inf else max(0.0, self._looks - now))
