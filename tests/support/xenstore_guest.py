"""A guest of xenstore, on a ring page of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod

from paravane.abi.xs_wire import (
    XENSTORE_DOMAIN_INTERFACE,
    XENSTORE_RING_SIZE,
    XSD_SOCKMSG,
    XsdSockmsg,
    XsMessage,
)
from paravane.devices.bus import Bus
from paravane.devices.xenstore import Connection, Store

_OFFSETS = XENSTORE_DOMAIN_INTERFACE.offsets
Message = tuple[int, int, int, bytes]


class Asking(ABC):
    """Somebody who speaks xenstore's protocol, and whose `input` is what has come."""

    input: bytearray

    @abstractmethod
    def send(self, data: bytes) -> None: ...

    @abstractmethod
    def take_all(self) -> None:
        """Take in all that there is, after everybody has been served."""

    def receive(self) -> list[Message]:
        """All messages there are."""
        self.take_all()
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


class Guest(Asking):
    """A xenstore client over a ring page of its own, as careful or as rude as the test asks."""

    def __init__(self, store: Store, domid: int = 1, start: int = 0, bus: Bus | None = None) -> None:
        self.page = memoryview(bytearray(4096))
        self.words = self.page.cast("I")
        for name in ("req_cons", "req_prod", "rsp_cons", "rsp_prod"):
            self.set(name, start)
        self.notified = 0
        self.closed = False
        self.input = bytearray()
        self.bus = bus or Bus()
        self.connection = Connection(store, domid, self.page, self, self.bus)

    def event(self) -> None:
        """The guest sends its event, and the backend does all that is due."""
        self.bus.call(self.connection)
        self.run()

    def run(self) -> None:
        while self.bus.due:
            self.bus.turn()

    def notify(self) -> None:
        self.notified += 1

    def close(self) -> None:
        self.closed = True

    def get(self, name: str) -> int:
        return int(self.words[_OFFSETS[name] >> 2])

    def set(self, name: str, value: int) -> None:
        self.words[_OFFSETS[name] >> 2] = value & 0xFFFF_FFFF

    def put(self, data: bytes) -> int:
        """Write as much as the ring has room for."""
        room = XENSTORE_RING_SIZE - (self.get("req_prod") - self.get("req_cons") & 0xFFFF_FFFF)
        for byte in data[:room]:
            producer = self.get("req_prod")
            self.page[_OFFSETS["req"] + producer % XENSTORE_RING_SIZE] = byte
            self.set("req_prod", producer + 1)
        return min(room, len(data))

    def take(self) -> None:
        while self.get("rsp_cons") != self.get("rsp_prod"):
            consumer = self.get("rsp_cons")
            self.input.append(self.page[_OFFSETS["rsp"] + consumer % XENSTORE_RING_SIZE])
            self.set("rsp_cons", consumer + 1)

    def send(self, data: bytes) -> None:
        while data:
            data = data[self.put(data) :]
            self.event()
            self.take()

    def take_all(self) -> None:
        """Take in all that there is for this guest."""
        before = -1
        while before != len(self.input):
            before = len(self.input)
            self.event()
            self.take()


def request(kind: int, payload: bytes, tx_id: int = 0, req_id: int = 7) -> bytes:
    return XSD_SOCKMSG.pack(XsdSockmsg(kind, req_id, tx_id, len(payload))) + payload
