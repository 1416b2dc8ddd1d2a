"""Xenstore over its ring page: every request a guest sends, and what it gets back."""

from __future__ import annotations

import logging

import pytest

from paravane.abi.xs_wire import (
    XENSTORE_DOMAIN_INTERFACE,
    XENSTORE_RING_SIZE,
    XSD_SOCKMSG,
    XenstoreError,
    XsdSockmsg,
    XsMessage,
)
from paravane.devices.bus import Bus
from paravane.devices.xenstore import Connection, Quota, Store, populate_domain

_OFFSETS = XENSTORE_DOMAIN_INTERFACE.offsets
Message = tuple[int, int, int, bytes]


class Guest:
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

    def receive(self) -> list[Message]:
        """All messages there are for this guest."""
        before = -1
        while before != len(self.input):
            before = len(self.input)
            self.event()
            self.take()
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


def request(kind: int, payload: bytes, tx_id: int = 0, req_id: int = 7) -> bytes:
    return XSD_SOCKMSG.pack(XsdSockmsg(kind, req_id, tx_id, len(payload))) + payload


@pytest.fixture
def store() -> Store:
    made = Store()
    for domid in (1, 2):
        populate_domain(made, domid, f"guest{domid}", 65536)
    return made


@pytest.fixture
def guest(store: Store) -> Guest:
    return Guest(store)


def test_read_and_write_with_relative_and_absolute_paths(guest: Guest, store: Store) -> None:
    assert guest.ask(XsMessage.READ, b"name\0") == b"guest1"
    assert guest.ask(XsMessage.READ, b"/local/domain/1/domid\0") == b"1"
    assert guest.ask(XsMessage.WRITE, b"data/x\0bin\0ary") == b"OK\0"
    assert store.read("/local/domain/1/data/x") == b"bin\0ary"
    assert guest.ask(XsMessage.READ, b"data/x\0") == b"bin\0ary"
    assert guest.ask(XsMessage.DIRECTORY, b"data\0") == b"x\0"
    assert guest.ask(XsMessage.DIRECTORY, b"data/x\0") == b""
    assert guest.ask(XsMessage.MKDIR, b"data/y\0") == b"OK\0"
    assert guest.ask(XsMessage.RM, b"data/x\0") == b"OK\0"
    assert guest.ask(XsMessage.DIRECTORY, b"data\0") == b"y\0"


def test_errors_come_by_name(guest: Guest) -> None:
    assert guest.ask(XsMessage.READ, b"nothing\0") == b"ENOENT\0"
    assert guest.ask(XsMessage.READ, b"/local/domain/2/name\0") == b"EACCES\0"
    assert guest.ask(XsMessage.WRITE, b"name\0x") == b"EACCES\0"
    assert guest.ask(XsMessage.SET_PERMS, b"data\0n77\0") == b"ENOENT\0"
    assert guest.ask(XsMessage.SET_PERMS, b"data\0n2\0") == b"EPERM\0"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (XsMessage.READ, b""),
        (XsMessage.READ, b"name"),
        (XsMessage.READ, b"name\0\0"),
        (XsMessage.READ, b"\0"),
        (XsMessage.READ, b"a//b\0"),
        (XsMessage.READ, b"\xff\0"),
        (XsMessage.READ, b"@introduceDomain\0"),
        (XsMessage.WRITE, b"no terminator"),
        (XsMessage.MKDIR, b""),
        (XsMessage.RM, b"x"),
        (XsMessage.GET_PERMS, b""),
        (XsMessage.SET_PERMS, b"data\0"),
        (XsMessage.SET_PERMS, b"data\0q1\0"),
        (XsMessage.SET_PERMS, b"data\0\0"),
        (XsMessage.WATCH, b"name\0"),
        (XsMessage.WATCH, b"name\0token\0003\0"),
        (XsMessage.WATCH, b"a//b\0token\0"),
        (XsMessage.WATCH, b"@" + b"x" * 2048 + b"\0token\0"),
        (XsMessage.UNWATCH, b"name\0"),
        (XsMessage.TRANSACTION_END, b"X\0"),
        (XsMessage.GET_DOMAIN_PATH, b"1"),
        (XsMessage.DIRECTORY_PART, b"data\0"),
    ],
)
def test_malformed_requests_are_einval(guest: Guest, kind: int, payload: bytes) -> None:
    assert guest.ask(kind, payload) == b"EINVAL\0"


def test_what_guests_may_not_ask(guest: Guest) -> None:
    for kind in (XsMessage.CONTROL, XsMessage.INTRODUCE, XsMessage.RELEASE, XsMessage.RESUME):
        assert guest.ask(kind, b"1\0") == b"EACCES\0"
    assert guest.ask(XsMessage.IS_DOMAIN_INTRODUCED, b"1\0") == b"EACCES\0"
    assert guest.ask(XsMessage.SET_TARGET, b"1\x002\0") == b"EACCES\0"
    assert guest.ask(XsMessage.SET_PERMS, b"@releaseDomain\0n1\0") == b"EACCES\0"
    for unknown in (int(XsMessage.WATCH_EVENT), int(XsMessage.ERROR), 20, 23, 0xFFFF_FFFF):
        assert guest.ask(unknown, b"") == b"ENOSYS\0"


def test_permissions_over_the_wire(guest: Guest, store: Store) -> None:
    assert guest.ask(XsMessage.GET_PERMS, b"data\0") == b"n1\0"
    assert guest.ask(XsMessage.SET_PERMS, b"data\0n1\0b2\0") == b"OK\0"
    assert guest.ask(XsMessage.GET_PERMS, b"data\0") == b"n1\0b2\0"
    assert Guest(store, 2).ask(XsMessage.WRITE, b"/local/domain/1/data\0hello") == b"OK\0"


def test_domain_paths(guest: Guest) -> None:
    assert guest.ask(XsMessage.GET_DOMAIN_PATH, b"12\0") == b"/local/domain/12\0"
    assert guest.ask(XsMessage.GET_DOMAIN_PATH, b" 3x\0") == b"/local/domain/3\0"
    assert guest.ask(XsMessage.GET_DOMAIN_PATH, b"x\0") == b"/local/domain/0\0"


def test_a_watch_fires_at_once_and_with_the_path_it_was_given(guest: Guest, store: Store) -> None:
    guest.send(request(XsMessage.WATCH, b"data\0token\0", req_id=3))
    guest.send(request(XsMessage.WATCH, b"/local/domain/1/data\0abs\0", req_id=4))
    assert guest.receive() == [
        (XsMessage.WATCH, 3, 0, b"OK\0"),
        (XsMessage.WATCH_EVENT, 0, 0, b"data\0token\0"),
        (XsMessage.WATCH, 4, 0, b"OK\0"),
        (XsMessage.WATCH_EVENT, 0, 0, b"/local/domain/1/data\0abs\0"),
    ]
    store.write("/local/domain/1/data/x", b"")
    assert guest.notified
    assert guest.receive() == [
        (XsMessage.WATCH_EVENT, 0, 0, b"data/x\0token\0"),
        (XsMessage.WATCH_EVENT, 0, 0, b"/local/domain/1/data/x\0abs\0"),
    ]
    assert guest.ask(XsMessage.WATCH, b"data\0token\0") == b"EEXIST\0"
    assert guest.ask(XsMessage.UNWATCH, b"data\0token\0") == b"OK\0"
    assert guest.ask(XsMessage.UNWATCH, b"data\0token\0") == b"ENOENT\0"
    assert guest.ask(XsMessage.RESET_WATCHES, b"\0") == b"OK\0"
    store.write("/local/domain/1/data/x", b"2")
    assert guest.receive() == []


def test_removal_tells_the_watches_of_nodes_below(guest: Guest, store: Store) -> None:
    guest.ask(XsMessage.WRITE, b"data/a/b/c\0")
    for path in (b"data", b"data/a/b", b"data/other"):
        guest.send(request(XsMessage.WATCH, path + b"\0" + path + b"\0"))
    guest.receive()
    store.remove("/local/domain/1/data/a")
    assert [message[3] for message in guest.receive()] == [b"data/a/b\0data/a/b\0", b"data/a\0data\0"]


def test_a_guest_hears_only_of_what_it_may_read(guest: Guest, store: Store) -> None:
    guest.ask(XsMessage.WATCH, b"/\0all\0")
    guest.ask(XsMessage.WATCH, b"@releaseDomain\0end\0")
    guest.receive()
    store.write("/local/domain/2/data/secret", b"")
    store.introduce(2)
    assert guest.receive() == []
    store.make("/local/domain/2/data/secret", "n2", "r1")
    guest.run()
    store.make("/local/domain/2/data/secret", "n2")
    store.write("/local/domain/2/data/secret", b"x")
    assert [message[3] for message in guest.receive()] == [b"/local/domain/2/data/secret\0all\0"] * 2, (
        "of the change that opens the node and of the one that closes it"
    )


def test_an_event_that_waits_already_is_not_queued_again(guest: Guest, store: Store) -> None:
    guest.ask(XsMessage.WATCH, b"data\0t\0")
    guest.receive()
    for number in range(300):
        store.write("/local/domain/1/data/x", bytes([number & 255]))
    assert len(guest.receive()) < 300


def test_watches_are_limited(store: Store) -> None:
    guest = Guest(store)
    for number in range(129):
        assert guest.ask(XsMessage.WATCH, b"data\0%d\0" % number) == b"OK\0"
    assert guest.ask(XsMessage.WATCH, b"data\0more\0") == b"E2BIG\0"


def test_a_transaction_over_the_wire(guest: Guest, store: Store) -> None:
    number = int(guest.ask(XsMessage.TRANSACTION_START, b"\0").rstrip(b"\0"))
    assert guest.ask(XsMessage.WRITE, b"data/x\0001", tx_id=number) == b"OK\0"
    assert guest.ask(XsMessage.READ, b"data/x\0") == b"ENOENT\0"
    assert guest.ask(XsMessage.TRANSACTION_START, b"\0", tx_id=number) == b"EBUSY\0"
    assert guest.ask(XsMessage.TRANSACTION_END, b"?\0", tx_id=number) == b"EINVAL\0"
    assert guest.ask(XsMessage.TRANSACTION_END, b"T\0", tx_id=number) == b"OK\0"
    assert guest.ask(XsMessage.READ, b"data/x\0") == b"1"
    assert guest.ask(XsMessage.TRANSACTION_END, b"T\0", tx_id=number) == b"ENOENT\0"
    assert guest.ask(XsMessage.TRANSACTION_END, b"T\0") == b"ENOENT\0"
    assert guest.ask(XsMessage.READ, b"data/x\0", tx_id=99) == b"ENOENT\0"


def test_transactions_conflict_are_dropped_and_are_limited(guest: Guest, store: Store) -> None:
    def start() -> int:
        return int(guest.ask(XsMessage.TRANSACTION_START, b"\0").rstrip(b"\0"))

    first, second = start(), start()
    for number in (first, second):
        guest.ask(XsMessage.WRITE, b"data/x\0%d" % number, tx_id=number)
    assert guest.ask(XsMessage.TRANSACTION_END, b"T\0", tx_id=second) == b"OK\0"
    assert guest.ask(XsMessage.TRANSACTION_END, b"T\0", tx_id=first) == b"EAGAIN\0"
    assert store.read("/local/domain/1/data/x") == b"%d" % second
    dropped = start()
    guest.ask(XsMessage.WRITE, b"data/x\0dropped", tx_id=dropped)
    assert guest.ask(XsMessage.TRANSACTION_END, b"F\0", tx_id=dropped) == b"OK\0"
    assert store.read("/local/domain/1/data/x") == b"%d" % second
    assert len({start() for _ in range(11)}) == 11
    assert guest.ask(XsMessage.TRANSACTION_START, b"\0") == b"ENOSPC\0"
    guest.ask(XsMessage.RESET_WATCHES, b"\0")
    start()


def test_long_directories_come_in_parts(guest: Guest, store: Store) -> None:
    names = [f"node{number:04}" + "x" * 20 for number in range(300)]
    store.make("/local/domain/1/data/many", "n0", "r1")
    for name in names:
        store.make(f"/local/domain/1/data/many/{name}")
    assert guest.ask(XsMessage.DIRECTORY, b"data/many\0") == b"E2BIG\0"
    whole, generations = b"", set()
    while not whole.endswith(b"\0\0"):
        part = guest.ask(XsMessage.DIRECTORY_PART, b"data/many\0%d\0" % len(whole))
        assert len(part) <= 4096
        generation, _, rest = part.partition(b"\0")
        generations.add(generation)
        whole += rest
    assert whole[:-1] == b"".join(name.encode() + b"\0" for name in names)
    assert len(generations) == 1
    end = guest.ask(XsMessage.DIRECTORY_PART, b"data/many\0999999\0")
    assert end == generations.pop() + b"\0\0"


@pytest.mark.parametrize("start", [0, 1020, 0xFFFF_FE00])
def test_messages_cross_the_ends_of_the_rings(store: Store, start: int) -> None:
    guest = Guest(store, start=start)
    value = bytes(range(256)) * 7
    for number in range(5):
        assert guest.ask(XsMessage.WRITE, b"data/x%d\0" % number + value) == b"OK\0"
        assert guest.ask(XsMessage.READ, b"data/x%d\0" % number) == value


def test_a_request_may_come_byte_by_byte(guest: Guest) -> None:
    for byte in request(XsMessage.READ, b"name\0"):
        guest.send(bytes([byte]))
    assert guest.receive() == [(XsMessage.READ, 7, 0, b"guest1")]


def test_a_guest_that_fetches_nothing_is_made_to_wait(store: Store) -> None:
    guest = Guest(store)
    value = b"v" * 900
    store.write("/local/domain/1/data/x", value)
    wanted = request(XsMessage.READ, b"data/x\0")
    sent = 0
    for _ in range(100):
        if guest.put(wanted) < len(wanted):
            break
        guest.event()
        sent += 1
    assert 20 <= sent < 80, "the request ring fills up behind 20 unfetched replies"
    replies = guest.receive()
    assert [reply[3] for reply in replies] == [value] * len(replies)
    assert len(replies) == sent


def test_unfetched_events_are_bounded(store: Store) -> None:
    made = Store(Quota(queued_events=1000))
    populate_domain(made, 1, "guest", 1024)
    guest = Guest(made)
    guest.ask(XsMessage.WATCH, b"data\0t\0")
    guest.receive()
    for number in range(500):
        made.write(f"/local/domain/1/data/{number}", b"")
    assert 50 < len(guest.receive()) < 150


def test_an_oversize_message_ends_the_service(
    guest: Guest, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    guest.ask(XsMessage.WATCH, b"data\0t\0")
    with caplog.at_level(logging.WARNING):
        guest.put(XSD_SOCKMSG.pack(XsdSockmsg(XsMessage.WRITE, 1, 0, 4097)))
        guest.event()
    assert guest.get("error") == XenstoreError.PROTO
    assert "4097" in caplog.text
    guest.receive()
    guest.put(request(XsMessage.READ, b"name\0"))
    guest.event()
    store.write("/local/domain/1/data/x", b"")
    assert guest.receive() == []


def test_a_payload_of_4096_bytes_is_fine(guest: Guest) -> None:
    assert guest.ask(XsMessage.WRITE, b"data/x\0" + bytes(4096 - 7)) == b"ENOSPC\0"


@pytest.mark.parametrize("name", ["req_prod", "rsp_cons"])
def test_impossible_indices_end_the_service(guest: Guest, name: str) -> None:
    guest.set(name, 5000)
    guest.put(b"")
    guest.event()
    guest.set(name, 0)
    guest.send(request(XsMessage.READ, b"name\0"))
    if name == "req_prod":
        assert guest.get("error") == XenstoreError.RINGIDX
        assert guest.receive() == []
    else:
        assert guest.receive() == [(XsMessage.READ, 7, 0, b"guest1")], "nothing had to be sent meanwhile"


def test_impossible_response_indices_are_found_when_there_is_something_to_send(guest: Guest) -> None:
    guest.set("rsp_cons", 5000)
    guest.put(request(XsMessage.READ, b"name\0"))
    guest.event()
    assert guest.get("error") == XenstoreError.RINGIDX


def test_close_can_come_at_any_time(store: Store) -> None:
    guest = Guest(store)

    def gone(path: str) -> None:
        guest.connection.close()

    store.watch("/local/domain/1/control/shutdown", gone).close()
    watch = store.watch("/local/domain/1/data/x", lambda path: gone(path) if store.find(path) else None)
    guest.put(request(XsMessage.WRITE, b"data/x\0bye") + request(XsMessage.READ, b"name\0"))
    guest.event()
    guest.connection.close()
    assert guest.closed
    assert guest.get("rsp_prod") == 0
    store.write("/local/domain/1/data/x", b"again")
    watch.close()


def test_one_guests_request_is_not_handled_inside_anothers(store: Store) -> None:
    one, two = Guest(store, 1), Guest(store, 2)
    store.make("/local/domain/1/data", "n1", "b2")
    two.ask(XsMessage.WATCH, b"/local/domain/1/data\0t\0")
    two.receive()
    two.put(request(XsMessage.RM, b"/local/domain/1/data/a\0"))
    one.send(request(XsMessage.WRITE, b"data/a\0x"))
    assert store.find("/local/domain/1/data/a") == b"x"
    two.event()
    assert store.find("/local/domain/1/data/a") is None
