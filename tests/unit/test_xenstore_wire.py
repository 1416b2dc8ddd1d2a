"""Xenstore over its ring page: every request a guest sends, and what it gets back."""

from __future__ import annotations

import pytest

from paravane.abi.xs_wire import (
    XsMessage,
)
from paravane.devices.xenstore import Quota, Store, populate_domain
from tests.support.xenstore_guest import Guest, request


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
        (XsMessage.WATCH, b"name\0token\000-3\0"),
        (XsMessage.WATCH, b"name\0token\0003\0x\0"),
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
    store.introduce(2, Guest(store, 2).connection)
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


def test_what_transactions_keep_is_limited() -> None:
    """Nodes as they were and as they are to be, of all transactions together."""
    store = Store(Quota(transaction_memory=7000))
    populate_domain(store, 1, "guest1", 65536)
    guest = Guest(store)
    guest.ask(XsMessage.WRITE, b"data/x\0" + b"x" * 1900)

    def start() -> int:
        return int(guest.ask(XsMessage.TRANSACTION_START, b"\0")[:-1])

    def read(number: int) -> bytes:
        return guest.ask(XsMessage.READ, b"data/x\0", tx_id=number)[:3]

    first, second, third, fourth = start(), start(), start(), start()
    assert [read(number) for number in (first, second, third)] == [b"xxx"] * 3
    assert read(fourth) == b"ENO"
    assert guest.ask(XsMessage.TRANSACTION_END, b"T\0", tx_id=fourth) == b"ENOMEM\0"
    assert guest.ask(XsMessage.TRANSACTION_END, b"F\0", tx_id=first) == b"OK\0"
    for _ in range(5):
        assert guest.ask(XsMessage.WRITE, b"data/x\0" + b"y" * 1900, tx_id=second) == b"OK\0", "one state"
    assert read(start()) == b"ENO"
    guest.ask(XsMessage.RESET_WATCHES, b"\0")
    assert [read(start()) for _ in range(4)] == [b"xxx", b"xxx", b"xxx", b"ENO"]


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
