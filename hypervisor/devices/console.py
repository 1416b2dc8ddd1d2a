"""The backend of a domain's console (public/io/console.h, `struct xencons_interface`)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.console import XENCONS_IN_SIZE, XENCONS_INTERFACE, XENCONS_OUT_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

_OFFSETS = XENCONS_INTERFACE.offsets
_IN: Final = _OFFSETS["in_"]
_OUT: Final = _OFFSETS["out"]
_IN_CONS: Final = _OFFSETS["in_cons"] >> 2
_IN_PROD: Final = _OFFSETS["in_prod"] >> 2
_OUT_CONS: Final = _OFFSETS["out_cons"] >> 2
_OUT_PROD: Final = _OFFSETS["out_prod"] >> 2

BACKLOG: Final = 1 << 16
"""Bytes of input that wait for room in the ring; `feed` accepts no more."""

log = logging.getLogger(__name__)


class Port(Protocol):
    """The backend's end of the console's event channel."""

    def notify(self) -> None: ...
    def close(self) -> None: ...


class Console:
    """Moves bytes between a guest's console page and the host.

    `page` is the console page (4096 bytes, 'B'), `port` the host's end of its event channel, whose callback
    is `on_event`; `sink` gets what the guest writes, unaltered. Indices run freely and are the guest's to
    write: they are read anew, checked and masked every time. A ring whose indices are further apart than it
    is long is left alone until they are sane again; that is said once in the log.
    """

    def __init__(
        self, page: memoryview, port: Port, sink: Callable[[bytes], None], *, domid: int = 0
    ) -> None:
        self._page = page
        self._words = page.cast("I")
        self._port = port
        self._sink = sink
        self._domid = domid
        self._backlog = bytearray()
        self._room_made: Callable[[], None] | None = None
        self._warned = False
        self._closed = False

    def on_event(self) -> None:
        """The guest wrote something, or took some input. One event moves at most what the rings hold."""
        if self._closed:
            return
        output = self._take_output()
        taken = self._put_input()
        if taken or output:
            self._port.notify()
        if output:
            self._sink(output)
        if taken and self._room_made is not None:
            room_made, self._room_made = self._room_made, None
            room_made()

    def feed(self, data: bytes) -> int:
        """Input for the guest. Returns how many bytes were accepted; feed the others when there is `room`."""
        if self._closed:
            return 0
        accepted = min(len(data), self.room)
        self._backlog += data[:accepted]
        if self._put_input():
            self._port.notify()
        return accepted

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, as soon as the guest has taken input and there is more `room`."""
        self._room_made = callback

    @property
    def room(self) -> int:
        """How many bytes `feed` would accept now."""
        return 0 if self._closed else BACKLOG - len(self._backlog)

    @property
    def unread(self) -> int:
        """Bytes of input the guest has not taken yet, in the ring and waiting for it."""
        if self._closed:
            return 0
        return len(self._backlog) + (self._used(_IN_CONS, _IN_PROD, XENCONS_IN_SIZE) or 0)

    def close(self) -> None:
        """Put out what the guest wrote last, let go of its page and port. Closing twice is allowed."""
        if self._closed:
            return
        output = self._take_output()
        self._closed = True
        self._words.release()
        self._port.close()
        if output:
            self._sink(output)

    def _take_output(self) -> bytes:
        used = self._used(_OUT_CONS, _OUT_PROD, XENCONS_OUT_SIZE)
        if not used:
            return b""
        consumer = self._words[_OUT_CONS]
        start = consumer & (XENCONS_OUT_SIZE - 1)
        first = min(used, XENCONS_OUT_SIZE - start)
        output = bytes(self._page[_OUT + start : _OUT + start + first])
        output += bytes(self._page[_OUT : _OUT + used - first])
        self._words[_OUT_CONS] = (consumer + used) & 0xFFFF_FFFF
        return output

    def _put_input(self) -> int:
        """Move waiting input into the ring, as much as fits. Returns how much that was."""
        used = self._used(_IN_CONS, _IN_PROD, XENCONS_IN_SIZE) if self._backlog else None
        if used is None:
            return 0
        size = min(len(self._backlog), XENCONS_IN_SIZE - used)
        producer = self._words[_IN_PROD]
        start = producer & (XENCONS_IN_SIZE - 1)
        first = min(size, XENCONS_IN_SIZE - start)
        self._page[_IN + start : _IN + start + first] = self._backlog[:first]
        self._page[_IN : _IN + size - first] = self._backlog[first:size]
        del self._backlog[:size]
        self._words[_IN_PROD] = (producer + size) & 0xFFFF_FFFF
        return size

    def _used(self, consumer_at: int, producer_at: int, size: int) -> int | None:
        """How many bytes a ring holds; None when its indices are nonsense."""
        used = (self._words[producer_at] - self._words[consumer_at]) & 0xFFFF_FFFF
        if used <= size:
            return used
        if not self._warned:
            self._warned = True
            log.warning("domain %d: its console ring claims to hold %d of %d bytes", self._domid, used, size)
        return None
