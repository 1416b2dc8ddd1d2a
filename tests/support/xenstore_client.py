"""A program of the host at xenstore's socket, in the thread that serves it: nothing waits for anything."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.support.xenstore_guest import Asking

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.inbox import Inbox


class Client(Asking):
    """As careful or as rude as the test asks."""

    def __init__(self, inbox: Inbox, path: Path) -> None:
        self.inbox = inbox
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self.socket.setblocking(False)
        self.input = bytearray()
        self.at_end = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send it all while it is served, reading nothing."""
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                assert self.inbox.deliver(0), "nobody takes what is sent"

    def read(self) -> bool:
        """Take in what has come. False when that is nothing."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        self.input += data
        self.at_end |= not data
        return bool(data)

    def take_all(self) -> None:
        while self.inbox.deliver(0) or self.read():
            self.read()
