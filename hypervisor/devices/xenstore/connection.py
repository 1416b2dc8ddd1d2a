"""The ring page between a guest and xenstore (public/io/xs_wire.h, `struct xenstore_domain_interface`)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from paravane.abi.xs_wire import (
    XENSTORE_DOMAIN_INTERFACE,
    XENSTORE_RING_SIZE,
    XSD_SOCKMSG,
    XenstoreConnection,
    XenstoreError,
    XenstoreFeature,
    XsMessage,
)
from paravane.classes import dataclass
from paravane.devices.ring import ByteRing, RingFault
from paravane.devices.xenstore.messages import HEADER_SIZE, Assembler, Garbled, message_name
from paravane.devices.xenstore.session import Session, SessionState

if TYPE_CHECKING:
    from paravane.abi.xs_wire import XsdSockmsg
    from paravane.devices.bus import Budget, Bus, Port
    from paravane.devices.xenstore.store import Store

_ERROR, _FEATURES, _CONNECTION = (
    XENSTORE_DOMAIN_INTERFACE.offsets[name] for name in ("error", "server_features", "connection")
)
_INDICES: Final = ("req_cons", "req_prod", "rsp_cons", "rsp_prod")

_FEATURE_WATCHDEPTH: Final = 4
"""XENSTORE_SERVER_FEATURE_WATCHDEPTH, which xs_wire.h has after 4.17: a watch may say how deep it looks."""

_MESSAGE_UNITS: Final = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """All that has to be kept of a connection besides its page: the session, what has arrived of a request,
    what is left to put out of an answer, and whether the domain is not served any more."""

    session: SessionState
    input: bytes
    unsent: bytes
    ignored: bool


class Connection:
    """Moves bytes between a guest's ring page and its session: xenstore as a backend on the bus.

    `page` is the ring page (4096 bytes, 'B'), `port` the host's end of its event channel, each event of which
    calls for `serve`. Nothing in the page is trusted, and a guest that breaks the ring or the protocol is not
    served any more, as xenstored does.
    """

    def __init__(
        self, store: Store, domid: int, page: memoryview, port: Port, bus: Bus, *, resumed: bool = False
    ) -> None:
        """`resumed`: it goes on where another one was kept, and its page says already what it can do."""
        self.domid = domid
        self._page = page
        self._requests = ByteRing(page, XENSTORE_DOMAIN_INTERFACE, "req", XENSTORE_RING_SIZE)
        self._responses = ByteRing(page, XENSTORE_DOMAIN_INTERFACE, "rsp", XENSTORE_RING_SIZE)
        self._port = port
        self._bus = bus
        self._input = Assembler()
        self._unsent = b""
        self._moved = False
        self._busy = False
        self._closed = False
        self.ignored = False
        self._store = store
        self._session = Session(store, domid, self._output_ready)
        if not resumed:
            self._put_word(_FEATURES, XenstoreFeature.ERROR | _FEATURE_WATCHDEPTH)

    @property
    def port(self) -> Port:
        """The host's end of its event channel."""
        return self._port

    def save(self) -> ConnectionState:
        """What `restore` goes on from. Raises ValueError as the session does."""
        return ConnectionState(self._session.save(), self._input.begun, self._unsent, self.ignored)

    def restore(self, state: ConnectionState) -> None:
        """Go on from what `save` gave, in a connection that is new, over the same page."""
        self._session.restore(state.session)
        self._input.add(state.input)
        self._unsent, self.ignored = state.unsent, state.ignored

    @property
    def closed(self) -> bool:
        """Whether the guest is gone: its ring is nobody's any more."""
        return self._closed

    def disconnect(self) -> None:
        """Give the port up, to get another one by `introduce`."""
        self._port.close()

    def introduce(self, port: Port | None) -> None:
        """Serve the domain from scratch, over another port: empty rings, no watches, no transactions. One
        that has not been released just gets a new beginning, and nobody hears of it. None: over no port, so
        that it is not heard before it is introduced over one."""
        self._port.close()
        self._port = port or self._port
        self._session.close()
        self._input, self._unsent = Assembler(), b""
        for name in _INDICES:
            self._put_word(XENSTORE_DOMAIN_INTERFACE.offsets[name], 0)
        self.ignored = False
        if self._store.introduced(self.domid) is None:
            self._store.add_domain(self.domid)
            self._store.introduce(self.domid, self)
        if self._page[_CONNECTION] == XenstoreConnection.RECONNECT:
            self._put_word(_CONNECTION, XenstoreConnection.CONNECTED)
            self._port.notify()

    def in_use(self) -> dict[str, int]:
        """How many watches, transactions and unread replies the domain has."""
        return self._session.in_use()

    def release(self) -> None:
        """Serve the domain no more until it is introduced again, and delete what it owns."""
        self.ignored = True
        self._port.close()
        self._session.close()
        self._store.remove_domain(self.domid)

    def serve(self, budget: Budget) -> bool:
        """Put out what the guest has room for and take in what it asks, one request after the other."""
        if self.ignored or self._busy:
            return False
        self._busy = True
        try:
            more = self._work(budget)
        except Garbled as garbled:
            more = self._ignore(XenstoreError.PROTO, str(garbled))
        except RingFault as fault:
            more = self._ignore(XenstoreError.RINGIDX, str(fault))
        finally:
            self._busy = False
            if self._closed:
                self._release()
        if self._moved:
            self._moved = False
            self._port.notify()
        return more and not self.ignored

    def close(self) -> None:
        """The guest is gone, or its ring is: forget it and close the port. At any time; idempotent."""
        if self._closed:
            return
        self.ignored = self._closed = True
        self._port.close()
        self._unsent = b""
        self._session.close()
        if not self._busy:
            self._release()

    def _output_ready(self) -> None:
        """There is something to fetch. A connection that is being served sees it by itself."""
        if not self._busy and not self.ignored:
            self._bus.call(self)

    def _work(self, budget: Budget) -> bool:
        """True when the budget ended it, False when there is nothing to do before the guest moves again."""
        while True:
            self._send(budget)
            if self._session.working:
                self._session.work(budget)
            elif self.ignored or not self._session.accepting or not self._receive(budget):
                return False
            if budget.exhausted:
                return True

    def _receive(self, budget: Budget) -> bool:
        """Handle the next request, or take bytes from the ring towards it. False when there is nothing."""
        pending = self._input.next()
        if pending is not None:
            if self._bus.observers.ring is not None:
                self._tell("request", pending[0])
            budget.spend(self._session.handle(*pending))
            return True
        taken = self._requests.take()
        if not taken:
            return False
        self._input.add(taken)
        self._moved = True
        return True

    def _send(self, budget: Budget) -> None:
        """Put out as much as the guest has room for, which is at most a ring full."""
        while not self.ignored:
            if not self._unsent:
                following = self._session.outbox.fetch()
                if following is None:
                    return
                self._unsent = following
                if self._bus.observers.ring is not None:
                    self._tell("response", XSD_SOCKMSG.unpack(following))
                budget.spend(_MESSAGE_UNITS)
            count = self._responses.put(self._unsent)
            if not count:
                return
            self._unsent = self._unsent[count:]
            self._moved = True

    def _tell(self, what: str, message: XsdSockmsg) -> None:
        if self._bus.observers.ring is not None:
            size = HEADER_SIZE + message.len
            status = "ERROR" if message.type == XsMessage.ERROR else ""
            op = message_name(message.type)
            self._bus.observers.ring(self.domid, what, "store", op, size, message.req_id, status)

    def _ignore(self, reason: XenstoreError, sentence: str) -> bool:
        log.warning("domain %d: xenstore does not serve its ring any more: %s", self.domid, sentence)
        self.ignored = True
        self._put_word(_ERROR, reason)
        self._session.close()
        return False

    def _put_word(self, offset: int, value: int) -> None:
        self._page[offset : offset + 4] = value.to_bytes(4, "little")

    def _release(self) -> None:
        self._requests.release()
        self._responses.release()
