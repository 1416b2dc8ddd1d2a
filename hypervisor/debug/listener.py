"""Where debuggers come in: a listening socket."""

from __future__ import annotations

import re
import socket

from paravane.classes import NamedTuple

LOOPBACK = "127.0.0.1"


class Address(NamedTuple):
    """A host's name or number, and a port (0: any that is free)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `:PORT` or `PORT`; without a host, this machine's own loopback. ValueError, with a
    sentence, for anything else."""
    host, colon, port = text.rpartition(":")
    if not re.fullmatch(r"0*\d{1,5}", port, re.ASCII) or int(port) > 0xFFFF or (colon and host == "["):
        raise ValueError(f"{text!r} is no HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is no HOST:PORT: an address with colons goes in brackets")
    return Address(host or LOOPBACK, int(port))


class Listener:
    """A socket that listens. Close it."""

    def __init__(self, address: Address) -> None:
        """OSError where nobody can listen."""
        try:
            kind, _, _, _, where = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except UnicodeError:
            # What cannot be a host's name is none: longer than 63 characters between two dots, for instance.
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
        self._socket = socket.create_server(where[:2], family=kind, backlog=1)
        self._socket.setblocking(False)
        bound = self._socket.getsockname()
        self.address = Address(bound[0], bound[1])

    def fileno(self) -> int:
        """Readable when a debugger waits."""
        return self._socket.fileno()

    @property
    def is_local(self) -> bool:
        """Whether only this machine's own programs can come in."""
        return self.address.host == "::1" or self.address.host.startswith("127.")

    def accept(self) -> socket.socket | None:
        """The connection of who waits; None when he went away again."""
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return None
        return connection

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()
