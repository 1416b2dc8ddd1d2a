"""Carrying requests out: which at once, which in the disk's own thread.

All pages of a request are mapped before any byte of the volume is touched, so that one with a bad page
changes nothing. A request is carried out at once where that cannot wait for the host's disk: the volume is
in memory, or what is read is in the host's cache. Everything else the disk's thread does, on a copy of the
data: neither the other domains nor the rest of this one wait, and nothing of the guest's is in use while a
disk works. In a run that is counted everything is done at once, whatever it takes: in which order answers
come, and when, must not depend on the host's disk."""

from __future__ import annotations

import errno
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from paravane.abi.blkif import BlkifOp
from paravane.devices.block.worker import Worker
from paravane.grants import GrantRefusal, map_grants, read_grant
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from paravane.devices.block.request import Request
    from paravane.devices.block.volume import Buffers, Volume
    from paravane.devices.block.worker import Files
    from paravane.devices.bus import Budget
    from paravane.devices.xenbus import DeviceHost, Frontend

    Finished = Callable[[Request, OSError | GrantRefusal | None], None]

_HAND_OVER_UNITS: Final = 3

log = logging.getLogger(__name__)


class _Job:
    """A request that the thread works on: for which connection, its data, and why it failed."""

    __slots__ = ("data", "error", "frontend", "request")

    def __init__(self, frontend: Frontend, request: Request, data: bytearray) -> None:
        self.frontend = frontend
        self.request = request
        self.data = data
        self.error: OSError | None = None


class Executor:
    """What one disk does on its volume. `finished` is called once for each request that was started, in
    `start` or in `finish`, unless its connection is gone by then."""

    def __init__(self, host: DeviceHost, volume: Volume, files: Files, finished: Finished) -> None:
        """`files` are what the volume stands on."""
        self._domid = host.domid
        self._volume = volume
        self._finished = finished
        self.at_once = host.counted or volume.never_waits
        """Whether nothing is left to the thread."""
        self._host_tells = True  # what is in its cache, until a file system says that it cannot
        self._worker = Worker(host, files)
        self._frontend: Frontend | None = None
        self._done: deque[_Job] = deque()

    @property
    def busy(self) -> bool:
        """Whether something was begun, and its end has not been told."""
        return bool(self._worker.pending or self._done)

    def connect(self, frontend: Frontend) -> None:
        """The requests from now on are this frontend's."""
        self._frontend = frontend

    def disconnect(self) -> None:
        """What is under way is carried out, and nobody is told of it."""
        self._frontend = None
        self._done.clear()

    def close(self) -> None:
        """Close the volume as soon as what is under way is done. Nobody waits for that."""
        self._worker.close(self._close_volume)

    def _close_volume(self) -> None:
        try:
            self._volume.close()
        except OSError as error:  # what the host could not write only shows now, and nobody is left to tell
            log.warning("a disk that is gone: %s", error.strerror)

    def start(self, request: Request) -> None:
        """Carry a request out, or have the thread do it. Raises GrantRefusal, and has touched nothing
        then."""
        reads = request.operation == BlkifOp.READ
        error: OSError | None = None
        data: bytearray | None = None
        with self._mapped(request) as pages:
            if self.at_once:
                error = _attempt(self._volume, request, pages)
            elif not (reads and self._read_from_cache(request, pages)):
                # The guest goes on writing to its pages; what is written is what is there now.
                data = bytearray(request.length if reads else b"".join(pages))
        if data is None:
            self._finished(request, error)
        else:
            self._leave_to_thread(request, data)

    def _leave_to_thread(self, request: Request, data: bytearray) -> None:
        """Have the thread carry a request out on `data`."""
        assert self._frontend is not None
        job = _Job(self._frontend, request, data)

        def work() -> None:
            job.error = _attempt(self._volume, request, [job.data] if job.data else [])

        try:
            self._worker.submit(work, lambda: self._told(job))
        except RuntimeError:
            self._finished(request, OSError(errno.EAGAIN, "the host has no thread for it"))

    def finish(self, budget: Budget) -> None:
        """Answer what the thread has done meanwhile, which is bounded by the ring."""
        while self._done:
            job = self._done.popleft()
            error: OSError | GrantRefusal | None = job.error
            if error is None and job.request.operation == BlkifOp.READ:
                budget.spend(_HAND_OVER_UNITS * len(job.request.pieces))
                try:
                    self._hand_over(job)
                except GrantRefusal as refusal:  # it has taken a page back meanwhile
                    error = refusal
            self._finished(job.request, error)

    def indirect_page(self, gref: int) -> bytes:
        """A copy of a granted page. Raises GrantRefusal."""
        assert self._frontend is not None
        return read_grant(self._frontend.grants, gref, 0, PAGE_SIZE, domid=self._domid)

    def _read_from_cache(self, request: Request, pages: Buffers) -> bool:
        """Whether it could be read without waiting. Not while the thread has something to do, or a read could
        overtake a write."""
        if self._worker.pending or not self._host_tells:
            return False
        try:
            self._volume.read(pages, request.place, at_once=True)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._host_tells = False
            return False  # the thread will find out what is wrong
        return True

    def _told(self, job: _Job) -> None:
        """The thread has done a job."""
        if job.frontend is self._frontend:
            self._done.append(job)
            job.frontend.call()

    def _hand_over(self, job: _Job) -> None:
        at = 0
        with self._mapped(job.request) as pages:
            for page in pages:
                page[:] = job.data[at : at + len(page)]
                at += len(page)

    def _mapped(self, request: Request) -> AbstractContextManager[list[memoryview]]:
        """The pieces of the guest's pages, writable for a read. Raises GrantRefusal unless all can be had."""
        assert self._frontend is not None
        grants, writable = self._frontend.grants, request.operation == BlkifOp.READ
        return map_grants(grants, request.pieces, writable=writable, domid=self._domid)


def _attempt(volume: Volume, request: Request, buffers: Buffers) -> OSError | None:
    """Do it; what was wrong."""
    try:
        _perform(volume, request, buffers)
    except OSError as error:
        return error
    return None


def _perform(volume: Volume, request: Request, buffers: Buffers) -> None:
    match request.operation:
        case BlkifOp.READ:
            volume.read(buffers, request.place)
        case BlkifOp.WRITE:
            volume.write(buffers, request.place)
        case BlkifOp.WRITE_BARRIER:
            # All before it is safe before it begins, and so is it before anything after it.
            volume.flush()
            if buffers:
                volume.write(buffers, request.place)
                volume.flush()
        case BlkifOp.FLUSH_DISKCACHE:
            volume.flush()
            if buffers:  # what it brings is not flushed: frontends that want that send a barrier
                volume.write(buffers, request.place)
        case BlkifOp.DISCARD if not request.length:
            pass
        case BlkifOp.DISCARD if request.secure:
            volume.erase(request.place, request.length)
        case BlkifOp.DISCARD:
            volume.discard(request.place, request.length)
