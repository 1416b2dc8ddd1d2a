"""Hostile xenstore clients: whatever is in the ring, the store survives, answers and stays within bounds."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from paravane.abi.xs_wire import XENSTORE_DOMAIN_INTERFACE, XSD_SOCKMSG, XsdSockmsg, XsMessage
from paravane.devices.bus import Bus
from paravane.devices.xenstore import (
    Connection,
    Quota,
    Store,
    StoreSocket,
    forget_domain,
    populate_domain,
)
from paravane.devices.xenstore.tree import join, parent_of
from paravane.inbox import Inbox
from tests.support.xenstore_client import Client

_OFFSETS = XENSTORE_DOMAIN_INTERFACE.offsets
_INDICES = ("req_cons", "req_prod", "rsp_cons", "rsp_prod")
QUOTA = Quota(nodes=30, watches=6, transactions=3, transaction_nodes=24, queued_events=4096)

KINDS = st.sampled_from([int(kind) for kind in XsMessage])
PATHS = st.sampled_from(
    [
        b"data",
        b"data/a",
        b"data/a/b",
        b"data/c",
        b"error/x",
        b"/local/domain/1/data",
        b"/local/domain/2/data/z",
    ]
    + [b"/", b"", b"//", b"@releaseDomain", b"name", b"device", b"/local/domain/2", b"x" * 2100]
)
ARGUMENTS = st.one_of(
    st.sampled_from([b"T", b"F", b"n1", b"b1", b"r2", b"n2", b"0", b"1", b"99", b"tok", b""]),
    st.binary(max_size=40),
)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    parts = [draw(PATHS), *draw(st.lists(ARGUMENTS, max_size=4))]
    return b"\0".join(parts) + draw(st.sampled_from([b"\0", b""]))


class Page:
    def __init__(self, store: Store, domid: int) -> None:
        self.page = memoryview(bytearray(4096))
        self.words = self.page.cast("I")
        self.notified = 0
        self.bus = Bus()
        self.connection = Connection(store, domid, self.page, self, self.bus)

    def event(self) -> None:
        self.bus.call(self.connection)
        while self.bus.due:
            self.bus.turn()

    def notify(self) -> None:
        self.notified += 1

    def close(self) -> None:
        self.notified = 0

    def word(self, name: str) -> int:
        return int(self.words[_OFFSETS[name] >> 2])

    def put(self, data: bytes) -> None:
        producer = self.word("req_prod")
        for at, byte in enumerate(data):
            self.page[_OFFSETS["req"] + (producer + at) % 1024] = byte
        self.words[_OFFSETS["req_prod"] >> 2] = (producer + len(data)) & 0xFFFF_FFFF

    def received(self) -> bytes:
        """Everything in the response ring, taken out."""
        consumer, producer = self.word("rsp_cons"), self.word("rsp_prod")
        at = _OFFSETS["rsp"]
        taken = bytes(
            self.page[at + (consumer + n) % 1024] for n in range((producer - consumer) & 0xFFFF_FFFF)
        )
        self.fetch()
        return taken

    def fetch(self) -> None:
        self.words[_OFFSETS["rsp_cons"] >> 2] = self.word("rsp_prod")


def checked(store: Store) -> None:
    """The tree is one tree, and every domain is within its quota."""
    reached = store.paths()
    assert len(reached) == len(set(reached))
    owned: dict[int, int] = {}
    for path in reached:
        node = store.get(path)
        assert node is not None
        owned[node.owner] = owned.get(node.owner, 0) + 1
        assert len(set(node.children)) == len(node.children)
        for name in node.children:
            assert parent_of(join(path, name)) == path
    assert all(owned.get(domid, 0) == store.entries(domid) for domid in range(4))
    assert max(store.entries(1), store.entries(2)) <= QUOTA.nodes


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=1024), st.booleans()), max_size=6), st.integers(0, 0xFFFF_FFFF))
def test_arbitrary_bytes_never_fail(chunks: list[tuple[bytes, bool]], start: int) -> None:
    store = Store(QUOTA)
    populate_domain(store, 1, "guest", 1024)
    guest = Page(store, 1)
    for name in _INDICES:
        guest.words[_OFFSETS[name] >> 2] = start
    for data, fetch in chunks:
        guest.put(data)
        guest.event()
        if fetch:
            guest.fetch()
    checked(store)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*_INDICES, "connection", "error"]), st.integers(0, 0xFFFF_FFFF)),
        max_size=8,
    )
)
def test_arbitrary_indices_never_fail(writes: list[tuple[str, int]]) -> None:
    store = Store(QUOTA)
    populate_domain(store, 1, "guest", 1024)
    guest = Page(store, 1)
    guest.put(XSD_SOCKMSG.pack(XsdSockmsg(XsMessage.WATCH, 1, 0, 7)) + b"data\0t\0")
    for name, value in writes:
        guest.words[_OFFSETS[name] >> 2] = value
        guest.event()
        store.write("/local/domain/1/data/x", b"")
    checked(store)


def conversation(requests: list[tuple[int, int, bytes]], limit: int) -> tuple[list[bytes], set[bytes], Store]:
    """What a guest gets for these requests when every portion is so small: answers, events; and the store."""
    store = Store(QUOTA)
    populate_domain(store, 1, "guest", 1024)
    guest = Page(store, 1)
    output = bytearray()
    for at, (kind, tx_id, payload) in enumerate(requests):
        data = XSD_SOCKMSG.pack(XsdSockmsg(kind, at, tx_id, len(payload))) + payload
        for start in range(0, len(data), 900):
            guest.put(data[start : start + 900])
            guest.bus.call(guest.connection)
            while guest.bus.due:
                assert guest.bus.turn(limit) <= limit + 1024
                output += guest.received()
    answers, events = [], set()
    while output:
        header = XSD_SOCKMSG.unpack(output)
        message = bytes(output[: 16 + header.len])
        del output[: 16 + header.len]
        if header.type == XsMessage.WATCH_EVENT:
            events.add(message)
        else:
            answers.append(message)
        # An answer that did not fit any more follows with the next event.
        if not output:
            guest.event()
            output += guest.received()
    return answers, events, store


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(KINDS, st.integers(0, 2), payloads()), max_size=25),
    st.integers(1, 60),
)
def test_portions_of_any_size_give_the_same_answers(
    requests: list[tuple[int, int, bytes]], limit: int
) -> None:
    answers, events, store = conversation(requests, limit)
    whole = conversation(requests, 1 << 30)
    assert (answers, events) == whole[:2]
    assert [(path, store.get(path)) for path in store.paths()] == [
        (path, whole[2].get(path)) for path in whole[2].paths()
    ]
    checked(store)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8), st.booleans())
def test_arbitrary_bytes_at_the_socket_concern_who_sends_them(chunks: list[bytes], leaves: bool) -> None:
    store, inbox = Store(QUOTA), Inbox()
    with tempfile.TemporaryDirectory() as folder:
        home = StoreSocket(store, Path(folder) / "s", inbox)
        with Client(inbox, home.path) as rude, Client(inbox, home.path) as other:
            for data in chunks:
                with suppress(BrokenPipeError, ConnectionResetError):
                    rude.send(data)
                inbox.deliver(0)
            if leaves:
                rude.socket.close()
            assert other.ask(XsMessage.READ, b"/tool\0") == b""
        checked(store)
        home.close()
        inbox.close()


CONTROL_KINDS = st.sampled_from(
    [
        *(XsMessage.INTRODUCE, XsMessage.RELEASE, XsMessage.RELEASE, XsMessage.IS_DOMAIN_INTRODUCED),
        *(XsMessage.RESUME, XsMessage.SET_TARGET, XsMessage.CONTROL, XsMessage.WATCH, XsMessage.UNWATCH),
        *(XsMessage.TRANSACTION_START, XsMessage.TRANSACTION_END, XsMessage.RESET_WATCHES, XsMessage.READ),
    ]
)
CONTROL_ARGUMENTS = st.sampled_from(
    [*(b"0", b"1", b"2", b"7", b"x", b"", b"check", b"print", b"quota", b"help"), b"@releaseDomain", b"T"]
)


class Clients(RuleBasedStateMachine):
    """Two guests that send well-framed nonsense, fetch or do not, come and go; and domain 0, which releases
    them and has them introduced again."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(QUOTA)
        self.guests: dict[int, Page] = {}
        self.control = Page(self.store, 0)

    @initialize()
    def start(self) -> None:
        for domid in (1, 2):
            self.arrive(domid)

    def arrive(self, domid: int) -> None:
        populate_domain(self.store, domid, f"guest{domid}", 1024)
        self.guests[domid] = Page(self.store, domid)
        self.store.introduce(domid, self.guests[domid].connection)

    @rule(kind=CONTROL_KINDS, arguments=st.lists(CONTROL_ARGUMENTS, max_size=3), ends=st.booleans())
    def control_asks(self, kind: int, arguments: list[bytes], ends: bool) -> None:
        payload = b"\0".join(arguments) + b"\0" * ends
        self.control.put(XSD_SOCKMSG.pack(XsdSockmsg(kind, 1, 0, len(payload))) + payload)
        self.control.event()
        assert not self.control.connection.ignored
        assert self.control.received()
        for domid, guest in self.guests.items():
            if self.store.introduced(domid) is None:
                assert guest.connection.ignored
                guest.connection.introduce(guest)
                assert not guest.connection.ignored

    @rule(domid=st.sampled_from([1, 2]), kind=KINDS, tx_id=st.integers(0, 5), payload=payloads())
    def ask(self, domid: int, kind: int, tx_id: int, payload: bytes) -> None:
        guest = self.guests[domid]
        before = guest.word("rsp_prod")
        data = XSD_SOCKMSG.pack(XsdSockmsg(kind, 1, tx_id, len(payload))) + payload
        for at in range(0, len(data), 900):
            guest.put(data[at : at + 900])
            guest.event()
        assert not guest.connection.ignored
        if (before - guest.word("rsp_cons")) & 0xFFFF_FFFF < 900:
            assert guest.word("rsp_prod") != before, "every request is answered"

    @rule(domid=st.sampled_from([1, 2]))
    def fetch(self, domid: int) -> None:
        guest = self.guests[domid]
        for _ in range(60):
            guest.fetch()
            guest.event()
        assert guest.word("rsp_prod") == guest.word("rsp_cons")

    @rule(domid=st.sampled_from([1, 2]))
    def replace(self, domid: int) -> None:
        self.guests[domid].connection.close()
        forget_domain(self.store, domid)
        assert self.store.entries(domid) == 0
        self.arrive(domid)

    @rule(path=st.sampled_from(["data", "data/a", "error"]))
    def host_writes(self, path: str) -> None:
        self.store.write(f"/local/domain/1/{path}", b"host")

    @invariant()
    def one_tree(self) -> None:
        checked(self.store)


TestClients = Clients.TestCase
TestClients.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
