"""The backend of a console: two rings of bytes in one page (public/io/console.h, xencons_interface)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from paravane.abi.console import XENCONS_IN_SIZE, XENCONS_INTERFACE, XENCONS_OUT_SIZE
from paravane.arguments import check_type
from paravane.classes import dataclass
from paravane.devices.observers import DeviceObservers
from paravane.devices.ring import ByteRing, RingFault

if TYPE_CHECKING:
    from paravane.devices.bus import Budget, Port

BACKLOG: Final = 1 << 16
"""Bytes of input that wait for the ring to have room; `feed` accepts no more."""

Sink = Callable[[bytes], int | None]
"""Takes what a guest writes, unaltered, and says how many bytes of its front it took; None: all of it.

A sink that is full takes less, down to nothing, and never blocks. What it leaves stays in the guest's ring,
so that the guest waits as it would for a slow terminal. Whoever owns the sink calls `Console.resume` when it
can take more."""

_BYTES_PER_UNIT: Final = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsoleState:
    """All that has to be kept of a console besides its page: input that waits for room there, and whether it
    was said that its rings are impossible."""

    backlog: bytes
    warned: bool


class NoConsole:
    """The console of a domain that has none here: it takes nothing, and nothing comes out."""

    room = waiting = 0

    def feed(self, data: bytes) -> int:
        """Nothing is accepted."""
        return 0

    def when_room(self, callback: Callable[[], None]) -> None:
        """There never is any."""

    def resume(self) -> None:
        """There is nothing to put out."""


class Console:
    """Moves bytes between a guest's console page and the host.

    `page` is the console page (4096 bytes, 'B'), `port` the host's end of its event channel, each event of
    which calls for `serve`. A ring whose indices are further apart than it is long is left alone until they
    are sane again, as xenconsoled leaves it; `faulted` hears of it, and without that it is said once in the
    log. `number` is 0 for the console that every domain has.
    """

    def __init__(
        self,
        page: memoryview,
        port: Port,
        sink: Sink,
        *,
        domid: int = 0,
        number: int = 0,
        observers: DeviceObservers | None = None,
        faulted: Callable[[RingFault], None] | None = None,
    ) -> None:
        self.domid = domid
        self._number = number
        self._faulted = faulted
        self._observers = observers or DeviceObservers()
        self._out = ByteRing(page, XENCONS_INTERFACE, "out", XENCONS_OUT_SIZE)
        self._in = ByteRing(page, XENCONS_INTERFACE, "in_", XENCONS_IN_SIZE)
        self._port = port
        self._sink = sink
        self._backlog = bytearray()
        self._last_words = b""
        self._room_made: dict[Callable[[], None], None] = {}
        self._busy = False
        self._warned = False
        self._closed = False

    @property
    def port(self) -> Port:
        """The host's end of its event channel."""
        return self._port

    def save(self) -> ConsoleState:
        """What `restore` goes on from."""
        return ConsoleState(bytes(self._backlog), self._warned)

    def restore(self, state: ConsoleState) -> None:
        """Go on from what `save` gave, in a console that is new, over the same page."""
        self._backlog[:] = state.backlog[:BACKLOG]
        self._warned = state.warned

    def serve(self, budget: Budget) -> bool:
        """The guest wrote something, or took some input: move what the rings hold, which is bounded. Never
        leaves anything: what the sink does not take waits for `resume`, input for the guest."""
        budget.spend(self._move() // _BYTES_PER_UNIT)
        return False

    def resume(self) -> None:
        """The sink can take more: offer it what waits, also after `close`."""
        if self._closed:
            self._say_last_words()
        else:
            self._move()

    @property
    def waiting(self) -> int:
        """Bytes of output that the sink has not taken."""
        return len(self._last_words) if self._closed else len(self._peek_output())

    @property
    def last_words(self) -> bytes:
        """What the guest wrote last, and the sink had not taken when it was closed; empty before that."""
        return self._last_words

    def feed(self, data: bytes) -> int:
        """Input for the guest. Returns how many bytes were accepted; feed the others when there is `room`."""
        if self._closed:
            return 0
        accepted = min(len(data), self.room)
        if self._observers.console is not None and accepted:
            self._observers.console(self.domid, self._number, "in", bytes(data[:accepted]))
        self._backlog += data[:accepted]
        if self._put_input():
            self._port.notify()
        return accepted

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, as soon as the guest has taken input and there is more `room`. Several may wait
        for that."""
        self._room_made[callback] = None

    @property
    def room(self) -> int:
        """How many bytes `feed` would accept now."""
        return 0 if self._closed else BACKLOG - len(self._backlog)

    def close(self) -> None:
        """Let go of the guest's page and port, and put out what the guest wrote last; what the sink does not
        take then waits for `resume`. Idempotent."""
        if self._closed:
            return
        self._last_words = self._peek_output()
        self._closed = True
        self._out.release()
        self._in.release()
        self._port.close()
        self._say_last_words()

    def drop_output(self) -> None:
        """Put nothing out any more, not what waits either: its guest goes on elsewhere and writes it
        there."""
        self._sink = len

    def _move(self) -> int:
        """Move bytes in both directions. Returns how many."""
        if self._closed or self._busy:
            return 0
        # A sink that feeds, or asks for more, must not come back in here with the ring half moved.
        self._busy = True
        try:
            put_out = self._put_out()
        finally:
            self._busy = False
        put_in = 0 if self._closed else self._put_input()
        if (put_in or put_out) and not self._closed:
            self._port.notify()
        if put_in:
            waiting, self._room_made = self._room_made, {}
            for room_made in waiting:
                room_made()
        return put_out + put_in

    def _say_last_words(self) -> None:
        if self._last_words and not self._busy:
            self._last_words = self._last_words[self._offer(self._last_words) :]

    def _put_out(self) -> int:
        """Offer the sink what the guest has written. Returns how much it took."""
        output = self._peek_output()
        if not output:
            return 0
        taken = self._offer(output)
        if self._closed:
            # The sink closed us: `close` saw all of it still in the ring.
            self._last_words = self._last_words[taken:]
        else:
            self._out.consume(taken)
        if self._observers.ring is not None and taken:
            self._observers.ring(self.domid, "request", "console", "out", taken, None, "")
        return taken

    def _offer(self, output: bytes) -> int:
        """What the sink takes. Raises TypeError or ValueError for a sink that says nonsense of it."""
        taken = self._sink(output)
        if taken is None:
            taken = len(output)
        check_type("what a console sink returns, the number of bytes it took,", taken, int, type(None))
        if not 0 <= taken <= len(output):
            raise ValueError(f"a console sink was offered {len(output)} bytes and says that it took {taken}")
        if self._observers.console is not None and taken:
            self._observers.console(self.domid, self._number, "out", output[:taken])
        return taken

    def _peek_output(self) -> bytes:
        try:
            return self._out.peek()
        except RingFault as fault:
            self._fault(fault)
            return b""

    def _put_input(self) -> int:
        """Move waiting input into the ring, as much as fits. Returns how much that was."""
        if not self._backlog:
            return 0
        try:
            count = self._in.put(self._backlog)
        except RingFault as fault:
            self._fault(fault)
            return 0
        if self._observers.ring is not None and count:
            self._observers.ring(self.domid, "response", "console", "in", count, None, "")
        del self._backlog[:count]
        return count

    def _fault(self, fault: RingFault) -> None:
        if self._faulted is not None:
            self._faulted(fault)
        elif not self._warned:
            self._warned = True
            log.warning("domain %d: its console ring is left alone: %s", self.domid, fault)
