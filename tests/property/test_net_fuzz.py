"""Hostile slots in the rings of a network interface: its neighbours never notice.

The rings are scribbled on by a frontend that sometimes keeps to the protocol, since only then does what is
behind the first check see anything. After each storm the neighbours' network is as it was, the books are
right, and the device is either served or closed with a sentence.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.abi.grant_table import GrantFlag
from paravane.abi.xenbus import XenbusState
from paravane.devices.net import parse_rule
from paravane.devices.net.vif import Vif
from tests.support.netfront import Netfront
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOTS = 70_000
"""With those that a guest makes itself (tests/guests/test_hostile_nets.py) they are a hundred thousand."""

SEEDS = 4
SHARE = SLOTS // SEEDS
STARTS = (
    b"",
    b"\x08\x00\x45\x00",
    b"\x08\x06\x00\x01\x08\x00\x06\x04",
    b"\x86\xdd\x60\x00",
    b"\x81\x00\x00\x05\x08\x00\x45",
    b"\x00\x40\xaa\xaa\x03\x00\x00\x00",
    b"\x86\xdd\x60\0\0\0\0\x28\x3a\xff" + bytes(32) + b"\x88",
)
FLAGS = (*[0] * 20, *[1] * 10, 4, 4, 8, 9, 12, 0xFFFF)
SIZES = (*[60, 90, 1514] * 10, 0, 13, 14, 4096, 4097, 9000, 65535)


class Storm:
    """One hostile frontend between two that are not."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self.random = random.Random(seed)
        kernel = image(BLOCK)
        rules = parse_rule("drop out spoofed"), parse_rule("rate=1GB/s out proto=udp")
        vifs = (Vif(), Vif(rules=rules), Vif())
        self.one, self.hostile, self.other = (
            Netfront(machine, machine.create(kernel, DomainConfig(memory=MEMORY, devices=(vif,))))
            for vif in vifs
        )
        for front in (self.one, self.other):
            front.connect(posted=64)
        self.flips = seed % 2 == 1
        """Whether its pages are exchanged."""
        self.hostile.connect("feature-rx-flip" if self.flips else "request-rx-copy", "feature-sg")
        self.pages = [self.hostile.page() for _ in range(4)]
        self.accepting = [self.hostile.page()[0] for _ in range(4)]
        self.slots = 0
        self.closed = self.exchanged = 0

    def ref(self) -> int:
        good = [ref for ref, _ in self.pages] + self.accepting
        return self.random.choice([*good, 0, 1, 0xFFFF_FFFF, self.random.randrange(600)])

    def scribble(self) -> None:
        """Headers that begin well, in pages that are being sent."""
        for _, page in self.pages:
            head = self.random.choice((b"\xff" * 6, self.one.mac)) + self.hostile.mac
            data = head + self.random.choice(STARTS) + self.random.randbytes(80)
            page[: len(data)] = data

    def transmit(self) -> None:
        for _ in range(self.random.randrange(1, 24)):
            kind = self.random.randrange(60)
            if kind == 0:
                entry = self.random.randbytes(12)
            elif kind == 1:
                entry = struct.pack(
                    "<BBHBBHI",
                    self.random.choice((1, 1, 2, 3, 4, 0, 9)),
                    self.random.choice((0, 0, 1)),
                    self.random.choice((0, 1, 536, 1448, 65535)),
                    self.random.choice((1, 2, 3)),
                    *(0, 0, 0),
                )
            else:
                offset = self.random.choice((*[0] * 40, 1, 4095, 65535))
                flags, size = self.random.choice(FLAGS), self.random.choice(SIZES)
                entry = struct.pack("<IHHHH", self.ref(), offset, flags, self.random.randrange(65536), size)
            self.hostile.tx.put(entry)
            self.slots += 1

    def post(self) -> None:
        for ref in self.accepting if self.flips else ():
            self.exchanged += bool(self.hostile.entry(ref)[0] & GrantFlag.transfer_completed)
            flags = GrantFlag.accept_transfer | self.random.choice((0, 0, 0, GrantFlag.transfer_committed))
            self.hostile.grant(ref, self.random.getrandbits(32), flags=flags)
        for _ in range(self.random.randrange(1, 24)):
            self.hostile.rx.put(struct.pack("<HHI", self.random.randrange(65536), 0, self.ref()))
            self.slots += 1

    def hear(self) -> None:
        """A neighbour has something for it, which goes into whatever it has posted."""
        size = self.random.choice((60, 1514, 9000))
        self.one.send((self.hostile.mac + self.one.mac + b"\x88\xb5").ljust(size, b"\xa5"))

    def indices(self) -> None:
        ring = self.random.choice((self.hostile.tx, self.hostile.rx))
        name = self.random.choice(("req_prod", "rsp_prod", "req_event", "rsp_event"))
        ring.set(name, self.random.choice((0, 0x8000_0000, 0xFFFF_FFFF, ring.produced + 300)))

    def step(self) -> None:
        self.scribble()
        acts = (self.transmit, self.post, self.hear, self.indices, self.revoke)
        self.random.choices(acts, (60, 20, 10, 1, 2))[0]()
        self.hostile.event()
        self.hostile.tx.take() if self.random.random() < 0.8 else None
        if self.hostile.backend_state is not XenbusState.Connected:
            self.again()

    def revoke(self) -> None:
        number = self.random.randrange(len(self.pages))
        self.hostile.revoke(self.pages[number][0])
        self.pages[number] = self.hostile.page()

    def again(self) -> None:
        """The device has closed, for a reason that is told: connect anew, with the same pages."""
        assert self.hostile.backend("error")
        self.closed += 1
        for ring in (self.hostile.tx, self.hostile.rx):
            for name in ("req_prod", "rsp_prod"):
                ring.set(name, 0)
            ring.produced = ring.consumed = 0
        self.hostile.switch(XenbusState.Initialising)
        self.hostile.domain.events.close(self.hostile.port)
        self.hostile.write("event-channel", self.hostile.listen())
        assert self.hostile.switch(XenbusState.Connected) is XenbusState.Connected

    def neighbours_are_well(self) -> None:
        self.other.received()
        self.other.post(64 - len(self.other.posted))
        self.other.received()
        frame = (self.other.mac + self.one.mac + b"\x88\xb5").ljust(60, b"\0")
        assert self.one.send(frame) == [0]
        assert self.other.received()[-1:] == [frame]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(*[MEMORY] * 3)) as machine:
        yield machine


@pytest.mark.parametrize("seed", range(SEEDS))
def test_neighbours_of_a_hostile_frontend_notice_nothing(machine: Machine, seed: int) -> None:
    storm = Storm(machine, seed)
    while storm.slots < SHARE:
        for _ in range(100):
            storm.step()
        storm.neighbours_are_well()
    assert storm.closed > 10
    assert storm.hostile.device.sent.frames > 100
    assert storm.hostile.device.received.frames > 100
    assert (storm.exchanged > 20) is storm.flips
    machine.destroy(storm.hostile.domain)
    storm.neighbours_are_well()
    assert machine.audit() == []
