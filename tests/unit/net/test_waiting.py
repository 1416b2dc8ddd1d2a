"""Frames that wait: for a guest's pages, for the credit of a rate."""

from __future__ import annotations

import pytest

from paravane.abi.netif import NetifRsp
from paravane.devices.net.receiver import MOST_QUEUED, PATIENCE, POLL
from paravane.refusal import Refusal
from tests.support.lan import Lan, let_time_pass, plain
from tests.support.netfront import PAGE, Netfront

OKAY = NetifRsp.OKAY


def test_frames_wait_for_pages_and_what_is_too_much_is_lost(pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    frames = [plain(one, size=1500)[:-2] + number.to_bytes(2, "big") for number in range(300)]
    for frame in frames:
        assert one.send(frame) == [OKAY]
    got = other.received()
    assert got == frames[:32]
    while other.rx.get("rsp_prod") < 32 + MOST_QUEUED // 1500:
        other.post(32)
        got += other.received()
    other.post(64)
    got += other.received()
    assert got == frames[: 32 + MOST_QUEUED // 1500]
    assert other.device.received.dropped == 300 - len(got)


def test_a_large_frame_waits_until_all_its_pages_are_there(pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    for _ in range(31):
        one.send(plain(one))
    frame = plain(one, size=3 * PAGE)
    one.send(frame)
    assert len(other.received()) == 31
    other.post(1)
    assert other.received() == []
    assert other.rx.get("req_event") == other.rx.produced + 1
    other.post(1)
    assert other.received() == [frame]


def test_a_rate_holds_a_sender_back(lan: Lan) -> None:
    one, other = lan("rate=20KB/s@50ms", "")  # 1000 bytes each time
    one.connect()
    other.connect()
    told: list[str] = []
    lan.machine.platform.bus.observers.ring = lambda *args: told.append(f"{args[1]} {args[3]}")
    for _ in range(3):
        one.request(plain(one, size=500))
    one.event()
    assert len(one.statuses()) == 2
    assert let_time_pass(one) <= 50_000_000
    assert one.statuses() == [OKAY]
    assert len(other.received()) == 3
    # One that waits is taken from the ring once.
    assert told.count("request tx") == told.count("response tx") == 3


def test_a_rate_is_changed_while_connected(lan: Lan) -> None:
    """By the control side, in the node of the backend that xl writes; what is no rate is no limit."""
    one, other = lan("", "")
    one.connect()
    other.connect(posted=100)
    store = one.machine.store

    def passed(rate: str | None) -> int:
        """How many of ten frames of 500 bytes go at once."""
        if rate is None:
            store.remove(f"{one.back}/rate")
        else:
            store.write(f"{one.back}/rate", rate)
        for _ in range(10):
            one.request(plain(one, size=500))
        one.event()
        at_once = len(one.statuses())
        while one.tx.consumed != one.tx.produced:
            let_time_pass(one)
            one.statuses()
        return at_once

    assert [passed(rate) for rate in ("1000,50000", "2000,50000", "fast", "500,50000", None)] == [
        2,
        4,
        10,
        1,
        10,
    ]
    with pytest.raises(Refusal):
        store.access(one.domain.domid).write(f"{one.back}/rate", b"1000000,1")


def test_frames_that_have_waited_too_long_are_lost(pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    for _ in range(34):
        one.send(plain(one))
    assert other.device.received.dropped == 0
    assert let_time_pass(one) <= PATIENCE
    assert other.device.received.dropped == 2
    assert len(other.received()) == 32
    other.post(1)
    one.send(plain(one, size=61))
    assert [len(frame) for frame in other.received()] == [61]


def test_pages_are_looked_for_where_no_event_tells_of_them(lan: Lan) -> None:
    """A frontend without `feature-rx-notify` posts pages in silence."""
    one, other = lan("", "")
    one.connect()
    other.connect("request-rx-copy", posted=1)
    for size in (60, 61, 62):
        one.send(plain(one, size=size))
    assert [len(frame) for frame in other.received()] == [60]
    other.post(1, silently=True)
    assert other.received() == []
    assert let_time_pass(one) <= POLL
    assert [len(frame) for frame in other.received()] == [61]
    assert other.device.received.dropped == 1  # the other one had its chance
