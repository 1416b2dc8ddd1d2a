"""Xenstore's socket: programs of the host that speak its protocol, as they would with xenstored's.

Clients are the machine's own user and have the rights of domain 0, but may be slow, broken or many. They are
served between the time slices of guests, one portion for all of them together and each in its turn, and no
write to them ever waits: what a client does not read is kept within bounds, and he is not listened to.
"""

from __future__ import annotations

import logging
import select
import time
from typing import TYPE_CHECKING, Final, Protocol

from paravane import local_socket
from paravane.devices.bus import Budget
from paravane.devices.xenstore.messages import Assembler, Garbled
from paravane.devices.xenstore.rights import Quota
from paravane.devices.xenstore.session import Session
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from paravane.devices.xenstore.store import Store

MOST_CLIENTS: Final = 256
"""Connections at a time; who comes then waits until one of them leaves."""

CLIENT_LIMITS: Final = Quota(watches=8192, transactions=256, requests=256, queued_events=4 << 20)
"""What one client may have. xenstored knows no such limits for its own host; real clients stay far below."""

_BACKLOG: Final = 64
_CHUNK: Final = 4096
_BYTES_PER_UNIT: Final = 256
_CALL_UNITS: Final = 4

LINGER: Final = 0.0001
"""Seconds in which a program that has its answer asks again. Were that not waited for, each request of one
that asks and waits in turn would cost it a whole time slice of a busy guest's."""

_LARGEST_SELECTED: Final = 1023

log = logging.getLogger(__name__)


class Inputs(Protocol):
    """Who calls when something comes: see `paravane.inbox.Inbox`."""

    def watch(self, fileno: int, ready: Callable[[], object], *, for_guests: bool = True) -> None: ...
    def adjust(
        self, fileno: int, *, readable: bool = True, room: Callable[[], object] | None = None
    ) -> None: ...
    def unwatch(self, fileno: int) -> None: ...
    def post(self, call: Callable[[], object]) -> None: ...


class StoreSocket:
    """A socket at `path` by which programs of this user reach a store. Close it."""

    def __init__(self, store: Store, path: Path, inputs: Inputs) -> None:
        """Raises OSError where no socket can be made, or somebody listens already."""
        self.path = path
        self.store = store
        self.inputs = inputs
        self._socket = local_socket.listening(path, _BACKLOG)
        self._clients: dict[SocketClient, None] = {}
        self._due: dict[SocketClient, None] = {}
        self._turn_posted = self._admitting = self._closed = False
        self._admit()

    def call(self, client: SocketClient) -> None:
        """The client has something to do. Idempotent."""
        self._due[client] = None
        if not self._turn_posted:
            self._turn_posted = True
            self.inputs.post(self._turn)

    def gone(self, client: SocketClient) -> None:
        """A client has left."""
        del self._clients[client]
        self._due.pop(client, None)
        self._admit()

    def close(self) -> None:
        """Send everybody away and leave nothing behind. Idempotent."""
        if self._closed:
            return
        self._turn_away()
        self._closed = True
        for client in tuple(self._clients):
            client.close()
        self._socket.close()
        local_socket.forgotten(self.path)

    def _turn(self) -> None:
        """One portion for all clients that have something to do, in the order they called."""
        self._turn_posted = False
        budget = Budget()
        served: dict[SocketClient, None] = {}
        while self._due and not budget.exhausted:
            client = next(iter(self._due))
            del self._due[client]
            served[client] = None
            if client.serve(budget):
                self.call(client)
        if len(served) == 1:
            (client,) = served
            while not (self._due or budget.exhausted) and client.asks_again(budget):
                if client.serve(budget):
                    self.call(client)
        if self._due and not self._turn_posted:
            self._turn_posted = True
            self.inputs.post(self._turn)

    def _come_in(self) -> None:
        try:
            connection = local_socket.accepted(self._socket)
        except OSError as error:
            log.warning("xenstore's socket takes nobody until somebody leaves: %s", error.strerror)
            self._turn_away()
            return
        if connection is not None:
            self._clients[SocketClient(self, connection)] = None
            if len(self._clients) >= MOST_CLIENTS:
                self._turn_away()

    def _admit(self) -> None:
        if not (self._admitting or self._closed):
            self._admitting = True
            self.inputs.watch(self._socket.fileno(), self._come_in, for_guests=False)

    def _turn_away(self) -> None:
        if self._admitting:
            self._admitting = False
            self.inputs.unwatch(self._socket.fileno())


class SocketClient:
    """One connection: its bytes, and its session."""

    def __init__(self, home: StoreSocket, connection: socket.socket) -> None:
        self._home = home
        self._socket = connection
        connection.setblocking(False)
        self._session = Session(home.store, CONTROL_DOMID, self._output_ready, CLIENT_LIMITS)
        self._input = Assembler()
        self._unsent = b""
        self._busy = self._ended = self._closed = False
        self._interest = (True, False)
        home.inputs.watch(connection.fileno(), self._moved, for_guests=False)

    def serve(self, budget: Budget) -> bool:
        """Take in what he asks, request by request, and put out what he has room for. True when something is
        left that could be done now."""
        if self._closed:
            return False
        budget.spend(_CALL_UNITS)
        self._busy = True
        try:
            more = self._work(budget)
        except (Garbled, OSError) as error:
            log.debug("a client of xenstore's socket is sent away: %s", error)
            self._busy = False
            self.close()
            return False
        self._busy = False
        if self._ended and not (more or self._unsent):
            self.close()
        else:
            self._listen()
        return more

    def asks_again(self, budget: Budget) -> bool:
        """Wait a moment for his next request. False when there is none, or nobody to wait for."""
        if self._closed or self._ended or not 0 <= self._socket.fileno() <= _LARGEST_SELECTED:
            return False
        began = time.monotonic_ns()
        ready, _, _ = select.select([self._socket], [], [], LINGER)
        budget.spend((time.monotonic_ns() - began) // 1000)  # a unit is about a microsecond
        return bool(ready)

    def close(self) -> None:
        """Idempotent."""
        if not self._closed:
            self._closed = True
            self._home.inputs.unwatch(self._socket.fileno())
            self._home.gone(self)
            self._session.close()
            self._socket.close()

    def _moved(self) -> None:
        """He has sent something, or read."""
        self._home.call(self)

    def _output_ready(self) -> None:
        """There is something for him to read. While he is served that is seen without being told."""
        if not (self._busy or self._closed):
            self._home.call(self)

    def _listen(self) -> None:
        """Have us called for what he can move. He may close his end for writing and still read."""
        interest = (self._session.accepting and not self._ended, bool(self._unsent))
        if interest != self._interest and any(interest):
            self._interest = interest
            readable, full = interest
            room = self._moved if full else None
            self._home.inputs.adjust(self._socket.fileno(), readable=readable, room=room)

    def _work(self, budget: Budget) -> bool:
        while True:
            blocked = not self._send(budget)
            moved = self._session.working or (self._session.accepting and self._receive(budget))
            if self._session.working:
                self._session.work(budget)
            if not moved and (blocked or self._session.outbox.empty):
                return False
            if budget.exhausted:
                return True

    def _receive(self, budget: Budget) -> bool:
        """Handle the next request, or take in bytes towards it. False when there is nothing."""
        pending = self._input.next()
        if pending is not None:
            budget.spend(self._session.handle(*pending))
            return True
        if self._ended:
            return False
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        self._ended = not data
        self._input.add(data)
        budget.spend(_CALL_UNITS)
        return True

    def _send(self, budget: Budget) -> bool:
        """Put out as much as he has room for, and the budget. False when he has no room for what is left."""
        while not budget.exhausted:
            if not self._unsent:
                following = self._session.outbox.fetch()
                if following is None:
                    return True
                self._unsent = following
            budget.spend(_CALL_UNITS + len(self._unsent) // _BYTES_PER_UNIT)
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except BlockingIOError:
                return False
        return True
