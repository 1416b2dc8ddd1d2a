"""Xenstore against xenstored 4.17 itself: domain 0 and two guests ask both, and both answer the same."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paravane.abi.xs_wire import XENSTORE_PAYLOAD_MAX, XsMessage
from paravane.devices.xenstore import Store
from tests.support.xenstore_guest import Guest, request
from tests.support.xenstored import Xenstored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.xenstored import Answer, RingClient, SocketClient

DOMAINS = (1, 2)
STEPS = 250

KINDS = (
    *(XsMessage.DIRECTORY, XsMessage.READ, XsMessage.GET_PERMS, XsMessage.WATCH, XsMessage.UNWATCH),
    *(XsMessage.TRANSACTION_START, XsMessage.TRANSACTION_END, XsMessage.GET_DOMAIN_PATH),
    *(XsMessage.WRITE, XsMessage.WRITE, XsMessage.WRITE, XsMessage.MKDIR, XsMessage.RM, XsMessage.SET_PERMS),
    *(XsMessage.SET_PERMS, XsMessage.IS_DOMAIN_INTRODUCED, XsMessage.RESET_WATCHES, XsMessage.CONTROL),
    *(XsMessage.SET_TARGET, XsMessage.RESUME, 20, 23),
)
ONE_PATH = {XsMessage.READ, XsMessage.DIRECTORY, XsMessage.GET_PERMS, XsMessage.MKDIR, XsMessage.RM}
"""Without their one string, xenstored answers these with whatever errno was left by something else."""

NAMES = (b"a", b"b", b"c", b"data", b"d-_@9", b"x" * 300)
FRONTS = (b"", b"data/", b"data/", b"/tool/", b"/local/domain/1/", b"/local/domain/2/data/")
ODD_PATHS = (
    *(b"/", b"", b"//", b"/a/", b"a//b", b"/a b", b"@releaseDomain", b"@introduceDomain", b"@x", b"/@x"),
    *(b"y" * 2047, b"y" * 2049, b"/" + b"y" * 2047, b"/" + b"y" * 2048, b"name", b"control/shutdown"),
)
NUMBERS = (b"0", b"1", b"2", b"7", b"-1", b"32752", b"x", b"")
VALUES = (b"", b"v", b"v\0w", b"v" * 1900, b"v" * 2100)


class Program:
    """Requests as a seed has them: mostly sensible, some not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def path(self) -> bytes:
        one = self.random
        if one.random() < 0.15:
            return one.choice(ODD_PATHS)
        depth = one.choice((1, 1, 2, 2, 3))
        path = b"/".join(one.choice(NAMES) for _ in range(depth))
        front = one.choice(
            (b"", b"data/", b"data/", b"/tool/", b"/local/domain/1/", b"/local/domain/2/data/")
        )
        return front + path

    def payload(self, kind: int, domid: int) -> bytes:
        one = self.random
        path = self.path()
        if kind == XsMessage.SET_PERMS and path.startswith(b"@") and (domid or path == b"@x"):
            path = b"data"  # xenstored 4.17 refuses that with whatever errno is left, and aborts if that is 0
        parts = {
            XsMessage.WRITE: lambda: [path, one.choice(VALUES)],
            XsMessage.WATCH: lambda: [path, one.choice((b"t", b"u", b"")), b""],
            XsMessage.UNWATCH: lambda: [path, one.choice((b"t", b"u", b"")), b""],
            XsMessage.TRANSACTION_START: lambda: [b"", b""],
            XsMessage.TRANSACTION_END: lambda: [one.choice((b"T", b"T", b"F", b"", b"X")), b""],
            XsMessage.GET_DOMAIN_PATH: lambda: [one.choice(NUMBERS), b""],
            XsMessage.IS_DOMAIN_INTRODUCED: lambda: [one.choice(NUMBERS), b""],
            XsMessage.RESUME: lambda: [one.choice(NUMBERS), b""],
            XsMessage.SET_TARGET: lambda: [one.choice(NUMBERS[2:]), one.choice(NUMBERS[2:]), b""],
            XsMessage.CONTROL: lambda: [one.choice((b"check", b"print", b"nothing", b"")), b""],
            XsMessage.SET_PERMS: lambda: [path, *self.permissions(), b""],
            XsMessage.RESET_WATCHES: lambda: [b"", b""],
        }.get(XsMessage(kind) if kind in set(XsMessage) else XsMessage.INVALID, lambda: [path, b""])()
        payload = b"\0".join(parts)
        if kind not in ONE_PATH and one.random() < 0.04:
            more = b"z" if kind == XsMessage.WATCH else b"\0"  # a depth is for later versions
            payload = one.choice((payload[:-1], payload + b"z", payload + more, payload.replace(b"\0", b"")))
        return payload[:XENSTORE_PAYLOAD_MAX]

    def permissions(self) -> list[bytes]:
        one = self.random
        count = one.choice((1, 1, 2, 2, 3, 5, 6))
        return [
            one.choice((b"n", b"r", b"w", b"b", b"b", b"q")) + one.choice(NUMBERS[:4]) for _ in range(count)
        ]

    def kind(self) -> int:
        return self.random.choice(KINDS)


class Ours:
    """A guest of our store, seen as one of xenstored's."""

    def __init__(self, store: Store, domid: int) -> None:
        self.guest = Guest(store, domid)

    def exchange(self, kind: int, payload: bytes, tx_id: int = 0) -> list[Answer]:
        self.guest.send(request(kind, payload, tx_id, req_id=kind))
        return [(message[0], message[3]) for message in self.guest.receive()]


Pair = tuple["SocketClient | RingClient", Ours]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Xenstored]:
    folder: Path = tmp_path_factory.mktemp("xenstored")
    made = Xenstored(folder, DOMAINS)
    yield made
    made.close()


@pytest.fixture
def pairs(daemon: Xenstored) -> Iterator[list[Pair]]:
    """Domain 0, 1 and 2, on either side, and the same tree."""
    control, store = daemon.client(), Store()
    found: list[Pair] = [(control, Ours(store, 0))]
    for domid in DOMAINS:
        store.add_domain(domid)
        found.append((daemon.guest(domid, control), Ours(store, domid)))
        store.introduce(domid, found[-1][1].guest.connection)
    for domid in DOMAINS:
        home = b"/local/domain/%d" % domid
        both(found[0], XsMessage.MKDIR, home + b"\0")
        both(found[0], XsMessage.SET_PERMS, home + b"\0n0\0r%d\0" % domid)
        both(found[0], XsMessage.MKDIR, home + b"/data\0")
        both(found[0], XsMessage.SET_PERMS, home + b"/data\0n%d\0" % domid)
    yield found
    for kind, payload in ((XsMessage.RM, b"/local\0"), (XsMessage.RM, b"/tool\0")):
        control.exchange(kind, payload)
    control.exchange(XsMessage.MKDIR, b"/tool/xenstored\0")
    for event in (b"@releaseDomain", b"@introduceDomain"):
        control.exchange(XsMessage.SET_PERMS, event + b"\0n0\0")
    for domid in DOMAINS:
        control.exchange(XsMessage.RELEASE, b"%d\0" % domid)
    control.close()


def both(pair: Pair, kind: int, payload: bytes, tx_id: int = 0) -> tuple[list[Answer], list[Answer]]:
    """What xenstored says to a request, and what we do."""
    return pair[0].exchange(kind, payload, tx_id), pair[1].exchange(kind, payload, tx_id)


@pytest.mark.parametrize("seed", range(3))
def test_both_answer_the_same(pairs: list[Pair], seed: int) -> None:
    """Answers and events, in their order, byte for byte."""
    program, asked = Program(seed), []
    for _ in range(STEPS):
        domid = program.random.choice((0, 1, 1, 2))
        kind = program.kind()
        payload = program.payload(kind, domid)
        tx_id = program.random.choice((0, 0, 0, 0, 1, 2, 3, 4))
        if kind == XsMessage.RESET_WATCHES:
            tx_id = 0  # xenstored 4.17 aborts when one of its transactions is reset inside itself
        asked.append((domid, kind, tx_id, payload[:80]))
        theirs, ours = both(pairs[domid], kind, payload, tx_id)
        for pair in (pairs[domid], *pairs):
            # What a watch tells at once comes after its answer, and other clients' events whenever they ask.
            more = both(pair, XsMessage.GET_DOMAIN_PATH, b"1\0")
            theirs += more[0]
            ours += more[1]
        assert ours == theirs, asked[-6:]


def limits() -> Iterator[tuple[int, bytes]]:
    """Requests by which a guest runs into each of its quotas, from just below."""
    for size in (*range(1990, 2030), *range(2040, 2052)):
        yield XsMessage.WRITE, b"data/size\0" + b"v" * size
    for count in range(1, 7):
        yield XsMessage.SET_PERMS, b"data/size\0n1\0" + b"r2\0" * (count - 1)
    for number in range(131):
        yield XsMessage.WATCH, b"data\0%d\0" % number
    yield XsMessage.RESET_WATCHES, b"\0"
    for _ in range(13):
        yield XsMessage.TRANSACTION_START, b"\0"
    yield XsMessage.RESET_WATCHES, b"\0"
    for number in range(34):  # each with 30 nodes above it
        yield XsMessage.MKDIR, b"data/%d/" % number + b"/".join([b"n"] * 29) + b"\0"
    for number in range(31):
        yield XsMessage.MKDIR, b"data/more%d\0" % number
    yield XsMessage.WRITE, b"data/more0\0there is no new node in this"
    yield XsMessage.RM, b"data/0\0"
    yield XsMessage.MKDIR, b"data/again\0"


def test_both_have_the_same_limits(pairs: list[Pair]) -> None:
    refused = set()
    for kind, payload in limits():
        theirs, ours = both(pairs[1], kind, payload)
        more = both(pairs[1], XsMessage.GET_DOMAIN_PATH, b"1\0")
        assert ours + more[1] == theirs + more[0], (kind, payload[:40], len(payload))
        if theirs[-1][0] == XsMessage.ERROR:
            refused.add((kind, theirs[-1][1]))
    assert refused == {
        (XsMessage.WRITE, b"ENOSPC\0"),
        (XsMessage.SET_PERMS, b"ENOSPC\0"),
        (XsMessage.WATCH, b"E2BIG\0"),
        (XsMessage.TRANSACTION_START, b"ENOSPC\0"),
        (XsMessage.MKDIR, b"ENOSPC\0"),
    }


def test_long_directories_come_in_the_same_parts(pairs: list[Pair]) -> None:
    """But for the generation at the front of each, which counts what the daemon has done before."""
    for number in range(150):
        both(pairs[0], XsMessage.MKDIR, b"/tool/many/%03d" % number + b"x" * 40 + b"\0")
    theirs, ours = both(pairs[0], XsMessage.DIRECTORY, b"/tool/many\0")
    assert ours == theirs == [(XsMessage.ERROR, b"E2BIG\0")]
    for offset in (0, 44, 4000, 6555, 6556, 6599, 6600, 6601):
        theirs, ours = both(pairs[0], XsMessage.DIRECTORY_PART, b"/tool/many\0%d\0" % offset)
        parts = [answer[0][1].partition(b"\0") for answer in (theirs, ours)]
        # A longer number leaves less room for names.
        wide = max(len(generation) for generation, _, _ in parts)
        names = [part[: 4096 - wide - 50] for _, _, part in parts]
        assert names[0] == names[1], offset
        assert parts[0][2].endswith(b"\0\0") == parts[1][2].endswith(b"\0\0"), offset
