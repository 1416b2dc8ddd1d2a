"""Network interfaces whose frontends do not keep to the protocol."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest

from paravane.abi.netif import NetifRsp, NetTxFlag
from paravane.abi.xenbus import XenbusState
from tests.support.lan import Lan, closed, plain

if TYPE_CHECKING:
    from tests.support.netfront import Netfront


OKAY, ERROR = NetifRsp.OKAY, NetifRsp.ERROR


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        ({"request-rx-copy": "0", "feature-rx-flip": "0"}, "neither copied into nor exchanged"),
        ({"multi-queue-num-queues": "9"}, "9 queues"),
        ({"multi-queue-num-queues": "0"}, "0 queues"),
        ({"tx-ring-ref": "999999"}, "cannot be mapped"),
        ({"rx-ring-ref": "x"}, "is no number"),
        ({"event-channel": "77"}, "cannot be bound"),
        ({"feature-sg": "-1"}, "is no number"),
    ],
)
def test_a_frontend_that_cannot_connect_is_told_why(
    pair: tuple[Netfront, Netfront], nodes: dict[str, str], sentence: str
) -> None:
    one, other = pair
    one.switch(XenbusState.Closed)
    for name, value in nodes.items():
        one.write(name, value)
    one.switch(XenbusState.Connected)
    assert closed(one, sentence)
    other.send(plain(other))
    assert other.backend_state is XenbusState.Connected


def slot(front: Netfront, flags: int = 0, size: int = 60, offset: int = 0, ref: int | None = None) -> bytes:
    gref = front.buffer[0] if ref is None else ref
    return struct.pack("<IHHHH", gref, offset, flags, 7, size)


EXTRA, MORE = NetTxFlag.extra_info, NetTxFlag.more_data


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        ([(MORE, 60)], "ends before its last slot"),
        ([(EXTRA, 60)], "ends before its last slot"),
        ([(EXTRA, 60), bytes(12)], "type 0"),
        ([(EXTRA, 60), b"\x09" + bytes(11)], "type 9"),
        ([(EXTRA, 60), struct.pack("<BBHBBHI", 1, 0, 0, 1, 0, 0, 0)], "segments of 0 bytes"),
        ([(EXTRA, 60), struct.pack("<BBHBBHI", 1, 0, 100, 3, 0, 0, 0)], "segments of type 3"),
        ([(EXTRA, 60), struct.pack("<BBHBBHI", 1, 1, 100, 1, 0, 0, 0)], "ends before its last slot"),
        ([(0, 5000)], "over the end of a page"),
        ([(MORE, 5000), (0, 10)], "over the end of a page"),
        ([(MORE, 5000)] * 21, "more than 20 slots"),
    ],
)
def test_slots_that_are_no_packet_close_the_device(
    pair: tuple[Netfront, Netfront], slots: list[Any], sentence: str
) -> None:
    one, other = pair
    for entry in slots:
        one.tx.put(entry if isinstance(entry, bytes) else slot(one, *entry))
    one.event()
    assert closed(one, sentence)
    assert other.send(plain(other)) == [OKAY]
    one.switch(XenbusState.Initialising)
    assert one.connect() is XenbusState.Connected
    assert one.send(plain(one)) == [OKAY]


@pytest.mark.parametrize(
    "slots",
    [
        [{"size": 13}],
        [{"size": 0}],
        [{"ref": 0xFFFF_FFFF}],
        [{"flags": MORE, "size": 100}, {"size": 101}],
        [{"flags": MORE, "size": 60000}] + [{"flags": MORE, "size": 100}] * 17 + [{"size": 100}],
    ],
    ids=["short", "empty", "no-reference", "negative-first", "nineteen"],
)
def test_a_packet_that_cannot_be_sent_is_answered_with_an_error(
    pair: tuple[Netfront, Netfront], slots: list[dict[str, int]]
) -> None:
    one, other = pair
    for fields in slots:
        one.tx.put(slot(one, **fields))
    one.event()
    assert one.statuses() == [ERROR] * len(slots)
    assert one.send(plain(one)) == [OKAY]
    assert other.received() == [plain(one)]


def test_a_page_that_cannot_be_written_is_answered_with_an_error(
    pair: tuple[Netfront, Netfront], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    other.revoke(other.posted[0][0])
    one.send(plain(one))
    one.send(plain(one))
    statuses = [struct.unpack_from("<HHHh", entry)[3] for entry in other.rx.take()]
    assert statuses == [ERROR, 60]
    assert "vif/0: a frame cannot be received: " in caplog.text


@pytest.mark.parametrize("ring", ["tx", "rx"])
def test_an_impossible_ring_closes_its_own_device_only(pair: tuple[Netfront, Netfront], ring: str) -> None:
    """The receive ring is found out by the neighbour's frame, in the middle of the neighbour's work."""
    one, other = pair
    getattr(other, ring).set("req_prod", 0x8000_0000)
    if ring == "tx":
        other.event()
    assert one.send(plain(one)) == [OKAY]
    assert closed(other, "its ring is impossible")
    assert one.backend_state is XenbusState.Connected


def test_transmitters_have_their_turns(lan: Lan) -> None:
    """Who floods the network keeps nobody from it: each has a portion, in turn."""
    flooding, quiet, other = lan("", "", "")
    for front in (flooding, quiet, other):
        front.connect(posted=200)
    for _ in range(200):
        flooding.request(plain(flooding))
    flooding.domain.events.send(flooding.port)
    quiet.request(plain(quiet))
    quiet.domain.events.send(quiet.port)
    bus = flooding.machine.platform.bus
    bus.turn()
    assert quiet.statuses() == [OKAY]
    assert 0 < len(flooding.statuses()) < 100
    flooding.serve()
