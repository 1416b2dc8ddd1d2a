"""A thread of a disk's own, for what may have to wait for the host's disk."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.bus import Bus
    from paravane.devices.xenbus.host import Outside

Job = "Callable[[], Callable[[], object]]"


class Worker:
    """Does jobs one after the other, in the order they come, in a thread that is started for the first one.

    One thread a disk: what a disk is asked for stays in order, and who has a slow one waits for that alone.
    """

    def __init__(self, outside: Outside, bus: Bus) -> None:
        self._outside = outside
        self._bus = bus
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.pending = 0
        """Jobs whose end has not been told yet."""

    def submit(self, job: Callable[[], object], done: Callable[[], object]) -> None:
        """Have `job` done in the thread, then `done` called in the machine's. `job` keeps what comes of it,
        and does not raise. Raises RuntimeError when the host has no thread for it."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="paravane-disk", daemon=True)
            thread.start()
            self._thread = thread
        tell = self._outside.promise()
        self.pending += 1
        self._bus.host_works += 1

        def told() -> None:
            self.pending -= 1
            self._bus.host_works -= 1
            done()

        def work() -> None:
            job()
            tell(told)

        self._jobs.put(work)

    def close(self) -> None:
        """Wait for the jobs that there are, whose ends are still told; no more may come. Idempotent."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
