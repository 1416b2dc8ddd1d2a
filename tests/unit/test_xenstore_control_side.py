"""What the control side asks of xenstore about domains and about itself, and what guests hear of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.xs_wire import XENSTORE_DOMAIN_INTERFACE, XsMessage
from paravane.devices.xenstore import Store, populate_domain
from tests.support.xenstore_guest import Guest, request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.xenstore_guest import Message


@pytest.fixture
def control(store: Store) -> Guest:
    """Somebody with the rights of domain 0."""
    return Guest(store, 0)


@pytest.fixture
def guest(store: Store) -> Guest:
    """Domain 1, which has been introduced."""
    made = Guest(store)
    store.introduce(1, made.connection)
    return made


def events(messages: Iterable[Message]) -> list[bytes]:
    return [message[3] for message in messages if message[0] == XsMessage.WATCH_EVENT]


@pytest.mark.parametrize(
    ("kind", "payload", "answer"),
    [
        (XsMessage.IS_DOMAIN_INTRODUCED, b"0\0", b"T\0"),
        (XsMessage.IS_DOMAIN_INTRODUCED, b"1\0", b"T\0"),
        (XsMessage.IS_DOMAIN_INTRODUCED, b"2\0", b"F\0"),
        (XsMessage.IS_DOMAIN_INTRODUCED, b"32752\0", b"T\0"),  # DOMID_SELF
        (XsMessage.IS_DOMAIN_INTRODUCED, b"1", b"EINVAL\0"),
        (XsMessage.RELEASE, b"0\0", b"EINVAL\0"),
        (XsMessage.RELEASE, b"x\0", b"EINVAL\0"),
        (XsMessage.RELEASE, b"2\0", b"ENOENT\0"),
        (XsMessage.RELEASE, b"1\0000\0", b"EINVAL\0"),
        (XsMessage.RESUME, b"1\0", b"OK\0"),
        (XsMessage.RESUME, b"2\0", b"ENOENT\0"),
        (XsMessage.RESUME, b"0\0", b"EINVAL\0"),
        (XsMessage.SET_TARGET, b"1\0", b"EINVAL\0"),
        (XsMessage.SET_TARGET, b"1\0002\0", b"ENOENT\0"),
        (XsMessage.SET_TARGET, b"2\0001\0", b"ENOENT\0"),
        (XsMessage.INTRODUCE, b"1\0000\0", b"EINVAL\0"),
        (XsMessage.INTRODUCE, b"1\0000\0000\0", b"EINVAL\0"),
        (XsMessage.INTRODUCE, b"1\0000\000-4\0", b"EINVAL\0"),
        (XsMessage.INTRODUCE, b"9\0000\0003\0", b"EINVAL\0"),
        (XsMessage.CONTROL, b"", b"EINVAL\0"),
        (XsMessage.CONTROL, b"help", b"EINVAL\0"),
        (XsMessage.CONTROL, b"live-update\0-s\0", b"EINVAL\0"),
        (XsMessage.CONTROL, b"logfile\0/dev/null\0", b"EINVAL\0"),
        (XsMessage.CONTROL, b"check\0", b"OK\0"),
        (XsMessage.CONTROL, b"check\0now\0", b"EINVAL\0"),
        (XsMessage.CONTROL, b"print\0hello\0", b"OK\0"),
        (XsMessage.CONTROL, b"print\0", b"EINVAL\0"),
        (XsMessage.CONTROL, b"quota\0set\0nodes\0000\0", b"EINVAL\0"),
        (XsMessage.CONTROL, b"quota\0set\0nodes\0-1\0", b"EINVAL\0"),
        (XsMessage.CONTROL, b"quota\0set\0shoes\0001\0", b"EINVAL\0"),
        (XsMessage.CONTROL, b"quota\0set\0nodes\0", b"EINVAL\0"),
        (XsMessage.CONTROL, b"quota\0007\0", b"ENOENT\0"),
        (XsMessage.CONTROL, b"quota\0001\0002\0", b"EINVAL\0"),
        (XsMessage.SET_PERMS, b"@nothing\0n0\0", b"EINVAL\0"),
        (XsMessage.SET_PERMS, b"@releaseDomain\0n7\0", b"ENOENT\0"),
    ],
)
def test_answers_of_the_control_side(
    control: Guest, guest: Guest, kind: int, payload: bytes, answer: bytes
) -> None:
    assert control.ask(kind, payload) == answer


def test_a_released_domain_is_forgotten(control: Guest, guest: Guest, store: Store) -> None:
    guest.ask(XsMessage.WRITE, b"data/x\0001")
    guest.ask(XsMessage.WATCH, b"data\0t\0")
    control.ask(XsMessage.WATCH, b"@releaseDomain\0gone\0")
    control.receive()
    control.send(request(XsMessage.RELEASE, b"1\0"))
    assert [message[0] for message in control.receive()] == [XsMessage.WATCH_EVENT, XsMessage.RELEASE]
    assert guest.closed
    assert store.find("/local/domain/1/data") is None, "it owned that"
    assert store.find("/local/domain/1/name") is not None
    assert control.ask(XsMessage.IS_DOMAIN_INTRODUCED, b"1\0") == b"F\0"
    guest.put(request(XsMessage.READ, b"name\0"))
    guest.event()
    assert guest.get("rsp_prod") == guest.get("rsp_cons"), "nobody serves it"


def test_one_that_is_introduced_again_begins_anew(control: Guest, guest: Guest, store: Store) -> None:
    assert guest.page[XENSTORE_DOMAIN_INTERFACE.offsets["server_features"]] == 6, "errors, depths of watches"
    guest.ask(XsMessage.WATCH, b"data\0t\0")
    transaction = guest.ask(XsMessage.TRANSACTION_START, b"\0")[:-1]
    guest.receive()
    guest.set("connection", 1)
    notified = guest.notified
    heard: list[str] = []
    store.watch("@introduceDomain", heard.append)
    guest.connection.introduce(guest)
    assert heard == ["@introduceDomain"], "of the watch itself"
    assert [guest.get(name) for name in ("req_cons", "req_prod", "rsp_cons", "rsp_prod")] == [0] * 4
    assert (guest.get("connection"), guest.notified) == (0, notified + 1)
    store.write("/local/domain/1/data/x", b"")
    assert guest.receive() == []
    assert guest.ask(XsMessage.READ, b"name\0", tx_id=int(transaction)) == b"ENOENT\0"
    assert guest.ask(XsMessage.READ, b"name\0") == b"guest1"
    guest.connection.release()
    guest.connection.introduce(guest)
    assert heard == ["@introduceDomain"] * 2
    assert guest.ask(XsMessage.GET_DOMAIN_PATH, b"1\0") == b"/local/domain/1\0"
    assert guest.ask(XsMessage.READ, b"name\0") == b"EACCES\0", "permissions so far meant who was released"


def test_a_domain_has_the_rights_of_the_one_it_serves(control: Guest, guest: Guest, store: Store) -> None:
    model = Guest(store, 2)
    store.introduce(2, model.connection)
    assert model.ask(XsMessage.WRITE, b"/local/domain/1/data/x\0001") == b"EACCES\0"
    assert control.ask(XsMessage.SET_TARGET, b"2\0001\0") == b"OK\0"
    assert model.ask(XsMessage.WRITE, b"/local/domain/1/data/x\0001") == b"OK\0"
    assert guest.ask(XsMessage.READ, b"/local/domain/2/data\0") == b"EACCES\0", "not the other way round"
    guest.connection.release()
    populate_domain(store, 1, "another", 1024)
    assert model.ask(XsMessage.WRITE, b"/local/domain/1/data/x\0001") == b"EACCES\0"


def test_whoever_may_hears_of_domains(control: Guest, guest: Guest, store: Store) -> None:
    other = Guest(store, 2)
    guest.ask(XsMessage.WATCH, b"@introduceDomain\0came\0")
    guest.ask(XsMessage.WATCH, b"/\0all\0")
    guest.receive()
    store.introduce(2, other.connection)
    assert guest.receive() == []
    assert control.ask(XsMessage.SET_PERMS, b"@introduceDomain\0n0\0r1\0r7\0") == b"OK\0"
    assert guest.ask(XsMessage.SET_PERMS, b"@introduceDomain\0n1\0") == b"EACCES\0"
    store.introduce(2, other.connection)
    assert events(guest.receive()) == [b"@introduceDomain\0came\0"], "and not who watches the root"
    assert control.ask(XsMessage.SET_PERMS, b"@introduceDomain\0n1\0") == b"OK\0"
    assert guest.ask(XsMessage.SET_PERMS, b"@introduceDomain\0b1\0") == b"OK\0", "it is its owner"
    store.remove_domain(1)
    assert store.rights.special["@introduceDomain"][0].domid == 0


def test_a_depth_says_whose_event_it_is(control: Guest, guest: Guest, store: Store) -> None:
    for watch in (b"@releaseDomain\0any\0", b"@releaseDomain\0whose\0001\0", b"@releaseDomain/2\0second\0"):
        assert control.ask(XsMessage.WATCH, watch) == b"OK\0"
    control.receive()
    store.shut_down(1)
    store.shut_down(1)
    assert events(control.receive()) == [b"@releaseDomain\0any\0", b"@releaseDomain/1\0whose\0"], "once"
    control.ask(XsMessage.RESUME, b"1\0")
    store.shut_down(1)
    assert len(events(control.receive())) == 2, "it was running again"
    store.remove_domain(2)
    assert events(control.receive()) == [
        b"@releaseDomain\0any\0",
        b"@releaseDomain/2\0whose\0",
        b"@releaseDomain/2\0second\0",
    ]


def test_a_watch_looks_as_deep_as_it_says(guest: Guest, store: Store) -> None:
    for depth in (b"0", b"1", b"2"):
        assert guest.ask(XsMessage.WATCH, b"data\0" + depth + b"\0" + depth + b"\0") == b"OK\0"
    guest.receive()
    for path, heard in (("data", b"012"), ("data/a", b"12"), ("data/a/b", b"2"), ("data/a/b/c", b"")):
        store.write(f"/local/domain/1/{path}", b"")
        assert b"".join(event.split(b"\0")[1] for event in events(guest.receive())) == heard, path


def test_quotas_are_shown_and_set(control: Guest, guest: Guest, store: Store) -> None:
    shown = control.ask(XsMessage.CONTROL, b"quota\0")
    assert shown.startswith(b"Quota settings:\nnodes            :     1000 Nodes per domain\n")
    guest.ask(XsMessage.WATCH, b"data\0t\0")
    assert (
        control.ask(XsMessage.CONTROL, b"quota\0001\0").split()
        == (
            b"Domain 1: nodes : %d watches : 1 transactions : 0 outstanding : 0 \0" % store.entries(1)
        ).split()
    )
    assert control.ask(XsMessage.CONTROL, b"quota\0set\0watches\0001\0") == b"OK\0"
    assert guest.ask(XsMessage.WATCH, b"data\0u\0") == b"OK\0", "one more than it says, as xenstored counts"
    assert guest.ask(XsMessage.WATCH, b"data\0v\0") == b"E2BIG\0"
    assert control.ask(XsMessage.CONTROL, b"help\0").startswith(b"check\t\n")


def test_what_is_kept_of_the_store_is_who_hears_of_domains_too(control: Guest, store: Store) -> None:
    control.ask(XsMessage.SET_PERMS, b"@releaseDomain\0n0\0r2\0")
    assert Store(state=store.save()).rights.special == store.rights.special


def test_a_broken_tree_is_told() -> None:
    store = Store()
    store.make("/a/b")
    assert list(store.check()) == []
    node = store.get("/a")
    assert node is not None
    store.put("/a", node._replace(children=()))
    assert list(store.check()) == ["/a/b is in no directory"]
