"""Consoles beside the first on the bus: libxl's nodes, frontends that connect, lie, leave and come back."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, ExtraConsole, Kind, Machine, parse_console
from paravane.abi.console import XENCONS_IN_SIZE, XENCONS_OUT_SIZE
from paravane.abi.xenbus import XenbusState
from paravane.refusal import Refusal
from paravane.trace.text import body
from tests.support.boot import HOST_TIMEOUT
from tests.support.consolefront import Consolefront
from tests.support.patience import open_files
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paravane import Image, Record

OPERATIONS = 100_000


@pytest.fixture(scope="module")
def kernel() -> Image:
    return image(BLOCK)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(*[MEMORY] * 2)) as machine:
        yield machine
        assert machine.audit() == []


class Reader:
    """Takes what comes out of a console, at most `room` bytes."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.room = 1 << 62

    def __call__(self, data: bytes) -> int:
        taken = data[: self.room]
        self.room -= len(taken)
        self.heard += taken
        return len(taken)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def front(machine: Machine, kernel: Image, reader: Reader) -> Consolefront:
    """The frontend of a console that `reader` hears."""
    extra = ExtraConsole(1, parse_console("stdio"), sink=reader)
    return Consolefront(machine, machine.create(kernel, DomainConfig(memory=MEMORY, devices=(extra,))))


def test_bytes_go_both_ways(front: Consolefront, reader: Reader) -> None:
    assert front.connect() is XenbusState.Connected
    assert front.put(b"hello") == 5
    assert reader.heard == b"hello"
    assert front.notified()
    assert front.device.feed(b"keys") == 4
    assert front.notified()
    assert front.take() == b"keys"


def test_both_rings_wait(front: Consolefront, reader: Reader) -> None:
    front.connect()
    reader.room = 100
    assert front.put(b"x" * 3000) == XENCONS_OUT_SIZE
    assert front.get("out_cons") == 100
    reader.room = 1 << 20
    front.device.resume()
    assert len(reader.heard) == XENCONS_OUT_SIZE
    assert front.device.feed(b"k" * 5000) == 5000
    taken = b""
    for _ in range(5):
        taken += front.take()
    assert taken == b"k" * 5000
    assert len(taken) > XENCONS_IN_SIZE


def test_nodes_are_those_of_libxl(machine: Machine, kernel: Image, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    devices = (
        ExtraConsole(1, parse_console("pty"), name="org.example.agent"),
        ExtraConsole(2, parse_console(f"unix:{path}")),
    )
    domain = machine.create(kernel, DomainConfig(memory=MEMORY, devices=devices))
    one, two = Consolefront(machine, domain), Consolefront(machine, domain, 2)
    names = ("name", "limit", "type", "output", "tty", "backend", "backend-id", "protocol", "state")
    assert machine.store.directory(one.front) == names
    assert [one.own(name) for name in names[1:5]] == ["1048576", "ioemu", "pty", one.device.end.tty]
    assert two.own("output") == "chardev:libxl-channel2"
    assert two.own("tty") == ""
    assert one.backend("name") == one.own("name") == "org.example.agent"
    assert [one.backend("connection"), two.backend("connection")] == ["pty", "socket"]
    assert two.backend("path") == str(path)
    # A guest may read what its host's tools go by, and not change it.
    for name in ("name", "limit", "type", "output", "tty"):
        with pytest.raises(Refusal):
            one.write(name, "/etc/passwd")
    one.write("note", "mine")


def test_what_nobody_has_taken_yet_outlives_its_frontend(front: Consolefront, reader: Reader) -> None:
    front.connect()
    reader.room = 3
    front.put(b"first life")
    front.reconnect()
    front.put(b", second life")
    assert reader.heard == b"fir"
    reader.room = 1 << 20
    front.device.resume()
    assert reader.heard == b"first life, second life"


def test_input_waits_for_a_frontend(front: Consolefront) -> None:
    told: list[int] = []
    assert front.device.feed(b"early") == 0
    front.device.when_room(lambda: told.append(front.device.room))
    front.connect()
    assert len(told) == 1
    assert told[0] >= 1 << 16


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda front: front.remove("ring-ref"), "written no ring-ref"),
        (lambda front: front.write("ring-ref", "-1"), "ring-ref is no number"),
        (lambda front: front.write("ring-ref", 4000), "cannot be mapped"),
        (lambda front: front.revoke(front.ref), "cannot be mapped"),
        (lambda front: front.write("port", 999), "cannot be bound"),
        (lambda front: front.remove("port"), "written no port"),
        (lambda front: front.set("out_prod", 5000), "ring is impossible"),
        (lambda front: front.set("out_cons", 1), "ring is impossible"),
    ],
)
def test_a_wrong_frontend_is_told_and_may_come_back(
    front: Consolefront, reader: Reader, prepare: Callable[[Consolefront], None], sentence: str
) -> None:
    assert front.connect() is XenbusState.Connected
    front.switch(XenbusState.Closed)
    front.switch(XenbusState.Initialising)
    front.write("port", front.listen())
    prepare(front)
    assert front.switch(XenbusState.Initialised) is XenbusState.Closing
    assert sentence in front.backend("error")
    front.ref, front.bytes = front.page()
    front.words = front.bytes.cast("I")
    assert front.reconnect() is XenbusState.Connected
    assert not front.has("error")
    front.put(b"well")
    assert reader.heard == b"well"


def test_a_grant_that_is_revoked_while_it_is_used_stays_mapped(front: Consolefront, reader: Reader) -> None:
    front.connect()
    front.revoke(front.ref)
    front.put(b"still here")
    assert reader.heard == b"still here"
    front.switch(XenbusState.Closed)
    assert front.machine.audit() == []


def test_input_finds_an_impossible_ring(front: Consolefront) -> None:
    front.connect()
    front.set("in_prod", 5000)
    front.device.feed(b"key")
    front.serve()
    assert front.backend_state is XenbusState.Closing
    assert "ring is impossible" in front.backend("error")
    assert front.device.feed(b"key") == 0


def test_a_hundred_thousand_hostile_operations(machine: Machine, kernel: Image) -> None:
    """Whatever indices a frontend writes, the device goes on or closes, and its neighbour's works."""
    reader, other = Reader(), Reader()
    fronts = [
        Consolefront(
            machine,
            machine.create(
                kernel,
                DomainConfig(memory=MEMORY, devices=(ExtraConsole(1, parse_console("stdio"), sink=sink),)),
            ),
        )
        for sink in (reader, other)
    ]
    hostile, good = fronts
    hostile.connect()
    good.connect()
    chance = random.Random(12)
    names = ("in_cons", "in_prod", "out_cons", "out_prod")
    values = (0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 1 << 31, (1 << 32) - 1)
    closed = 0
    for number in range(OPERATIONS):
        # A device that has closed is written at, and fed, as well.
        match chance.randrange(4):
            case 0:
                hostile.set(chance.choice(names), chance.choice(values))
            case 1:
                hostile.set(name := chance.choice(names), hostile.get(name) + chance.randrange(-3, 2048))
            case 2:
                hostile.device.feed(b"k" * chance.randrange(3))
            case _:
                hostile.event()
        if number % 200 == 0 and hostile.backend_state is XenbusState.Closing:
            closed += 1
            if closed % 2:
                hostile.revoke(hostile.ref)
                assert hostile.reconnect() is XenbusState.Closing
                hostile.regrant()
            hostile.reconnect()
        reader.heard.clear()
        if number % 1000 == 0:
            good.put(b"%d " % number)
            good.device.feed(b"%d " % number)
    assert closed > 100
    assert good.backend_state is XenbusState.Connected
    assert other.heard.split() == [b"%d" % number for number in range(0, OPERATIONS, 1000)]
    assert good.take().split() == other.heard.split()


def test_a_hundred_lives_of_a_device_leave_nothing_behind(machine: Machine, kernel: Image) -> None:
    domain = machine.create(kernel, DomainConfig(memory=MEMORY))

    def life(number: int) -> None:
        attachment = machine.attach(domain, ExtraConsole(1, parse_console("pty" if number % 2 else "tcp:0")))
        front = Consolefront(machine, domain)
        if number % 3:
            front.switch(XenbusState.Initialised)
        machine.detach(domain, attachment, force=True)

    life(0)
    life(1)
    before = open_files(), len(machine.store.directory("/"))
    for number in range(100):
        life(number)
    assert (open_files(), len(machine.store.directory("/"))) == before


def test_a_client_of_one_console_types_to_that_one(machine: Machine, kernel: Image) -> None:
    devices = tuple(ExtraConsole(number, parse_console("tcp:0")) for number in (1, 2))
    domain = machine.create(kernel, DomainConfig(memory=MEMORY, devices=devices))
    one, two = Consolefront(machine, domain), Consolefront(machine, domain, 2)
    one.connect()
    two.connect()
    name, _, port = two.device.end.address.rpartition(":")
    with socket.create_connection((name, int(port))) as client:
        client.sendall(b"two")
        heard = b""

        def look() -> None:
            nonlocal heard
            heard += two.take()
            if heard == b"two":
                machine.interrupt()
            else:
                machine.post(look)

        machine.post(look)
        machine.run(timeout=HOST_TIMEOUT)
        assert heard == b"two"
        assert one.take() == b""
        two.put(b"reply")
        client.settimeout(HOST_TIMEOUT)
        assert client.recv(10) == b"reply"


def test_a_trace_tells_consoles_apart(front: Consolefront) -> None:
    records: list[Record] = []
    front.machine.trace.subscribe(records.append, (Kind.CONSOLE,))
    front.connect()
    front.put(b"hello")
    front.device.feed(b"key")
    front.domain.console.feed(b"other")
    assert [body(record) for record in records] == [
        "out 'hello' on console 1",
        "in 'key' on console 1",
        "in 'other'",
    ]
