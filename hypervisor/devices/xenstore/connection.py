"""The ring page between a guest and xenstore (public/io/xs_wire.h, `struct xenstore_domain_interface`)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.xs_wire import XENSTORE_DOMAIN_INTERFACE, XENSTORE_RING_SIZE, XenstoreError
from paravane.devices.xenstore.messages import Assembler, Garbled
from paravane.devices.xenstore.session import Session

if TYPE_CHECKING:
    from paravane.devices.xenstore.store import Store

_OFFSETS = XENSTORE_DOMAIN_INTERFACE.offsets
_REQ: Final = _OFFSETS["req"]
_RSP: Final = _OFFSETS["rsp"]
_REQ_CONS: Final = _OFFSETS["req_cons"] >> 2
_REQ_PROD: Final = _OFFSETS["req_prod"] >> 2
_RSP_CONS: Final = _OFFSETS["rsp_cons"] >> 2
_RSP_PROD: Final = _OFFSETS["rsp_prod"] >> 2
_ERROR: Final = _OFFSETS["error"] >> 2
_MASK: Final = XENSTORE_RING_SIZE - 1

log = logging.getLogger(__name__)


class Port(Protocol):
    """The backend's end of the ring's event channel."""

    def notify(self) -> None: ...
    def close(self) -> None: ...


class RingFault(Exception):
    """The guest's indices say that more is in a ring than fits."""


class Connection:
    """Moves bytes between a guest's ring page and its session.

    `page` is the ring page (4096 bytes, 'B'), `port` the host's end of its event channel, whose callback is
    `on_event`. Nothing in the page is trusted: indices are read anew, checked and masked every time, and a
    guest that breaks the ring or the protocol is not served any more, as xenstored does. One event does
    bounded work: what fits in the rings.
    """

    def __init__(self, store: Store, domid: int, page: memoryview, port: Port) -> None:
        self.domid = domid
        self._page = page
        self._words = page.cast("I")
        self._port = port
        self._input = Assembler()
        self._unsent = b""
        self._moved = False
        self._busy = False
        self._closed = False
        self.ignored = False
        self._session = Session(store, domid, self._output_ready)

    def on_event(self) -> None:
        """Serve the guest: put out what it has room for, take in what it asks, as far as it goes."""
        self._serve(receive=True)

    def close(self) -> None:
        """The guest is gone, or its ring is: forget it and close the port. Allowed at any time, and twice."""
        self.ignored = self._closed = True
        self._port.close()
        self._unsent = b""
        self._session.close()
        if not self._busy:
            self._words.release()

    def _output_ready(self) -> None:
        """Something this guest watches has happened. Its own requests have to wait: another operation on the
        store is not complete yet."""
        self._serve(receive=False)

    def _serve(self, *, receive: bool) -> None:
        if self.ignored or self._busy:
            return
        self._busy = True
        try:
            self._send()
            while receive and not self.ignored and self._session.accepting and self._receive():
                self._send()
        except Garbled as garbled:
            self._ignore(XenstoreError.PROTO, str(garbled))
        except RingFault as fault:
            self._ignore(XenstoreError.RINGIDX, str(fault))
        finally:
            self._busy = False
            if self._closed:
                self._words.release()
        if self._moved:
            self._moved = False
            self._port.notify()

    def _receive(self) -> bool:
        """Handle the next request, or take bytes from the ring towards it. False when there is nothing."""
        pending = self._input.next()
        if pending is not None:
            self._session.handle(*pending)
            return True
        consumer, size = self._distance(_REQ_CONS, _REQ_PROD)
        if not size:
            return False
        start = consumer & _MASK
        size = min(size, XENSTORE_RING_SIZE - start)
        self._input.add(bytes(self._page[_REQ + start : _REQ + start + size]))
        self._words[_REQ_CONS] = (consumer + size) & 0xFFFF_FFFF
        self._moved = True
        return True

    def _send(self) -> None:
        """Put out as much as the guest has room for."""
        while True:
            if not self._unsent:
                following = self._session.fetch()
                if following is None:
                    return
                self._unsent = following
            consumer, used = self._distance(_RSP_CONS, _RSP_PROD)
            if used == XENSTORE_RING_SIZE:
                return
            producer = (consumer + used) & 0xFFFF_FFFF
            start = producer & _MASK
            size = min(XENSTORE_RING_SIZE - used, XENSTORE_RING_SIZE - start, len(self._unsent))
            self._page[_RSP + start : _RSP + start + size] = self._unsent[:size]
            self._words[_RSP_PROD] = (producer + size) & 0xFFFF_FFFF
            self._unsent = self._unsent[size:]
            self._moved = True

    def _distance(self, consumer_at: int, producer_at: int) -> tuple[int, int]:
        """The consumer index and how many bytes the ring holds. Raises RingFault."""
        consumer, producer = self._words[consumer_at], self._words[producer_at]
        used = (producer - consumer) & 0xFFFF_FFFF
        if used > XENSTORE_RING_SIZE:
            raise RingFault(f"indices {consumer:#x} and {producer:#x} are {used} bytes apart")
        return consumer, used

    def _ignore(self, reason: XenstoreError, sentence: str) -> None:
        log.warning("domain %d: xenstore does not serve its ring any more: %s", self.domid, sentence)
        self.ignored = True
        self._words[_ERROR] = reason
        self._session.close()
