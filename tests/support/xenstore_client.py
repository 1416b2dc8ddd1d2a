"""A program of the host at xenstore's socket, in the thread that serves it: nothing waits for anything."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from paravane.abi.xs_wire import XSD_SOCKMSG, XsMessage
from tests.support.xenstore_guest import request

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.inbox import Inbox
    from tests.support.xenstore_guest import Message


class Client:
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

    def receive(self) -> list[Message]:
        """All messages there are for this client, after everybody has been served."""
        while self.inbox.deliver(0) or self.read():
            self.read()
        found = []
        while self.input:
            header = XSD_SOCKMSG.unpack(self.input)
            end = XSD_SOCKMSG.size + header.len
            assert len(self.input) >= end, "half a message"
            found.append((header.type, header.req_id, header.tx_id, bytes(self.input[16:end])))
            del self.input[:end]
        return found

    def ask(self, kind: int, payload: bytes, tx_id: int = 0, req_id: int = 7) -> bytes:
        """One request; its reply's payload, or the name of the error."""
        self.send(request(kind, payload, tx_id, req_id))
        (reply,) = [message for message in self.receive() if message[0] != XsMessage.WATCH_EVENT]
        assert reply[1:3] == (req_id, tx_id)
        assert reply[0] in (kind, XsMessage.ERROR)
        return reply[3]
