"""The backends of framebuffers and keyboards, with their frontends played from outside."""

from __future__ import annotations

import re
import struct
import zlib
from argparse import Namespace
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.abi.fbif import XENFB_REFRESH_PERIOD, XenfbType
from paravane.abi.kbdif import XenkbdType
from paravane.abi.xenbus import XenbusState
from paravane.devices.framebuffer import Vfb, parse_vfb, screenshot, vfbs_of
from paravane.devices.framebuffer.keyboard import MOST_PENDING
from paravane.devices.framebuffer.picture import MOST_MEMORY
from paravane.devices.vnc import Rect
from paravane.tools.ctl.actions import VERBS
from paravane.tools.ctl.protocol import RequestError
from paravane.tools.machine_options import settle_clock
from paravane.tools.screens import addresses, place
from paravane.trace import Kind, RingRecord, vocabulary
from tests.support.screen import FramebufferFrontend, KeyboardFrontend
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paravane import Domain
    from paravane.trace import Record

SILENT = Vfb(vnc=False)
PRIMARY = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


class Watcher:
    """A viewer that remembers what it is told."""

    def __init__(self) -> None:
        self.seen: list[Rect | None] = []

    def resized(self) -> None:
        self.seen.append(None)

    def damaged(self, rect: Rect) -> None:
        self.seen.append(rect)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as made:
        yield made
        assert made.audit() == []


def domain_of(machine: Machine, *vfbs: Vfb) -> Domain:
    devices = tuple(device for vfb in vfbs or (SILENT,) for device in vfb.devices)
    return machine.create(image(BLOCK), DomainConfig(memory=MEMORY, devices=devices))


def colours(front: FramebufferFrontend, rect: Rect) -> list[tuple[int, int, int]]:
    """Red, green and blue of each pixel."""
    data = front.device.display.read(rect)
    return [(data[at + 2], data[at + 1], data[at]) for at in range(0, len(data), 4)]


def test_a_picture_is_what_is_in_the_frames(machine: Machine) -> None:
    front = FramebufferFrontend(machine, domain_of(machine))
    assert front.device.display.size == (640, 480)
    assert front.connect(64, 32, 256) is XenbusState.Connected
    assert front.backend("request-update") == front.backend("feature-resize") == "1"
    display = front.device.display
    assert display.size == (64, 32)
    watcher = Watcher()
    display.look(watcher)
    # Across the end of a page.
    front.paint(4096 - 8, bytes(range(16)))
    front.serve()
    front.notified()
    front.update(0, 15, 64, 2)
    assert front.notified()  # there is room in its ring
    assert watcher.seen == [Rect(0, 15, 64, 2)]
    assert display.read(Rect(62, 15, 2, 1)) == bytes(range(8))
    assert display.read(Rect(62, 15, 2, 2))[8:] == bytes(8)
    assert display.read(Rect(63, 31, 2, 2)) == bytes(16)


def test_pixels_of_every_depth(machine: Machine) -> None:
    front = FramebufferFrontend(machine, domain_of(machine))
    cases = {
        8: (b"\xe0\x1c\x03\xff", [*PRIMARY, (255, 255, 255)]),
        16: (
            struct.pack("<4H", 0xF800, 0x07E0, 0x001F, 0x8410),
            [*PRIMARY, (131, 130, 131)],
        ),
        24: (
            bytes([0, 0, 255, 0, 255, 0, 255, 0, 0, 1, 2, 3]),
            [(255, 0, 0), (0, 255, 0), (0, 0, 255), (3, 2, 1)],
        ),
        32: (
            struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0x030201),
            [(255, 0, 0), (0, 255, 0), (0, 0, 255), (3, 2, 1)],
        ),
    }
    for depth, (data, wanted) in cases.items():
        assert front.connect(16, 4, 256, depth) is XenbusState.Connected
        front.paint(256, data)
        assert colours(front, Rect(0, 1, 4, 1)) == wanted, depth
        front.switch(XenbusState.Closed)
        front.switch(XenbusState.Initialising)


def test_a_picture_is_resized_in_its_frames(machine: Machine) -> None:
    front = FramebufferFrontend(machine, domain_of(machine))
    front.connect(64, 32, 256)
    display = front.device.display
    watcher = Watcher()
    display.look(watcher)
    front.paint(1000, b"\1\2\3\4")
    front.resize(16, 8, 128, offset=1000)
    assert display.size == (16, 8)
    assert display.read(Rect(0, 0, 1, 1)) == b"\1\2\3\4"
    front.resize(10_000, -1, 256, offset=1 << 15)
    assert display.size == (64, 128)
    assert display.read(Rect(63, 127, 1, 1)) == bytes(4)
    front.resize(10_000, -1, 256)
    assert display.size == (64, 256)
    for shape in ((16, 16, 0), (16, 16, 1 << 20), (16, 16, 64, 7), (16, 16, 64, 32, 1 << 16), (0, 4, 64)):
        front.resize(*shape)
    assert display.size == (64, 256)
    assert watcher.seen == [None] * 3
    assert front.backend_state is XenbusState.Connected


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"stride": 0}, "a line of 0 bytes"),
        ({"stride": 1 << 17}, "a line of 131072 bytes"),
        ({"depth": 15}, "a pixel of 15 bits"),
        ({"width": 0}, "a picture of 0 by 32 pixels"),
        ({"height": 0}, "a picture of 64 by 0 pixels"),
    ],
)
def test_a_framebuffer_that_cannot_be_is_refused(
    machine: Machine, wrong: dict[str, int], sentence: str
) -> None:
    front = FramebufferFrontend(machine, domain_of(machine))
    shape = {"width": 64, "height": 32, "stride": 256, "depth": 32} | wrong
    assert front.connect(*shape.values()) is XenbusState.Closing
    assert sentence in front.backend("error")
    front.switch(XenbusState.Initialising)
    assert front.connect() is XenbusState.Connected
    assert not front.has("error")


def test_frames_of_others_are_refused(machine: Machine) -> None:
    """Those of another domain, of nobody and of the machine: as the shared page, a directory, a picture's."""
    front = FramebufferFrontend(machine, domain_of(machine))
    other = domain_of(machine)
    (foreign,) = other.memory.populate(1)
    for mfn in (foreign, 0, 0xFFFF_FFFF, machine.platform.memory.frames.nr_frames):
        front.describe(64, 32, 256, 32)
        own = front.mfn, front.directories[0][0]
        for front.mfn, directory in ((mfn, own[1]), (own[0], mfn)):
            front.directories[0] = directory, front.directories[0][1]
            assert front.connect() is XenbusState.Closing
            assert "a frame cannot be mapped" in front.backend("error")
            front.switch(XenbusState.Initialising)
        front.mfn, front.directories[0] = own[0], (own[1], front.directories[0][1])
        kept = bytes(front.directories[0][1][60:64])
        front.directories[0][1][60:64] = struct.pack("<I", mfn)
        assert front.connect() is XenbusState.Closing
        front.directories[0][1][60:64] = kept
        front.switch(XenbusState.Initialising)
    assert front.connect() is XenbusState.Connected


def test_a_page_table_is_no_shared_page(machine: Machine) -> None:
    domain = domain_of(machine)
    front = FramebufferFrontend(machine, domain)
    front.mfn = domain.vcpus[0].cpu.cr3 >> 12
    assert front.connect() is XenbusState.Closing


def test_more_than_the_largest_framebuffer_is_not_mapped(machine: Machine) -> None:
    front = FramebufferFrontend(machine, domain_of(machine))
    front.describe(64, 32, 256, 32, MOST_MEMORY + 4096)
    held = machine.platform.memory.held
    before = held.total()
    front.connect()
    front.describe(64, 32, 256, 32, 0xFFFF_FFFF)
    front.switch(XenbusState.Closed)
    front.switch(XenbusState.Initialising)
    assert front.switch(XenbusState.Initialised) is XenbusState.Closing
    assert held.total() == before


def test_frames_are_held_and_given_back(machine: Machine) -> None:
    domain = domain_of(machine)
    front = FramebufferFrontend(machine, domain)
    held = machine.platform.memory.held
    before = held.total()
    front.connect()
    assert held.total() == before + 1 + len(front.frames)
    # The guest gives a frame back, and the next one gets another: the picture's stays what it is.
    mfn, words = front.frames[0]
    words[:4] = b"\1\2\3\4"
    domain.memory.machine.types.put_page(mfn)
    assert front.device.display.read(Rect(0, 0, 1, 1)) == b"\1\2\3\4"
    machine.platform.memory.frames.count[mfn] += 1
    machine.destroy(domain)
    assert held.total() == 0


def test_the_frontend_is_told_when_somebody_looks(machine: Machine) -> None:
    front = FramebufferFrontend(machine, domain_of(machine))
    front.connect()
    assert front.events() == []
    first, second = Watcher(), Watcher()
    display = front.device.display

    def periods() -> list[tuple[int, ...]]:
        front.serve()
        return [
            tuple(XENFB_REFRESH_PERIOD.unpack(event[: XENFB_REFRESH_PERIOD.size])) for event in front.events()
        ]

    display.look(first)
    assert periods() == [(XenfbType.REFRESH_PERIOD, 40)]
    display.look(second)
    display.look_away(first)
    assert periods() == []
    display.look_away(second)
    display.look_away(second)
    assert periods() == [(XenfbType.REFRESH_PERIOD, 0)]


def test_a_frontend_that_tells_nothing_may_have_changed_all(machine: Machine) -> None:
    front = FramebufferFrontend(machine, domain_of(machine))
    front.connect(updates=False)
    assert front.backend("request-update") == "0"
    watcher = Watcher()
    front.device.display.look(watcher)
    front.event()
    assert watcher.seen == [Rect(0, 0, 64, 32)]


def test_keys_and_the_pointer(machine: Machine) -> None:
    domain = domain_of(machine)
    screen, front = FramebufferFrontend(machine, domain), KeyboardFrontend(machine, domain)
    display = front.device.display
    assert display is screen.device.display
    display.key(30, pressed=True)  # nobody is there yet
    assert front.connect() is XenbusState.Connected
    screen.connect(64, 32)
    display.key(30, pressed=True)
    display.key(30, pressed=False)
    display.point(10, 20, 0)
    display.point(12, 21, 0)
    display.point(12, 21, -1)
    front.serve()
    assert front.notified()
    assert front.told() == [
        (XenkbdType.KEY, 1, 30),
        (XenkbdType.KEY, 0, 30),
        (XenkbdType.MOTION, 12, 21, 0),
        (XenkbdType.MOTION, 0, 0, -1),
    ]
    front.write("request-abs-pointer", 1)
    display.point(500, 500, 0)
    front.serve()
    front.write("request-raw-pointer", 1)
    display.point(63, 0, 1)
    front.serve()
    assert front.told() == [(XenkbdType.POS, 63, 31, 0), (XenkbdType.POS, 0x7FFF, 0, 1)]


def test_a_trace_shows_the_events(machine: Machine) -> None:
    domain = domain_of(machine)
    screen, keyboard = FramebufferFrontend(machine, domain), KeyboardFrontend(machine, domain)
    seen: list[tuple[str, str]] = []

    def note(record: Record) -> None:
        if isinstance(record, RingRecord) and record.device in ("vfb", "vkbd"):
            assert record.size == 40
            seen.append((record.name, record.op))

    machine.trace.subscribe(note, (Kind.RING,))
    screen.connect()
    keyboard.connect()
    screen.update(1, 2, 3, 4)
    screen.resize(8, 8, 32)
    keyboard.device.key(30, pressed=True)
    keyboard.device.point(3, 4, 0)
    keyboard.serve()
    assert seen == [
        ("request", "UPDATE"),
        ("request", "RESIZE"),
        ("response", "KEY"),
        ("response", "MOTION"),
    ]
    assert {word for pair in seen for word in pair} <= set(vocabulary.RING)


def test_keys_wait_for_the_ring_and_no_longer_than_there_is_place(machine: Machine) -> None:
    front = KeyboardFrontend(machine, domain_of(machine))
    front.connect(granted=False)
    for at in range(MOST_PENDING + 200):
        front.device.key(at, pressed=True)
        front.serve()
    taken: list[object] = []
    while events := front.told():
        taken += [code for _, _, code in events]
        front.event()
    assert taken == list(range(51 + MOST_PENDING))
    front.device.key(7, pressed=True)
    front.serve()
    assert front.told() == [(XenkbdType.KEY, 1, 7)]


def test_impossible_indices_close_the_device(machine: Machine) -> None:
    domain = domain_of(machine)
    screen, front = FramebufferFrontend(machine, domain), KeyboardFrontend(machine, domain)
    screen.connect()
    front.connect()
    screen.words[3] = 52
    screen.event()
    front.words[0] = 5
    front.device.key(1, pressed=True)
    front.serve()
    for one in (screen, front):
        assert one.backend_state is XenbusState.Closing
        assert "its ring is impossible" in one.backend("error")


def test_displays_of_domains_that_are_described_alike_are_apart(machine: Machine) -> None:
    domains = [domain_of(machine), domain_of(machine)]
    fronts = [KeyboardFrontend(machine, domain) for domain in domains]
    screens = [FramebufferFrontend(machine, domain) for domain in domains]
    for front, screen in zip(fronts, screens, strict=True):
        assert front.device.display is screen.device.display
    assert fronts[0].device.display is not fronts[1].device.display


def test_a_screenshot_is_a_png(machine: Machine) -> None:
    front = FramebufferFrontend(machine, domain_of(machine))
    front.connect(2, 2, 8)
    front.paint(0, struct.pack("<4I", 0x112233, 0x445566, 0x778899, 0xAABBCC))
    data = screenshot(front.device.display)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    (length,) = struct.unpack_from(">I", data, 33)
    assert struct.unpack_from(">II", data, 16) == (2, 2)
    lines = zlib.decompress(data[41 : 41 + length])
    assert lines.hex() == "00112233445566" + "00778899aabbcc"


def test_who_is_seen_by_vnc_lives_by_the_hosts_clock() -> None:
    for given, text, deterministic, right in (
        (None, "vnc=5901", False, "host"),
        (None, "vnc=5901", True, "virtual"),
        (None, "vnc=0", False, "virtual"),
        ("virtual", "", False, "virtual"),
    ):
        options = Namespace(clock=given, deterministic=deterministic)
        settle_clock(options, [parse_vfb(text)])
        assert options.clock == right


def test_screenshots_by_the_control_socket(machine: Machine, tmp_path: Path) -> None:
    domain = domain_of(machine)
    front = FramebufferFrontend(machine, domain)
    front.connect(2, 2, 8)
    VERBS["screenshot"](machine, domain, f"0,{tmp_path}/a,b.png")
    assert (tmp_path / "a,b.png").read_bytes() == screenshot(front.device.display)
    for argument, sentence in (
        ("1,x.png", "guest has no framebuffer 1"),
        ("x,x.png", "not a number"),
        (f"0,{tmp_path}/none/x.png", "No such file or directory"),
    ):
        with pytest.raises((RequestError, ValueError), match=sentence):
            VERBS["screenshot"](machine, domain, argument)


def test_viewers_are_told_where_to_look(machine: Machine) -> None:
    domain = domain_of(machine, Vfb(), Vfb(vnc=False, number=1))
    (line,) = addresses(domain)
    assert re.fullmatch(r"guest: VNC at 127\.0\.0\.1:59\d\d", line)
    assert place("::1", 5901) == "[::1]:5901"


def test_descriptions() -> None:
    assert parse_vfb("") == Vfb()
    assert parse_vfb("vnc=5901") == Vfb(port=5901, find_unused=False)
    assert parse_vfb("vnc=1, vncdisplay=3, vncunused=0, vnclisten=0.0.0.0, keymap=de, sdl=0") == Vfb(
        listen="0.0.0.0", port=5903, find_unused=False
    )
    assert parse_vfb("vnclisten=127.0.0.1:2") == Vfb(port=5902)
    assert parse_vfb("vnclisten=[::1]:2") == Vfb(listen="::1", port=5902)
    assert parse_vfb("listen=::1") == Vfb(listen="::1")
    assert vfbs_of(["vnc=0", "vnc=0,width=1024,height=768"]) == (
        SILENT,
        Vfb(vnc=False, width=1024, height=768, number=1),
    )
    assert parse_vfb("passwd=secret").password == "secret"
    assert parse_vfb("vncpasswd=").password is None
    assert "secret" not in repr(parse_vfb("passwd=secret"))
    for text, sentence in (
        ("vnc", "vnc is no setting of a framebuffer"),
        ("vnc=70000", "a port is from 1 to 65535"),
        ("vnc=x", "no number"),
        ("sdl=1", "there is no window"),
        ("width=5", "give both"),
        ("vncunused=2", "0 or 1"),
        ("vncdisplay=99999", "a port is from"),
    ):
        with pytest.raises(ValueError, match=sentence):
            parse_vfb(text)


def test_frontends_are_told_of_a_size(machine: Machine) -> None:
    domain = domain_of(machine, Vfb(vnc=False, width=1024, height=768))
    for front in (FramebufferFrontend(machine, domain), KeyboardFrontend(machine, domain)):
        assert (front.backend("width"), front.backend("height")) == ("1024", "768")
