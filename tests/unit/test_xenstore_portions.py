"""What one request of xenstore may cost, and that a costly one keeps nobody else waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.xs_wire import XsMessage
from paravane.devices.bus import BACKEND_PORTION, Bus
from tests.support.xenstore_guest import Guest, request

if TYPE_CHECKING:
    from paravane.devices.xenstore import Store

LARGEST_ITEM = 4096
"""Units by which one item may overdraw a portion: a request that touches all the nodes its quota allows."""


def guests(store: Store) -> tuple[Bus, Guest, Guest]:
    """A guest that is about to ask for much, and its neighbour, on one bus."""
    bus = Bus()
    return bus, Guest(store, 1, bus=bus), Guest(store, 2, bus=bus)


def portions(bus: Bus) -> list[int]:
    """Let the backends work until nothing is due: what each portion took."""
    taken = []
    while bus.due:
        taken.append(bus.turn())
    return taken


def test_a_large_commit_under_many_watches_is_told_in_portions(store: Store) -> None:
    bus, busy, neighbour = guests(store)
    names = [f"data/{number // 32:02}/{number % 32:02}".encode() for number in range(400)]
    for name in names:
        busy.ask(XsMessage.WRITE, name + b"\0")
    for number in range(40):
        busy.ask(XsMessage.WATCH, b"data\0t%d\0" % number)
    transaction = int(busy.ask(XsMessage.TRANSACTION_START, b"\0")[:-1])
    for name in names:
        busy.ask(XsMessage.WRITE, name + b"\0new", tx_id=transaction)
    busy.put(request(XsMessage.TRANSACTION_END, b"T\0", tx_id=transaction))
    bus.call(busy.connection)
    assert bus.turn() <= BACKEND_PORTION + LARGEST_ITEM
    assert store.read("/local/domain/1/data/00/00") == b"new", (
        "a commit is one item, whatever follows from it"
    )
    neighbour.put(request(XsMessage.READ, b"name\0"))
    bus.call(neighbour.connection)
    bus.turn()
    neighbour.take()
    assert neighbour.input.endswith(b"guest2"), "one turn is enough for a neighbour"
    taken = portions(bus)
    assert len(taken) > 30
    assert max(taken) <= BACKEND_PORTION + LARGEST_ITEM
    messages = busy.receive()
    # The answer comes when everybody has been told.
    assert messages[-1] == (XsMessage.TRANSACTION_END, 7, transaction, b"OK\0")
    assert {message[3].split(b"\0")[1] for message in messages[:-1]} == {b"t%d" % n for n in range(40)}


def test_a_deep_chain_and_its_removal_are_bounded(store: Store) -> None:
    bus, busy, _ = guests(store)
    owned = store.entries(1)
    deep = b"data" + b"/a" * 960
    assert busy.ask(XsMessage.WRITE, deep + b"\0v") == b"OK\0"
    busy.ask(XsMessage.WATCH, b"data\0t\0")
    busy.put(request(XsMessage.RM, b"data/a\0"))
    bus.call(busy.connection)
    assert max(portions(bus)) <= BACKEND_PORTION + LARGEST_ITEM
    assert store.find("/local/domain/1/data/a") is None
    assert store.entries(1) == owned


def test_a_guest_that_goes_away_in_the_middle_is_still_heard_of(store: Store) -> None:
    bus, busy, neighbour = guests(store)
    store.make("/local/domain/1/data", "n1", "r2")
    for number in range(500):
        busy.ask(XsMessage.MKDIR, b"data/%d\0" % number)
        busy.ask(XsMessage.SET_PERMS, b"data/%d\0n1\0r2\0" % number)
    neighbour.ask(XsMessage.WATCH, b"/local/domain/1/data\0t\0")
    transaction = int(busy.ask(XsMessage.TRANSACTION_START, b"\0")[:-1])
    for number in range(500):
        busy.ask(XsMessage.WRITE, b"data/%d\0new" % number, tx_id=transaction)
    neighbour.receive()
    busy.put(request(XsMessage.TRANSACTION_END, b"T\0", tx_id=transaction))
    bus.call(busy.connection)
    bus.turn()
    busy.connection.close()
    heard = {message[3].split(b"\0")[0] for message in neighbour.receive()}
    assert heard == {b"/local/domain/1/data/%d" % number for number in range(500)}


def test_the_host_hears_once_of_what_a_guest_does_often(store: Store) -> None:
    bus, busy, _ = guests(store)
    heard: list[str] = []
    store.watch("/local/domain/1/data", heard.append)
    heard.clear()
    wanted = request(XsMessage.WRITE, b"data/x\0v")
    for _ in range(40):
        busy.put(wanted)
    bus.call(busy.connection)
    taken = portions(bus)
    assert set(heard) == {"/local/domain/1/data/x"}
    assert 0 < len(heard) <= 40
    assert max(taken) <= BACKEND_PORTION + LARGEST_ITEM
