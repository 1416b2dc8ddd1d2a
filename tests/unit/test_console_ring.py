"""The console backend: bytes in both directions, whatever the guest does to the indices."""

from __future__ import annotations

import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paravane.abi.console import XENCONS_IN_SIZE, XENCONS_INTERFACE, XENCONS_OUT_SIZE
from paravane.devices.bus import Budget
from paravane.devices.console import BACKLOG, Console, Sink

_OFFSETS = XENCONS_INTERFACE.offsets


class FakePort:
    def __init__(self) -> None:
        self.notified = 0
        self.closed = False

    def notify(self) -> None:
        self.notified += 1

    def close(self) -> None:
        self.closed = True


class Guest:
    """A frontend that does it right, for as long as the test lets it."""

    def __init__(self, start: int = 0, sink: Sink | None = None) -> None:
        self.page = memoryview(bytearray(4096))
        self.words = self.page.cast("I")
        self.port = FakePort()
        self.output = bytearray()
        for name in ("in_cons", "in_prod", "out_cons", "out_prod"):
            self.set(name, start)
        self.console = Console(self.page, self.port, sink or self.output.extend)

    def event(self) -> None:
        self.console.serve(Budget())

    def get(self, name: str) -> int:
        return int(self.words[_OFFSETS[name] >> 2])

    def set(self, name: str, value: int) -> None:
        self.words[_OFFSETS[name] >> 2] = value & 0xFFFF_FFFF

    def write(self, data: bytes) -> None:
        for byte in data:
            producer = self.get("out_prod")
            self.page[_OFFSETS["out"] + producer % XENCONS_OUT_SIZE] = byte
            self.set("out_prod", producer + 1)

    def read(self, limit: int = 1 << 30) -> bytes:
        data = bytearray()
        while self.get("in_cons") != self.get("in_prod") and len(data) < limit:
            consumer = self.get("in_cons")
            data.append(self.page[_OFFSETS["in_"] + consumer % XENCONS_IN_SIZE])
            self.set("in_cons", consumer + 1)
        return bytes(data)


@pytest.mark.parametrize("start", [0, 2047, 0xFFFF_FF00])
def test_output_comes_out_unaltered_across_wraps(start: int) -> None:
    guest = Guest(start)
    sent = bytes(range(256)) * 20
    for at in range(0, len(sent), 1500):
        guest.write(sent[at : at + 1500])
        guest.event()
        assert guest.get("out_cons") == guest.get("out_prod")
    assert guest.output == sent
    assert guest.port.notified == 4


def test_a_full_output_ring_is_taken_whole() -> None:
    guest = Guest(100)
    guest.write(b"x" * XENCONS_OUT_SIZE)
    guest.event()
    assert guest.output == b"x" * XENCONS_OUT_SIZE


def test_an_event_without_news_is_not_answered() -> None:
    guest = Guest()
    guest.event()
    assert guest.port.notified == 0


@pytest.mark.parametrize("start", [0, 1000, 0xFFFF_FFF0])
def test_input_waits_for_room(start: int) -> None:
    guest = Guest(start)
    sent = bytes(random.Random(1).randbytes(5000))
    assert guest.console.feed(sent) == 5000
    assert guest.console.room == BACKLOG - 5000 + XENCONS_IN_SIZE
    received = b""
    while len(received) < len(sent):
        part = guest.read(700)
        assert part
        received += part
        guest.event()
    assert received == sent
    assert guest.console.room == BACKLOG


def test_input_beyond_the_backlog_is_not_accepted() -> None:
    guest = Guest()
    assert guest.console.feed(b"a" * (BACKLOG * 2)) == BACKLOG
    assert guest.console.room == XENCONS_IN_SIZE
    assert guest.console.feed(b"b" * BACKLOG) == XENCONS_IN_SIZE
    assert guest.console.feed(b"c") == 0


def test_who_feeds_hears_when_there_is_room_again() -> None:
    guest = Guest()
    heard: list[int] = []
    guest.console.feed(b"a" * BACKLOG * 2)
    guest.console.feed(b"a" * BACKLOG)
    assert guest.console.room == 0
    guest.console.when_room(lambda: heard.append(guest.console.room))
    guest.event()
    assert heard == []
    guest.read(10)
    for _ in range(3):
        guest.event()
    assert heard == [10]


def test_impossible_indices_are_left_alone_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    guest = Guest()
    guest.set("out_prod", XENCONS_OUT_SIZE + 1)
    guest.set("in_cons", 7)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            guest.event()
            guest.console.feed(b"key")
    assert len(caplog.records) == 1
    assert guest.output == b""
    assert (guest.get("in_prod"), guest.get("out_cons")) == (0, 0)
    guest.set("out_prod", 0)
    guest.set("in_cons", 0)
    guest.write(b"back")
    guest.event()
    assert guest.output == b"back"
    assert guest.read() == b"keykeykey"


def test_close_puts_out_the_last_words() -> None:
    guest = Guest()
    guest.write(b"bye")
    guest.console.close()
    guest.console.close()
    assert guest.output == b"bye"
    assert guest.port.closed
    assert guest.console.feed(b"x") == 0
    guest.event()


class Slow:
    """A sink that takes so many bytes and no more, until it is given more."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.taken = b""

    def __call__(self, data: bytes) -> int:
        count = min(self.budget, len(data))
        self.budget -= count
        self.taken += data[:count]
        return count


def test_what_a_full_sink_leaves_waits_in_the_ring() -> None:
    sink = Slow(10)
    guest = Guest(sink=sink)
    guest.write(b"0123456789abcdef")
    guest.event()
    assert (sink.taken, guest.console.waiting) == (b"0123456789", 6)
    assert guest.get("out_prod") - guest.get("out_cons") == 6
    assert guest.port.notified == 1
    guest.event()
    guest.console.resume()
    assert guest.port.notified == 1, "nothing moved, so there is nothing to tell the guest"
    guest.write(b"x" * (XENCONS_OUT_SIZE - 6))
    guest.event()
    assert guest.console.waiting == XENCONS_OUT_SIZE
    sink.budget = 1 << 20
    guest.console.resume()
    assert sink.taken == b"0123456789abcdef" + b"x" * (XENCONS_OUT_SIZE - 6)
    assert (guest.console.waiting, guest.port.notified) == (0, 2)


def test_input_goes_on_while_the_sink_is_full() -> None:
    guest = Guest(sink=Slow(0))
    guest.write(b"prompt")
    guest.console.feed(b"k" * (XENCONS_IN_SIZE + 5))
    guest.read(100)
    guest.event()
    assert guest.read() == b"k" * (XENCONS_IN_SIZE - 100 + 5)


def test_last_words_wait_for_a_full_sink_too() -> None:
    sink = Slow(2)
    guest = Guest(sink=sink)
    guest.write(b"goodbye")
    guest.console.close()
    assert (sink.taken, guest.console.waiting) == (b"go", 5)
    sink.budget = 4
    guest.console.resume()
    sink.budget = 4
    guest.console.resume()
    guest.console.resume()
    assert (sink.taken, guest.console.waiting) == (b"goodbye", 0)


@pytest.mark.parametrize(("taken", "then"), [(None, b"ab"), (1, b"abb")])
def test_a_sink_may_close_its_console_and_hears_nothing_twice(taken: int | None, then: bytes) -> None:
    heard = bytearray()

    def sink(data: bytes) -> int | None:
        heard.extend(data)
        guest.console.close()
        guest.event()
        return taken

    guest = Guest(sink=sink)
    guest.write(b"ab")
    guest.console.feed(b"key")
    guest.event()
    guest.console.resume()
    assert heard == then
    assert guest.port.closed


def test_a_sink_may_feed_and_resume() -> None:
    def echo(data: bytes) -> None:
        guest.console.feed(data)
        guest.console.resume()

    guest = Guest(sink=echo)
    guest.write(b"echo")
    guest.event()
    assert guest.read() == b"echo"
    assert guest.console.waiting == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("event"), st.just(0)),
            st.tuples(st.just("feed"), st.integers(0, 3000)),
            st.tuples(st.just("sink"), st.integers(0, 5000)),
            st.tuples(
                st.sampled_from(["in_cons", "in_prod", "out_cons", "out_prod"]),
                st.one_of(st.integers(0, 0xFFFF_FFFF), st.integers(0, 4096)),
            ),
        ),
        max_size=40,
    )
)
def test_no_indices_make_the_backend_fail_or_overrun(steps: list[tuple[str, int]]) -> None:
    sink = Slow(0)
    guest = Guest(sink=sink)
    taken = 0
    for what, value in steps:
        if what == "event":
            guest.event()
            assert len(sink.taken) - taken <= XENCONS_OUT_SIZE
            taken = len(sink.taken)
        elif what == "sink":
            sink.budget = value
            guest.console.resume()
            taken = len(sink.taken)
        elif what == "feed":
            guest.console.feed(bytes(value))
            assert guest.console.room >= 0
        else:
            guest.set(what, value)
