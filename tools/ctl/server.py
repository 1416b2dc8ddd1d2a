"""A machine's control socket: who comes, and what he is answered.

Clients are the machine's own user, but may be slow, broken or many: a request is a short line, each is
answered between two time slices, whoever does not read his answers is not listened to, and no domain waits
for a client.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from paravane.text import number_in, shown
from paravane.tools.ctl.actions import domain_of, perform
from paravane.tools.ctl.endpoint import endpoint, store_path
from paravane.tools.ctl.protocol import LONGEST, RequestError, answer, refusal, request_of
from paravane.tools.ctl.saving import Savings
from paravane.tools.outlet import Outlet
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paravane import Machine
    from paravane.tools.consoles import DomainConsole
    from paravane.tools.ctl.saving import Wish

MOST_CLIENTS: Final = 32
"""Connections at a time; one more takes the place of the oldest that is at no console."""

MOST_UNREAD: Final = 1 << 20
"""Bytes of a console that wait for a client; what comes beyond is lost to him, and he is told."""


_NONE: Final[Mapping[tuple[str, int], DomainConsole]] = MappingProxyType({})

PARTING: Final = 0.25
"""Seconds that clients have for what they were sent, when the machine ends."""


class Control:
    """The socket of one machine. Close it before the machine."""

    def __init__(
        self,
        machine: Machine,
        name: str,
        consoles: Mapping[str, DomainConsole],
        extras: Mapping[tuple[str, int], DomainConsole] = _NONE,
    ) -> None:
        """`consoles` are the first ones of domains, by name, `extras` those beside them, by name and number.
        UsageError where there can be no socket."""
        self.machine = machine
        self.consoles = consoles
        self.extras = extras
        self._endpoint = endpoint(name)
        try:
            self._store = machine.serve_store(store_path(self._endpoint.name))
        except OSError as error:
            self._endpoint.close()
            raise UsageError(f"no socket for xenstore: {error.strerror}", Status.ERRORS) from None
        self._clients: dict[_Client, None] = {}
        self.savings = Savings(machine)
        machine.add_input(self._endpoint.fileno(), self._come_in, for_guests=False)

    @property
    def name(self) -> str:
        """What `ctl` finds the machine by."""
        return self._endpoint.name

    def close(self) -> None:
        """Send everybody away, with a moment to read what they were sent."""
        self.machine.remove_input(self._endpoint.fileno())
        deadline = time.monotonic() + PARTING
        for client in [*self._clients]:
            client.close(deadline)
        self._store.close()
        self._endpoint.close()

    def gone(self, name: str) -> None:
        """A domain is gone. If it has no other life, its console is at its end."""
        if self.machine.find(name) is None:
            for client in self._clients:
                if client.console is not None and client.console.name == name:
                    client.finish()

    def forget(self, client: _Client) -> None:
        self._clients.pop(client, None)

    def _come_in(self) -> None:
        connection = self._endpoint.accept()
        if connection is None:
            return
        if len(self._clients) >= MOST_CLIENTS:
            idle = (client for client in self._clients if client.console is None)
            next(idle, next(iter(self._clients))).close()
        self._clients[_Client(self, connection)] = None


class _Client:
    """One connection: requests, and after `console` the bytes of that console."""

    def __init__(self, control: Control, connection: socket.socket) -> None:
        self.console: DomainConsole | None = None
        self._control = control
        self._machine = control.machine
        self._socket = connection
        self._outlet = Outlet(connection.fileno(), failed=lambda: self._machine.post(self.close))
        self._received = bytearray()
        self._listening = self._ended = self._deaf = self._closed = False
        self._lost = 0
        self._saving: Wish | None = None
        self._listen()

    def close(self, deadline: float = 0.0) -> None:
        """Idempotent. What the client has not read until `deadline` (of `time.monotonic`) is lost to him."""
        if self._closed:
            return
        self._closed = True
        self._pause()
        if self.console is not None:
            self.console.joined.remove(self._show)
        if self._saving is not None:
            self._control.savings.give_up(self._saving)
        self._control.forget(self)
        self._outlet.drain(deadline)
        with suppress(OSError):
            # Ends a write that is under way. The client may have gone before.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._outlet.close()
        self._socket.close()

    def finish(self) -> None:
        """Close when all is read that he has been sent."""
        self._outlet.when_room(lambda: self._machine.post(self.close), 0)

    def _listen(self) -> None:
        if not (self._listening or self._ended or self._closed):
            self._listening = True
            self._machine.add_input(self._socket.fileno(), self._ready, for_guests=False)

    def _pause(self) -> None:
        if self._listening:
            self._listening = False
            self._machine.remove_input(self._socket.fileno())

    def _ready(self) -> None:
        room = LONGEST if self.console is None else self.console.room
        if self.console is not None and not room:
            self._pause()
            self.console.when_room(self._listen)
            return
        try:
            data = self._socket.recv(min(room, LONGEST), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # He may still read: answers that are on their way, or a console.
            self._ended = True
            self._pause()
            if self._saving is not None:
                self.close()
                return
        if self.console is not None:
            self.console.feed(data)
        else:
            self._received += data
            self._serve()

    def _serve(self) -> None:
        """Answer the first request there is, then let guests run before the next one."""
        if self._closed or self.console is not None or self._saving is not None:
            return
        line, newline, rest = self._received.partition(b"\n")
        if self._deaf or len(line) > LONGEST:
            self._refuse_all()
        elif newline:
            self._received = rest
            self._answer(bytes(line))
        elif self._ended:
            self.finish()
            return
        if self._outlet.congested:
            self._pause()
            self._outlet.when_room(lambda: self._machine.post(self._go_on))
        elif self._received and newline:
            self._machine.post(self._serve)
        elif self._ended:
            self.finish()

    def _go_on(self) -> None:
        self._listen()
        self._serve()

    def _refuse_all(self) -> None:
        """He does not keep to the protocol: what he says from now on is not looked at."""
        self._received.clear()
        if not self._deaf:
            self._deaf = True
            self._put(refusal(f"a request has {LONGEST} bytes at most"))

    def _answer(self, line: bytes) -> None:
        try:
            request = request_of(line)
            if request.verb == "console":
                self._join(request.domain, request.argument)
            elif request.verb == "snapshot":
                self._machine.between_slices(partial(self._snapshot, request.argument))
            elif request.verb == "save":
                self._save(request.domain, request.argument)
            else:
                self._put(answer(perform(self._machine, request)))
        except RequestError as error:
            self._put(refusal(str(error)))

    def _snapshot(self, path: str) -> None:
        """No guest executes now, and nothing is half done."""
        if self._closed:
            return
        try:
            self._machine.save(path)
        except ValueError as error:
            self._put(refusal(str(error)))
        except OSError as error:
            self._put(refusal(f"{shown(path)}: {error.strerror}"))
        else:
            self._put(answer(None))

    def _save(self, name: str, argument: str) -> None:
        """He is answered when it is done; until then he waits, and what he goes on to ask for as well."""
        domain = domain_of(self._machine, name)
        self._saving = self._control.savings.begin(domain, argument, self._saved)
        self._machine.post(self._control.savings.settle)

    def _saved(self, failure: str | None) -> None:
        self._saving = None
        self._put(answer(None) if failure is None else refusal(failure))
        self._go_on()

    def _put(self, data: bytes) -> None:
        try:
            self._outlet.put(data)
        except OSError:
            # No thread can be had for him.
            self._machine.post(self.close)

    def _join(self, name: str, number: str) -> None:
        domain = domain_of(self._machine, name)
        console = self._control.consoles.get(domain.name)
        if console is None:
            raise RequestError(f"{shown(domain.name)} was set aside: it has no console any more")
        wanted = number_in(number or "0")
        if wanted != 0:
            console = None if wanted is None else self._control.extras.get((domain.name, wanted))
        if console is None:
            raise RequestError(f"{shown(domain.name)} has no console {shown(number[:40])}")
        self._put(answer(domain.name))
        self.console = console
        console.joined.append(self._show)
        console.feed(bytes(self._received))
        self._received.clear()

    def _show(self, data: bytes) -> None:
        """Take output of the domain. A domain does not wait for a client."""
        if self._outlet.unread + len(data) > MOST_UNREAD:
            self._lost += len(data)
            return
        if self._lost:
            self._put(f"\r\n[{self._lost} bytes were lost]\r\n".encode())
            self._lost = 0
        self._put(data)
