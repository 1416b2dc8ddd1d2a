"""A VNC server: the port, and the viewers that came."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from paravane.devices.vnc.connection import Connection

if TYPE_CHECKING:
    from paravane.devices.vnc.screen import Outside, Screen

FIRST_PORT: Final = 5900
"""Of display 0."""

MOST_VIEWERS: Final = 16
"""Connections at a time; one more takes the place of the oldest that does not see the picture yet, or else of
the oldest."""

_LAST_PORT: Final = 0xFFFF


class VncServer:
    """Shows one screen to viewers. Close it."""

    def __init__(
        self,
        outside: Outside,
        screen: Screen,
        name: str,
        *,
        listen: str,
        port: int,
        find_unused: bool = False,
        password: str | None = None,
    ) -> None:
        """Listens at an address of the host; with `find_unused` at the next port that is free. Raises
        ValueError, a sentence, when it cannot."""
        self._outside = outside
        self._screen = screen
        self._name = name
        self._password = password
        self._viewers: dict[Connection, None] = {}
        self._socket = _listening(listen, port, find_unused=find_unused)
        try:
            self._spare = self._socket.dup()
        except OSError as error:
            self._socket.close()
            raise ValueError(f"VNC cannot listen at {listen}, port {port}: {error.strerror}") from None
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        """Where it listens: address and port."""
        outside.watch(self._socket.fileno(), self._come_in)
        self._open = True

    def close(self) -> None:
        """Send all viewers away. Idempotent."""
        if self._open:
            self._open = False
            self._outside.unwatch(self._socket.fileno())
            self._socket.close()
            self._spare.close()
            for viewer in tuple(self._viewers):
                viewer.close()

    def _come_in(self) -> None:
        try:
            made, _ = self._socket.accept()
        except (BlockingIOError, ConnectionError):
            return  # he went away again
        except OSError:
            self._send_away()
            return
        if len(self._viewers) >= MOST_VIEWERS:
            waiting = (viewer for viewer in self._viewers if not viewer.admitted)
            next(waiting, next(iter(self._viewers))).close()
        with suppress(OSError):  # small updates are not to wait for what else there may be to send
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        viewer = Connection(
            made,
            self._outside,
            self._screen,
            self._name,
            self._password,
            exclusive=self._only,
            gone=self._forget,
        )
        self._viewers[viewer] = None

    def _send_away(self) -> None:
        """Somebody has come, and the process can have no more descriptors. Were he left waiting, the poll
        would tell of him without end; so one is kept by which he is told that he cannot stay."""
        self._spare.close()
        with suppress(OSError):
            self._socket.accept()[0].close()
        with suppress(OSError):
            self._spare = self._socket.dup()

    def _only(self, viewer: Connection) -> None:
        for other in tuple(self._viewers):
            if other is not viewer and other.admitted:
                other.close()

    def _forget(self, viewer: Connection) -> None:
        self._viewers.pop(viewer, None)


def _listening(listen: str, port: int, *, find_unused: bool) -> socket.socket:
    try:
        found = socket.getaddrinfo(listen, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ValueError(f"VNC cannot listen at {listen!r}: there is no such address") from None
    family, kind, protocol, _, address = found[0]
    while True:
        try:
            made = socket.socket(family, kind, protocol)
            try:
                made.setblocking(False)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((address[0], port, *address[2:]))
                made.listen(MOST_VIEWERS)
            except OSError:
                made.close()
                raise
        except OSError as error:
            if find_unused and error.errno == errno.EADDRINUSE and port < _LAST_PORT:
                port += 1
                continue
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ValueError(f"VNC cannot listen at {listen}, port {port}: {reason}") from None
        return made
