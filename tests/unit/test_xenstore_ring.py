"""The two rings that xenstore's messages cross: whole, in pieces, and with indices that cannot be."""

from __future__ import annotations

import logging

import pytest

from paravane.abi.xs_wire import (
    XSD_SOCKMSG,
    XenstoreError,
    XsdSockmsg,
    XsMessage,
)
from paravane.devices.xenstore import Quota, Store, populate_domain
from tests.support.xenstore_guest import Guest, request


@pytest.fixture
def guest(store: Store) -> Guest:
    return Guest(store)


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
    assert 20 <= sent < 80, "the request ring fills up once 20 replies are unfetched"
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
