"""Hostile frontends of framebuffers and keyboards, and hostile viewers: whatever they write, nothing but
their own device notices, frames are given back, and the machine's books stay right.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.abi.fbif import XENFB_RESIZE, XENFB_UPDATE, XenfbResize, XenfbType, XenfbUpdate
from paravane.abi.xenbus import XenbusState
from paravane.devices.framebuffer import Vfb
from paravane.devices.vnc import Rect
from tests.support.screen import FramebufferFrontend, KeyboardFrontend, Viewer
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.screen import EventFrontend

EVENTS = 100_000
"""Hostile events in all, many of them for each time that the backend is woken."""

KINDS = 2000
EDGES = (0, 1, -1, 31, 32, 63, 64, 65, 4096, 65535, 65536, (1 << 31) - 1, -(1 << 31))


class Seat:
    """A domain with a framebuffer and a keyboard, and somebody who looks all the time."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        vfb = Vfb()
        self.domain = machine.create(image(BLOCK), DomainConfig(memory=MEMORY, devices=vfb.devices))
        self.screen = FramebufferFrontend(machine, self.domain)
        self.keyboard = KeyboardFrontend(machine, self.domain)
        self.connect()

    def connect(self) -> None:
        for front in (self.screen, self.keyboard):
            if front.backend_state is not XenbusState.Connected:
                reopen(front)

    def look(self) -> None:
        """Read all of the picture, as a viewer would."""
        display = self.screen.device.display
        width, height = display.size
        assert 0 < width <= 65535
        assert 0 < height <= 65535
        if width * height < 1 << 20:
            assert len(display.read(Rect(0, 0, width, height))) == width * height * 4
        display.read(Rect(width - 1, height - 1, 3, 3))

    def resized(self) -> None:
        self.look()

    def damaged(self, rect: Rect) -> None:
        assert rect.width >= 0 or not rect


def reopen(front: EventFrontend) -> None:
    """A frontend that is closed may come back."""
    front.switch(XenbusState.Closed)
    front.switch(XenbusState.Initialising)
    front.shared[:] = bytes(4096)
    front.sent = front.seen = 0
    assert isinstance(front, FramebufferFrontend | KeyboardFrontend)
    assert front.connect() is XenbusState.Connected


@pytest.fixture(scope="module")
def seat() -> Iterator[Seat]:
    with Machine(Machine.size_for(MEMORY), slice_instructions=100_000) as machine:
        made = Seat(machine)
        made.screen.device.display.look(made)
        yield made
        made.screen.device.display.look_away(made)
        made.screen.switch(XenbusState.Closed)
        made.keyboard.switch(XenbusState.Closed)
        # The pages of console and store; nothing of the framebuffer's is held any more.
        assert machine.platform.memory.held.total() == 2
        assert machine.audit() == []


def event(chance: random.Random) -> bytes:
    """Any bytes, or nearly right."""
    kind = chance.randrange(4)
    if kind == 0:
        return chance.randbytes(40)
    sides = [chance.choice(EDGES) if chance.random() < 0.5 else chance.randrange(64) for _ in range(4)]
    if kind < 3:
        return XENFB_UPDATE.pack(XenfbUpdate(XenfbType.UPDATE, *sides)).ljust(40, b"\0")
    depth = chance.choice([8, 16, 24, 32, 32, 32, 0, 15, -8, 1 << 30])
    shape = XenfbResize(XenfbType.RESIZE, sides[0], sides[1], chance.choice([256, *EDGES]), depth, sides[3])
    return XENFB_RESIZE.pack(shape).ljust(40, b"\0")


def test_a_hundred_thousand_hostile_events(seat: Seat) -> None:
    chance = random.Random("events")
    kinds = [event(chance) for _ in range(KINDS)]
    batch = seat.screen.rings.out_length
    for _ in range(EVENTS // batch):
        for each in chance.choices(kinds, k=batch):
            seat.screen.put(each)
        seat.screen.event()
        seat.screen.events()
    assert seat.screen.backend_state is XenbusState.Connected
    for _ in range(EVENTS // 1000):
        seat.keyboard.put(chance.randbytes(40))
        seat.keyboard.event()
    assert seat.keyboard.backend_state is XenbusState.Connected


@pytest.mark.parametrize("which", ["screen", "keyboard"])
def test_a_guest_that_scribbles_on_its_page_harms_itself_only(seat: Seat, which: str) -> None:
    """Any bytes anywhere in the shared page, between any two events."""
    chance = random.Random(which)
    front: EventFrontend = getattr(seat, which)
    for _ in range(500):
        at = chance.choice([0, 4, 8, 12, chance.randrange(4096)])
        data = chance.choice(
            [struct.pack("<I", chance.randrange(60)), chance.randbytes(chance.randrange(1, 64))]
        )
        front.shared[at : at + len(data)] = data[: 4096 - at]
        seat.keyboard.device.key(chance.randrange(600), pressed=True)
        seat.keyboard.device.point(chance.randrange(64), chance.randrange(32), 0)
        front.event()
        if front.backend_state is not XenbusState.Connected:
            assert "its ring is impossible" in front.backend("error")
            reopen(front)
    reopen(front)
    seat.connect()


def test_shapes_directories_and_nodes_of_all_kinds(seat: Seat) -> None:
    """Each connection begins with something wrong, or nearly so."""
    chance = random.Random("shapes")
    front = seat.screen
    numbers = [0, 1, 0xFFFF_FFFF, 1 << 20, (1 << 20) - 1, front.mfn, front.directories[0][0]]
    words = ["", "-1", "x", "4294967296", "9" * 200, *map(str, numbers)]
    honest = 0
    for _ in range(400):
        front.switch(XenbusState.Closed)
        front.switch(XenbusState.Initialising)
        front.describe(64, 32, 256, 32)
        fields = [chance.choice([*EDGES, 100, 256, 20_000]) & 0xFFFF_FFFF for _ in range(4)]
        kind = chance.randrange(4)
        if kind == 0:
            at = chance.randrange(4)
            front.words[4 + at] = fields[at]
        elif kind == 1:
            front.words[9 + chance.randrange(4)] = chance.choice(numbers)
        elif kind == 2:
            front.write(chance.choice(["page-ref", "event-channel", "protocol"]), chance.choice(words))
        at, kept = chance.randrange(16) * 4, bytes(front.directories[0][1])
        if kind == 3:
            front.directories[0][1][at : at + 4] = struct.pack("<I", chance.choice(numbers))
        state = front.switch(XenbusState.Initialised)
        assert state in (XenbusState.Connected, XenbusState.Closing)
        honest += state is XenbusState.Connected
        front.event()
        front.directories[0][1][:] = kept
        front.write("page-ref", front.mfn)
        front.write("protocol", "x86_32-abi")
        front.write("event-channel", front.listen())
    assert 0 < honest < 400
    seat.connect()


def test_viewers_that_say_anything(seat: Seat) -> None:
    chance = random.Random("viewers")
    server = seat.screen.device.server
    assert server is not None
    hello = b"RFB 003.008\n\1\1"
    messages = [
        struct.pack(">BBHHHH", 3, 0, 0, 0, 64, 32),
        struct.pack(">BxH3i", 2, 3, 16, 6, -223),
        struct.pack(">BBxxI", 4, 1, ord("a")),
        struct.pack(">BBHH", 5, 1, 9, 9),
        struct.pack(">BxxxI", 6, 5) + b"words",
        b"\0\0\0\0" + struct.pack(">BBBBHHHBBB3x", 16, 16, 0, 1, 31, 63, 31, 11, 5, 0),
    ]
    for _ in range(150):
        viewer = Viewer(seat.machine, server.address)
        said = bytearray(hello + b"".join(chance.choices(messages, k=chance.randrange(12))))
        for _ in range(chance.randrange(3)):
            said[chance.randrange(len(said))] = chance.getrandbits(8)
        try:
            viewer.socket.sendall(said)
            for _ in range(chance.randrange(4)):
                viewer.turn()
        except OSError:
            pass  # it was sent away before it had said everything
        viewer.close()
    for _ in range(3):
        viewer = Viewer(seat.machine, server.address)
        viewer.begin()
        viewer.encodings(16)
        assert viewer.look() == seat.screen.device.display.read(Rect(0, 0, *viewer.size))
        viewer.close()
