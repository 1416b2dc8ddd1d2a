"""What reaches a machine from outside its domains: input, other threads, signals.

It all enters here, and is delivered in the machine's own thread between two time slices. So no callback ever
meets a guest in the middle of an instruction or a hypercall in the middle of its work.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DRAIN = 4096
_MILLISECOND = 0.001
_LONGEST = 24 * 3600.0
"""Seconds of one wait. A poll takes 2**31 milliseconds at most, which is less than a month: a guest may sleep
longer, and whoever runs it may give it longer."""


@dataclass(slots=True)
class _Watched:
    """Who is called for a file descriptor: when it is readable, and when it takes bytes (None: nobody)."""

    ready: Callable[[], object]
    room: Callable[[], object] | None = None

    def events(self, *, readable: bool) -> int:
        return selectors.EVENT_READ * readable | selectors.EVENT_WRITE * (self.room is not None)


class Journal(Protocol):
    """What stands between what comes and the guests, to keep it or to repeat it (`paravane.recording`)."""

    @property
    def over(self) -> bool:
        """Whether the machine is to stop here."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether what comes is what came before, so that nothing of the host's is to be opened."""
        ...

    def patience(self, wait: float | None) -> float | None:
        """How long a look outside may take that would wait for so long."""
        ...

    def passed(self, came: bool) -> bool:
        """A look outside is over, and guests go on: whether anything came, as they are to see it."""
        ...

    def expecting(self, found: bool) -> bool:
        """Whether something can still come for guests, as they are to see it."""
        ...

    def arrived(self, source: str, data: bytes | None) -> None:
        """This came from a source; None: nothing will any more."""
        ...

    def arrivals(self) -> Sequence[tuple[str, bytes | None]]:
        """What guests are to see as arrived now that the look outside is over, in order."""
        ...

    def left(self, source: str, data: bytes) -> None:
        """A guest has sent this to where the source is."""
        ...

    def refused(self, why: str) -> None:
        """What arrived cannot be taken: a sentence."""
        ...


def _nobody(data: bytes | None) -> None:
    """Takes what arrives from a source that is gone."""


class Inbox:
    """File descriptors that are watched, and calls that others have posted. Close it."""

    def __init__(self) -> None:
        self._selector = selectors.PollSelector()  # epoll refuses regular files
        self.journal: Journal | None = None
        self._sources: dict[str, Callable[[bytes | None], object]] = {}
        self._posted: deque[Callable[[], object]] = deque()
        self._promised = 0
        self._watched = 0  # file descriptors: the selector has one more
        self._bystanders: set[int] = set()
        # Whoever waits in `deliver` is woken by a byte; a full pipe has bytes enough.
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, _Watched(self._woken))
        # A write to a closed pipe could go to whoever has its number by then. Reentrant: a signal handler may
        # wake in the very middle of a wake or a close of the thread it interrupts.
        self._pipe_lock = threading.RLock()
        self._open = True

    @property
    def watching(self) -> bool:
        """Whether any file descriptor is watched."""
        return self._watched > 0

    @property
    def expecting(self) -> bool:
        """Whether something can still come: a machine with nothing else to do waits for it."""
        found = self.watching or self._promised > 0 or bool(self._posted)
        return found if self.journal is None else self.journal.expecting(found)

    @property
    def expecting_for_guests(self) -> bool:
        """Whether something can still come that a guest may be waiting for."""
        if self.journal is not None and self.journal.repeats:
            return self.expecting  # who only looks at a repeated run has no part in how long it lasts
        return self._watched > len(self._bystanders) or self._promised > 0 or bool(self._posted)

    def watch(self, fileno: int, ready: Callable[[], object], *, for_guests: bool = True) -> None:
        """Call `ready` whenever `fileno` is readable or at its end; without `for_guests`, what comes there is
        for somebody who looks at guests, and none waits for it. Raises ValueError for what is not an open
        file descriptor, which would count as at its end for ever, and for one that is watched already."""
        try:
            os.fstat(fileno)
        except (OSError, OverflowError):
            raise ValueError(f"fileno {fileno} is not an open file descriptor") from None
        if fileno in self._selector.get_map():
            raise ValueError(f"fileno {fileno} is watched already")
        self._selector.register(fileno, selectors.EVENT_READ, _Watched(ready))
        self._watched += 1
        if not for_guests:
            self._bystanders.add(fileno)

    def adjust(self, fileno: int, *, readable: bool = True, room: Callable[[], object] | None = None) -> None:
        """Of a file descriptor that is watched: call `room` as long as bytes can be written to it, and nobody
        any more when it is readable unless `readable`. One of the two has to be wanted. Raises ValueError for
        one that is not watched, and when neither is."""
        key = self._selector.get_map().get(fileno)
        if key is None:
            raise ValueError(f"fileno {fileno} is not watched")
        watched = _Watched(key.data.ready, room)
        self._selector.modify(fileno, watched.events(readable=readable), watched)

    def unwatch(self, fileno: int) -> None:
        """Call nobody for `fileno` any more. Raises ValueError for one that is not watched."""
        if fileno not in self._selector.get_map():
            raise ValueError(f"fileno {fileno} is not watched")
        self._selector.unregister(fileno)
        self._watched -= 1
        self._bystanders.discard(fileno)

    @property
    def repeats(self) -> bool:
        """See `Journal.repeats`."""
        return self.journal is not None and self.journal.repeats

    def source(self, name: str, take: Callable[[bytes | None], object]) -> None:
        """From now on `take` is given what arrives from a source of that name, and None when it has ended:
        at once, or where a journal says. It raises ValueError for what cannot have."""
        self._sources[name] = take

    def forget(self, name: str) -> None:
        """A source is gone: what has arrived from it is for nobody."""
        self._sources[name] = _nobody

    def arrived(self, source: str, data: bytes | None) -> None:
        """See `Journal.arrived`."""
        if self.journal is None:
            self._sources[source](data)
        else:
            self.journal.arrived(source, data)

    def left(self, source: str, data: bytes) -> None:
        """See `Journal.left`."""
        if self.journal is not None:
            self.journal.left(source, data)

    def post(self, call: Callable[[], object]) -> None:
        """Have `call` made at the next delivery. Any thread and any signal handler may post."""
        self._posted.append(call)
        self.wake()

    def promise(self) -> Callable[[Callable[[], object]], None]:
        """As `post`, to be used once, by a thread that works for the machine and will tell it the outcome."""
        self._promised += 1
        return self._keep_promise

    def wake(self) -> None:
        """End a wait of `deliver`, now or the next one. Any thread and any signal handler may do so."""
        with self._pipe_lock, suppress(BlockingIOError):
            if self._open:
                os.write(self._wake_write, b"\0")

    def deliver(self, wait: float | None) -> bool:
        """Make all calls that are due; while there are none, wait up to `wait` seconds for one, or a bit less
        (None: until there is one), and a day at most. Whether anything came.

        A poll counts in milliseconds and rounds up, which a timer would be late by. What is left below a
        millisecond is slept: nobody from outside notices that.
        """
        if not wait and wait is not None and not self._posted and not self._watched:
            return False  # as between most slices
        if self._posted:
            wait = 0.0
        elif wait is not None and 0 < wait < _MILLISECOND:
            time.sleep(wait)
            wait = 0.0
        came = bool(self._posted)
        if wait != 0 or self.watching:
            seconds = None if wait is None else min(wait, _LONGEST) // _MILLISECOND * _MILLISECOND
            for key, events in self._selector.select(seconds):
                came = True
                self._call(key, events)
        # What a call posts is for the next round: none of them can keep the guests waiting.
        for _ in range(len(self._posted)):
            self._posted.popleft()()
        return came

    def look(self, wait: float | None) -> bool:
        """`deliver` where guests go on after it, whatever came."""
        if self.journal is None:
            return self.deliver(wait)
        return self._go_on(self.journal, self.deliver(self.journal.patience(wait)))

    def passed(self) -> None:
        """Guests go on after one `deliver` or several, between which they were held."""
        if self.journal is not None:
            self._go_on(self.journal, False)

    @property
    def over(self) -> bool:
        """Whether the journal says that the run ends here."""
        return self.journal is not None and self.journal.over

    def close(self) -> None:
        """Watch nothing any more and drop what was posted. Idempotent."""
        with self._pipe_lock:
            if not self._open:
                return
            self._open = False
            self._posted.clear()
            self._selector.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _go_on(self, journal: Journal, came: bool) -> bool:
        came = journal.passed(came)
        for source, data in journal.arrivals():
            take = self._sources.get(source)
            try:
                if take is None:
                    raise ValueError(f"nothing is there to take what arrived from {source!r}")
                take(data)
            except ValueError as error:
                journal.refused(str(error))
        return came

    def _call(self, key: selectors.SelectorKey, events: int) -> None:
        """A file descriptor is readable, or takes bytes. Earlier callbacks of this round may have stopped
        watching it, or watch it otherwise by now."""
        calls: list[Callable[[], object] | None] = []
        if events & selectors.EVENT_WRITE:
            calls.append(key.data.room)
        if events & selectors.EVENT_READ:
            calls.append(key.data.ready)
        for call in calls:
            if call is not None and self._selector.get_map().get(key.fd) is key:
                call()

    def _keep_promise(self, call: Callable[[], object]) -> None:
        def kept() -> None:
            self._promised -= 1
            call()

        self.post(kept)

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, _DRAIN)
