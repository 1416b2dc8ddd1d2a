"""What reaches a machine while it runs: inputs, calls from other threads, readers that cannot keep up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from paravane.arguments import check_callable, check_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.inbox import Inbox, Journal
    from paravane.run_loop import RunLoop


class MachineBusyError(RuntimeError):
    """The machine is running, and what was asked cannot be done meanwhile; the message is one sentence."""


class Outside(ABC):
    """The part of a machine for those around it. `post`, `promise` and `interrupt` are for any thread."""

    _inbox: Inbox
    _loop: RunLoop

    @abstractmethod
    def _check_thread(self, what: str) -> None:
        """Raises MachineBusyError when another thread runs the machine."""

    def add_input(self, fileno: int, ready: Callable[[], None], *, for_guests: bool = True) -> None:
        """Call `ready` between time slices whenever the file descriptor is readable. Without `for_guests` no
        guest waits for what comes there (a debugger's socket); see `when_stalled`. Raises ValueError for a
        number that is not an open file descriptor, or that `ready` is called for already."""
        self._check_thread("add an input")
        check_type("fileno", fileno, int)
        check_callable("ready", ready)
        self._inbox.watch(fileno, ready, for_guests=for_guests)

    def remove_input(self, fileno: int) -> None:
        """Call nobody for this file descriptor any more. Raises ValueError when nobody is called for it."""
        self._check_thread("remove an input")
        self._inbox.unwatch(fileno)

    def when_stalled(self, call: Callable[[], None]) -> None:
        """Have `call` made whenever every vcpu has come to sleep, no timer is armed, and the machine is not
        given up (`StopReason.STALLED`) only because of inputs that are not for guests. If they sleep already,
        it is made soon, and so are the calls of those who asked before."""
        self._check_thread("ask to be told")
        check_callable("call", call)
        self._loop.when_stalled(call)

    def keep(self, journal: Journal) -> None:
        """Have a journal see what comes to guests from now on, to keep it or to repeat it: see
        `paravane.recording`. Raises ValueError where slices are not counted in instructions."""
        self._check_thread("keep a journal")
        self._loop.keep(journal)

    def post(self, call: Callable[[], object]) -> None:
        """Have `call` made in the machine's thread, between two time slices. From any thread or signal
        handler."""
        self._inbox.post(call)

    def promise(self) -> Callable[[Callable[[], object]], None]:
        """As `post`, to be used once: until then a machine whose vcpus are all blocked waits for it."""
        return self._inbox.promise()

    def hold(self) -> None:
        """Run no guest until `release` is called as often, however long that takes: for who takes records or
        output and cannot keep up. Guests see nothing of it, and virtual time stands still; inputs, time-outs
        and interrupts are served. For callbacks of `run`."""
        self._check_thread("hold the machine")
        self._loop.hold()

    def release(self) -> None:
        """Undo one `hold`. Other threads post it."""
        self._check_thread("release the machine")
        if not self._loop.holds:
            raise ValueError("the machine is not held")
        self._loop.holds -= 1

    def interrupt(self) -> None:
        """Make `run` come back soon, or the next one at once. Any thread and any signal handler may do so."""
        self._loop.interrupted = True
        self._inbox.wake()
