"""Consoles on sockets that listen: of the Internet's, on the loopback unless told otherwise, and of files."""

from __future__ import annotations

import logging
import socket
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import local_socket
from paravane.classes import dataclass
from paravane.devices.console.stream_end import StreamEnd
from paravane.devices.console.watched import Watched

if TYPE_CHECKING:
    from paravane.devices.xenbus import DeviceHost

LOOPBACK: Final = "127.0.0.1"
_BACKLOG: Final = 4
_PORTION: Final = 1 << 16
_PORTIONS: Final = 16

log = logging.getLogger(__name__)


class SocketEnd(StreamEnd, ABC):
    """A socket that listens. One client has the console at a time: who comes takes it over, so that one who
    has gone without a word is in nobody's way."""

    def __init__(self, host: DeviceHost, listener: socket.socket) -> None:
        super().__init__(host)
        self._listener = listener
        self._client: socket.socket | None = None
        self._admitting, self._closed = True, False
        self._door = Watched(host.outside, listener.fileno(), self._come_in)
        self._admit()

    @abstractmethod
    def _accept(self) -> socket.socket | None:
        """Who has come, None when he went away again. Raises OSError when the process can have no more
        descriptors."""

    def write(self, data: bytes) -> int:
        if not self._admitting:
            self._admit_again()
        return super().write(data)

    def _arrange(self) -> None:
        super()._arrange()
        self._admit()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            super().close()
            self._left()
            self._listener.close()

    def _admit(self) -> None:
        # Whoever comes may type what a guest waits for, unless no guest has the console.
        self._door.want(readable=self._admitting and not self._closed, for_guests=self.joined)

    def _admit_again(self) -> None:
        self._admitting = True
        self._admit()

    def _come_in(self) -> None:
        try:
            client = self._accept()
        except OSError as error:
            log.warning("the console at %s takes nobody for now: %s", self.address, error.strerror)
            self._admitting = False
            self._admit()
            return
        if client is not None:
            self._left()
            client.setblocking(False)
            self._client = client
            self._begin(client.fileno())

    def _left(self) -> None:
        self._lose()
        if self._client is not None:
            _send_away(self._client)
            self._client = None
            self._admit_again()


def _send_away(client: socket.socket) -> None:
    """Close a connection, so that what was sent arrives: a connection that is closed with input unread is
    reset, and the other side may lose what it has not read."""
    with client, suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        for _ in range(_PORTIONS):
            if not client.recv(_PORTION):
                break


class _TcpEnd(SocketEnd):
    def __init__(self, host: DeviceHost, listener: socket.socket) -> None:
        super().__init__(host, listener)
        name, port = listener.getsockname()[:2]
        self.address = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

    def _accept(self) -> socket.socket | None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return None
        with suppress(OSError):  # an echo of one key is not to wait for the next one
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client


class _UnixEnd(SocketEnd):
    def __init__(self, host: DeviceHost, listener: socket.socket, path: Path) -> None:
        super().__init__(host, listener)
        self._path = path
        self.address = str(path)

    def _accept(self) -> socket.socket | None:
        return local_socket.accepted(self._listener)

    def close(self) -> None:
        if not self._closed:
            super().close()
            local_socket.forgotten(self._path)


@dataclass(frozen=True, slots=True)
class TcpEnd:
    """A console at a port of the host's (0: any that is free). Whoever reaches it has the console: without a
    `host`, all programs of this machine, and nobody else."""

    port: int
    host: str = LOOPBACK

    def open(self, host: DeviceHost) -> SocketEnd:
        """Raises ValueError."""
        try:
            (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            listener = socket.socket(family, kind, protocol)
            try:
                # A port is free again as soon as its last machine has ended.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(_BACKLOG)
                listener.setblocking(False)
            except OSError:
                listener.close()
                raise
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "there is no such host"
            raise ValueError(f"no console at tcp:{self.host}:{self.port}: {reason}") from None
        return _TcpEnd(host, listener)


@dataclass(frozen=True, slots=True)
class UnixEnd:
    """A console at a socket in the file system, for this user (and root) alone."""

    path: str

    def open(self, host: DeviceHost) -> SocketEnd:
        """Raises ValueError."""
        path = Path(self.path)
        try:
            return _UnixEnd(host, local_socket.listening(path, _BACKLOG), path)
        except OSError as error:
            raise ValueError(f"no console at unix:{self.path}: {error.strerror}") from None
