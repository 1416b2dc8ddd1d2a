"""The slice timer: one thread that ends runs at regular intervals."""

import threading
from typing import Protocol


class Stoppable(Protocol):
    """Anything whose run can be ended from another thread."""

    def stop(self) -> None: ...


class SliceTimer:
    """Calls `stop` of the armed processor every `period` seconds of host time, from `start` to `close`.

    A context manager: `with SliceTimer(0.01) as timer: timer.arm(cpu); cpu.run(); timer.disarm()`. Runs must
    return to Python now and then or Ctrl-C would never be seen.
    """

    def __init__(self, period: float) -> None:
        if period <= 0:
            raise ValueError(f"the slice period must be positive, not {period}")
        self.period = period
        self._armed: Stoppable | None = None
        self._fired = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "SliceTimer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread. Idempotent."""
        if self._thread is None:
            self._closing.clear()
            self._thread = threading.Thread(target=self._tick, name="slice-timer", daemon=True)
            self._thread.start()

    def arm(self, target: Stoppable) -> None:
        """From now on end `target`'s runs."""
        with self._lock:
            self._armed = target
            self._fired = False

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
            self._closing.set()
            thread.join()

    def _tick(self) -> None:
        while not self._closing.wait(self.period):
            with self._lock:
                if self._armed is not None:
                    self._fired = True
                    self._armed.stop()
