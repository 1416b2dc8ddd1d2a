"""A thread of a disk's own, for what may have to wait for the host's disk."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from paravane.devices.xenbus.host import DeviceHost

Files = frozenset[tuple[int, int]]
"""Which files a disk stands on, whatever names they have: device and inode numbers."""


def identities(paths: Iterable[Path]) -> Files:
    """Of the files that there are."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):
            status = os.stat(path)
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


class Leaving:
    """The threads of disks that are gone, and still have something under way. Nobody waits for them but who
    wants their files, and the machine when it is closed."""

    def __init__(self, host: DeviceHost) -> None:
        self._threads: dict[threading.Thread, Files] = {}

    def add(self, thread: threading.Thread, files: Files) -> None:
        """One that ends by itself."""
        self._threads = {one: theirs for one, theirs in self._threads.items() if one.is_alive()}
        self._threads[thread] = files

    def wait_for(self, files: Files) -> None:
        """Until nothing is under way on these files."""
        for thread, theirs in self._threads.items():
            if theirs & files:
                thread.join()

    def close(self) -> None:
        for thread in self._threads:
            thread.join()


class Worker:
    """Does jobs one after the other, in the order they come, in a thread that is started for the first one.

    One thread a disk: what a disk is asked for stays in order, and who has a slow one waits for that alone.
    """

    def __init__(self, host: DeviceHost, files: Files) -> None:
        """`files` are those that the jobs are about."""
        self._outside = host.outside
        self._bus = host.bus
        self._leaving = host.shared(Leaving)
        self._files = files
        self._submitted = self._finished = 0  # each counted by one thread alone
        self._closed = False
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
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
            if not self._closed:
                self.pending -= 1
                self._bus.host_works -= 1
                done()

        def work() -> None:
            job()
            tell(told)

        self._submitted += 1
        self._jobs.put(work)

    def close(self, last: Callable[[], object]) -> None:
        """No more jobs may come, and of those there are nobody is told any more. `last`, which does not
        raise, is called when they are done: at once if they are, else in the thread."""
        self._closed = True
        self._bus.host_works -= self.pending
        self.pending = 0
        thread, self._thread = self._thread, None
        if thread is None:
            last()
            return
        idle = self._submitted == self._finished
        self._jobs.put(last)
        self._jobs.put(None)
        if idle:
            thread.join()
        else:
            self._leaving.add(thread, self._files)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            self._finished += 1
