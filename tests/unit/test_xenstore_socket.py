"""Xenstore's socket: what programs of the host get there, and that none of them harms another."""

from __future__ import annotations

import select
import socket
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Image, Machine
from paravane.abi.xs_wire import XSD_SOCKMSG, XsdSockmsg, XsMessage
from paravane.devices.bus import BACKEND_PORTION
from paravane.devices.xenstore import Store, StoreSocket
from paravane.devices.xenstore.store_socket import CLIENT_LIMITS, MOST_CLIENTS
from paravane.inbox import Inbox
from tests.support.boot import HOST_TIMEOUT
from tests.support.small_machines import MEMORY
from tests.support.xenstore_client import Client
from tests.support.xenstore_guest import Guest, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


@pytest.fixture
def home(store: Store, inbox: Inbox, tmp_path: Path) -> Iterator[StoreSocket]:
    made = StoreSocket(store, tmp_path / "store", inbox)
    yield made
    made.close()


@pytest.fixture
def join(home: StoreSocket, inbox: Inbox) -> Iterator[Callable[[], Client]]:
    """Has another client come, which leaves at the end of the test."""
    clients = []

    def joined() -> Client:
        clients.append(Client(inbox, home.path))
        return clients[-1]

    yield joined
    for client in clients:
        client.socket.close()


@pytest.fixture
def client(join: Callable[[], Client]) -> Client:
    return join()


def test_a_client_has_the_rights_of_domain_0(client: Client, store: Store) -> None:
    assert client.ask(XsMessage.READ, b"/local/domain/1/name\0") == b"guest1"
    assert client.ask(XsMessage.WRITE, b"/tool/x\0bin\0ary") == b"OK\0"
    assert store.read("/tool/x") == b"bin\0ary"
    assert client.ask(XsMessage.WRITE, b"own\0here") == b"OK\0"
    assert store.read("/local/domain/0/own") == b"here", "what its relative paths are relative to"
    assert client.ask(XsMessage.IS_DOMAIN_INTRODUCED, b"1\0") == b"F\0"
    assert client.ask(XsMessage.READ, b"/nothing\0") == b"ENOENT\0"
    assert client.ask(99, b"") == b"ENOSYS\0"


def test_watches_go_from_client_to_client_to_guest_and_back(join: Callable[[], Client], store: Store) -> None:
    watcher, writer, guest = join(), join(), Guest(store)
    guest.ask(XsMessage.WATCH, b"data\0g\0")
    watcher.ask(XsMessage.WATCH, b"/local/domain/1/data\0w\0")
    for one in (watcher, guest):
        one.receive()
    writer.ask(XsMessage.WRITE, b"/local/domain/1/data\0001")
    assert watcher.receive() == [(XsMessage.WATCH_EVENT, 0, 0, b"/local/domain/1/data\0w\0")]
    assert guest.receive() == [(XsMessage.WATCH_EVENT, 0, 0, b"data\0g\0")]
    guest.ask(XsMessage.WRITE, b"data/x\0002")
    store.write("/local/domain/1/data/y", b"")
    assert [message[3] for message in watcher.receive()] == [
        b"/local/domain/1/data/x\0w\0",
        b"/local/domain/1/data/y\0w\0",
    ]


def test_a_transaction_conflicts_with_a_guest(client: Client, store: Store) -> None:
    guest = Guest(store)
    number = int(client.ask(XsMessage.TRANSACTION_START, b"\0")[:-1])
    client.ask(XsMessage.WRITE, b"/local/domain/1/data\0client", tx_id=number)
    guest.ask(XsMessage.WRITE, b"data\0guest")
    assert client.ask(XsMessage.TRANSACTION_END, b"T\0", tx_id=number) == b"EAGAIN\0"
    assert store.read("/local/domain/1/data") == b"guest"


def test_a_message_may_come_byte_by_byte(client: Client, inbox: Inbox) -> None:
    for byte in request(XsMessage.READ, b"/local/domain/1/name\0"):
        client.send(bytes([byte]))
        inbox.deliver(0)
    assert [message[3] for message in client.receive()] == [b"guest1"]


def test_who_sends_nonsense_is_sent_away_alone(join: Callable[[], Client]) -> None:
    rude, other = join(), join()
    rude.send(XSD_SOCKMSG.pack(XsdSockmsg(XsMessage.READ, 1, 0, 4097)))
    rude.receive()
    assert rude.at_end
    assert other.ask(XsMessage.READ, b"/local/domain/1/name\0") == b"guest1"


def test_who_has_said_all_still_gets_his_answers(client: Client) -> None:
    client.send(request(XsMessage.READ, b"/local/domain/1/name\0") * 40 + b"half a mess")
    client.socket.shutdown(socket.SHUT_WR)
    assert [message[3] for message in client.receive()] == [b"guest1"] * 40
    assert client.at_end


def test_who_leaves_in_the_middle_is_forgotten(join: Callable[[], Client], store: Store) -> None:
    client, other = join(), join()
    client.ask(XsMessage.WATCH, b"/tool\0t\0")
    client.send(request(XsMessage.WRITE, b"/tool/x\0" + b"x" * 1000)[:500])
    client.socket.close()
    other.ask(XsMessage.WRITE, b"/tool/y\0")
    other.receive()
    assert not store.watches
    assert store.find("/tool/x") is None


def test_who_does_not_read_is_kept_within_bounds(join: Callable[[], Client], store: Store) -> None:
    slow, other = join(), join()
    slow.ask(XsMessage.WATCH, b"/tool\0" + b"t" * 3000 + b"\0")
    name = "n" * 200
    for number in range(2 * CLIENT_LIMITS.queued_events // 3200):
        store.write(f"/tool/{name}{number}", b"")
    assert other.ask(XsMessage.READ, b"/local/domain/1/name\0") == b"guest1"
    events = slow.receive()
    assert 0 < len(events) * 3200 < CLIENT_LIMITS.queued_events + (1 << 20), "the rest was dropped"
    assert slow.ask(XsMessage.READ, b"/local/domain/1/name\0") == b"guest1", "he can come back"


def test_answers_that_nobody_reads_are_not_made(client: Client, inbox: Inbox, store: Store) -> None:
    store.write("/tool/long", b"x" * 4000)
    asked = request(XsMessage.READ, b"/tool/long\0")
    sent = 0
    while sent < 20_000:
        try:
            sent += client.socket.send(asked) == len(asked)
        except BlockingIOError:
            if not inbox.deliver(0):
                break
    assert sent < 20_000, "he is not listened to any more"
    assert not inbox.deliver(0), "nor is anybody kept busy by him"
    assert len(client.receive()) == sent


def test_a_flood_leaves_others_their_turn(join: Callable[[], Client], inbox: Inbox) -> None:
    flood, other = join(), join()
    flood.send(request(XsMessage.WRITE, b"/tool/x\0" + b"x" * 100) * 300)
    other.send(request(XsMessage.READ, b"/local/domain/1/name\0"))
    rounds = 0
    while not other.read():
        inbox.deliver(0)
        flood.read()
        rounds += 1
    assert rounds <= 4, "two of them to come in, one for each"


def test_one_turn_does_no_more_than_a_portion(join: Callable[[], Client], inbox: Inbox, store: Store) -> None:
    clients = [join() for _ in range(50)]
    inbox.deliver(0)
    for client in clients:
        client.send(request(XsMessage.MKDIR, b"/tool/a/b/c/d\0") * 8)
    before = store.steps
    inbox.deliver(0)
    assert 0 < store.steps - before <= BACKEND_PORTION
    for client in clients:
        assert len(client.receive()) == 8


def test_hundreds_come_and_the_last_of_them_wait(join: Callable[[], Client], inbox: Inbox) -> None:
    clients = []
    for _ in range(MOST_CLIENTS):
        clients.append(join())
        inbox.deliver(0)
    late = join()
    late.send(request(XsMessage.READ, b"/local/domain/1/name\0"))
    assert late.receive() == []
    assert clients[0].ask(XsMessage.READ, b"/local/domain/1/name\0") == b"guest1"
    clients[1].socket.close()
    assert [message[3] for message in late.receive()] == [b"guest1"]


def test_the_socket_is_its_users_alone_and_goes_with_the_store(
    home: StoreSocket, client: Client, inbox: Inbox
) -> None:
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o600
    client.ask(XsMessage.WATCH, b"/tool\0t\0")
    home.close()
    home.close()
    client.read()
    assert client.at_end
    assert not home.path.exists()
    assert not inbox.watching


def test_a_place_that_is_taken_is_left_alone(home: StoreSocket, inbox: Inbox, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="somebody listens there already"):
        StoreSocket(home.store, home.path, inbox)
    assert home.path.exists()
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(OSError, match="no socket"):
        StoreSocket(home.store, file, inbox)
    assert file.read_text() == "mine"


def test_what_a_dead_process_left_is_replaced(store: Store, inbox: Inbox, tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(tmp_path / "store"))
    left.close()
    StoreSocket(store, tmp_path / "store", inbox).close()


def test_a_client_wakes_a_machine_that_has_nothing_to_do(
    hello: Image, machine: Machine, tmp_path: Path
) -> None:
    """All domains are paused and no timer is armed: only the client's coming ends the wait."""
    domain = machine.create(hello, DomainConfig(memory=MEMORY), paused=True)
    path = machine.serve_store(tmp_path / "store").path
    heard: list[bytes] = []

    def client() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(path))
            connection.sendall(request(XsMessage.READ, f"/local/domain/{domain.domid}/domid\0".encode()))
            heard.append(connection.recv(100))
        machine.post(machine.interrupt)

    thread = threading.Thread(target=client)
    thread.start()
    machine.run(timeout=HOST_TIMEOUT)
    thread.join()
    assert heard == [XSD_SOCKMSG.pack(XsdSockmsg(XsMessage.READ, 7, 0, 1)) + b"1"]


def test_the_socket_closes_with_the_machine(hello: Image, tmp_path: Path) -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        machine.create(hello, DomainConfig(memory=MEMORY))
        machine.serve_store(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_domain_is_introduced_over_another_port(hello: Image, machine: Machine, tmp_path: Path) -> None:
    domain = machine.create(hello, DomainConfig(memory=MEMORY), paused=True)
    path = machine.serve_store(tmp_path / "store").path
    port = domain.events.alloc_unbound(domain.domid, 0)
    with Client(machine._inbox, path) as client:
        assert client.ask(XsMessage.INTRODUCE, b"1\0000\0%d\0" % port) == b"OK\0"
        assert domain.events.connected(port)
        assert client.ask(XsMessage.INTRODUCE, b"1\0000\0%d\0" % port) == b"OK\0", "which is free again"
        assert domain.events.connected(port)
        assert client.ask(XsMessage.RELEASE, b"1\0") == b"OK\0"
        assert not domain.events.connected(port)
        assert client.ask(XsMessage.IS_DOMAIN_INTRODUCED, b"1\0") == b"F\0"
        assert client.ask(XsMessage.INTRODUCE, b"1\0000\00077\0") == b"EINVAL\0", "there is no such port"
        assert client.ask(XsMessage.INTRODUCE, b"1\0000\0%d\0" % port) == b"OK\0"
        assert client.ask(XsMessage.INTRODUCE, b"1\0000\00077\0") == b"OK\0", "as with xenstored"
        assert client.ask(XsMessage.IS_DOMAIN_INTRODUCED, b"1\0") == b"T\0"
        assert client.ask(XsMessage.RELEASE, b"1\0") == b"OK\0"
        assert domain.store is not None
        domain.store.close()
        assert client.ask(XsMessage.INTRODUCE, b"1\0000\0%d\0" % port) == b"EINVAL\0", "it is as good as gone"
    machine.destroy(domain)
    assert machine.store.find("/local/domain/1") is None, "nothing is left of a domain that was released"


def test_who_asks_and_waits_in_turn_is_answered_several_times_a_turn(
    client: Client, inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(XsMessage.MKDIR, b"/tool/a\0")
    heard = []

    def asks_at_once(*_: object) -> tuple[list[int], list[int], list[int]]:
        """He has his answer, and his next request comes before the moment is over."""
        client.read()
        heard.append(len(client.input))
        client.socket.send(asked)
        return [1], [], []

    inbox.deliver(0)
    monkeypatch.setattr(select, "select", asks_at_once)
    client.socket.send(asked)
    before = store.steps
    inbox.deliver(0)
    assert len(heard) > 10
    assert heard == [19 * (at + 1) for at in range(len(heard))], "an answer before each request"
    assert store.steps - before <= BACKEND_PORTION, "but no more than a portion"


def test_a_domain_that_ends_is_announced_while_it_is_still_there(hello: Image, machine: Machine) -> None:
    heard: list[str] = []
    machine.store.watch("@releaseDomain", heard.append)
    domain = machine.create(hello, DomainConfig(memory=MEMORY))
    heard.clear()
    machine.run(timeout=HOST_TIMEOUT)
    assert heard == ["@releaseDomain"]
    assert machine.domains[domain.domid] is domain
    machine.destroy(domain)
    assert heard == ["@releaseDomain"] * 2
