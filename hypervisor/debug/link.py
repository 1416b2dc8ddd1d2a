"""The connection to one debugger."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from paravane.debug.packets import MAX_PAYLOAD, Packet, PacketReader, Signal, packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE: Final = 1.0
"""Seconds that a debugger may take to accept what it is sent: it has asked for it, and the machine waits."""

RETRIES: Final = 8
"""How often in a row an answer is sent again because the debugger says that it was damaged."""

_READ: Final = 2 * MAX_PAYLOAD


class Link:
    """Payloads to and from a debugger. `is_open` is False once it has gone, or did not take what it was sent:
    then everything sent is dropped."""

    def __init__(self, connection: socket.socket, lost: Callable[[], None]) -> None:
        """`lost` is called when something cannot be sent."""
        self._lost = lost
        self._socket = connection
        self._socket.settimeout(PATIENCE)
        if self._socket.family in {socket.AF_INET, socket.AF_INET6}:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = PacketReader()
        self._last = b""
        self._repeated = 0
        self.acknowledges = True
        """Each packet is answered by `+` or `-`, until QStartNoAckMode."""
        self.is_open = True

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Iterator[bytes | Signal]:
        """The payloads and interrupts that have come. To be called when something has."""
        try:
            data = self._socket.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return
        for item in self._reader.feed(data):
            if isinstance(item, Packet):
                if self.acknowledges:
                    self._put(b"-" if item.payload is None else b"+")
                if item.payload is not None:
                    self._repeated = 0
                    yield item.payload
            elif item is Signal.INTERRUPT:
                yield item
            elif item is Signal.NAK and self.acknowledges:
                self._repeat()

    def send(self, payload: bytes) -> None:
        """Send a packet."""
        self._last = packet(payload)
        self._put(self._last)

    def close(self) -> None:
        """Idempotent."""
        self.is_open = False
        self._socket.close()

    def _repeat(self) -> None:
        self._repeated += 1
        if self._repeated <= RETRIES:
            self._put(self._last)

    def _put(self, data: bytes) -> None:
        if self.is_open:
            try:
                self._socket.sendall(data)
            except OSError:
                self.is_open = False
                self._lost()
