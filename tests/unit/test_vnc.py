"""The VNC server, with viewers that share the machine's thread."""

from __future__ import annotations

import errno
import gc
import os
import resource
import select
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.abi.kbdif import XenkbdType
from paravane.devices.framebuffer import Vfb
from paravane.devices.vnc import password
from paravane.devices.vnc.connection import MOST_UNREAD
from paravane.devices.vnc.keysyms import KEYCODES
from paravane.devices.vnc.pixel_format import NATIVE, PALETTE, PixelFormat, Translator, parse_format
from paravane.devices.vnc.region import MOST_RECTS, Rect, Region
from paravane.devices.vnc.server import MOST_VIEWERS
from tests.support.patience import until
from tests.support.screen import FramebufferFrontend, KeyboardFrontend, Viewer
from tests.support.small_machines import BLOCK, MEMORY, image
from tests.support.work import lines_executed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane import Domain

RAW, ZLIB, ZRLE, DESKTOP_SIZE = 0, 6, 16, -223
WIDTH, HEIGHT = 100, 70
SHOWN = WIDTH * HEIGHT * 4


class Seat:
    """A domain with a framebuffer that shows a picture, and its viewers."""

    def __init__(self, machine: Machine, vfb: Vfb) -> None:
        self.machine = machine
        self.domain: Domain = machine.create(image(BLOCK), DomainConfig(memory=MEMORY, devices=vfb.devices))
        self.screen = FramebufferFrontend(machine, self.domain)
        self.keyboard = KeyboardFrontend(machine, self.domain)
        self.screen.connect(WIDTH, HEIGHT, WIDTH * 4)
        self.keyboard.connect()
        # Two colours, and some pixels that are all different.
        self.picture = bytearray(b"\x10\x20\x30\0" * (WIDTH * 40) + b"\xf0\x08\x80\0" * (WIDTH * 30))
        for at in range(0, 4000, 4):
            self.picture[at : at + 3] = bytes([at >> 8, at & 255, 255 - (at & 255)])
        self.screen.paint(0, bytes(self.picture))
        self.viewers: list[Viewer] = []

    @property
    def address(self) -> tuple[str, int]:
        assert self.screen.device.server is not None
        return self.screen.device.server.address

    def viewer(self, version: bytes = b"RFB 003.008\n", shared: int = 1) -> Viewer:
        self.viewers.append(Viewer(self.machine, self.address, version, shared))
        return self.viewers[-1]

    def looking(self, *encodings: int) -> Viewer:
        """A viewer that has said hello."""
        viewer = self.viewer()
        viewer.begin()
        if encodings:
            viewer.encodings(*encodings)
        return viewer

    def told(self, viewer: Viewer, count: int) -> list[tuple[object, ...]]:
        """So many events of the keyboard."""
        found = self.keyboard.told()
        while len(found) < count:
            viewer.turn()
            found += self.keyboard.told()
        return found


def send_without_end(viewer: Viewer, data: bytes) -> None:
    for _ in range(MOST_UNREAD):
        viewer.send(data)


@pytest.fixture
def seated() -> Iterator[Callable[[Vfb], Seat]]:
    seats: list[Seat] = []
    with Machine(Machine.size_for(MEMORY)) as machine:

        def seat(vfb: Vfb) -> Seat:
            seats.append(Seat(machine, vfb))
            return seats[-1]

        yield seat
        for made in seats:
            for viewer in made.viewers:
                viewer.close()
        assert machine.audit() == []


@pytest.fixture
def seat(seated: Callable[[Vfb], Seat]) -> Seat:
    return seated(Vfb(title="a picture"))


def test_every_encoding_shows_the_same(seat: Seat) -> None:
    for encodings in ((), (RAW,), (99, ZLIB, RAW), (ZRLE, ZLIB)):
        viewer = seat.looking(*encodings)
        assert (viewer.size, viewer.name) == ((WIDTH, HEIGHT), "a picture")
        for _ in range(2):  # the streams go on
            assert viewer.look() == seat.picture
    assert seat.address[0] == "127.0.0.1"


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n", b"RFB 003.889\n"])
def test_every_version(seat: Seat, version: bytes) -> None:
    viewer = seat.viewer(version)
    if version == b"RFB 003.889\n":
        viewer.security()
        viewer.send(b"\1")
        assert viewer.get(4) == bytes(4)
        return
    viewer.begin()
    assert viewer.look() == seat.picture


def test_only_what_has_changed_is_sent(seat: Seat) -> None:
    viewer = seat.looking(ZRLE)
    viewer.look()
    seat.screen.paint(WIDTH * 4 * 5 + 12, b"\1\2\3\0")
    viewer.ask(incremental=True)
    viewer.turn()
    with pytest.raises(BlockingIOError):
        viewer.socket.recv(1)
    seat.screen.update(3, 5, 1, 1)
    assert viewer.update() == [(3, 5, 1, 1, ZRLE)]
    seat.screen.update(-5, -5, 6, 6)
    seat.screen.update(1 << 30, 0, 1 << 30, 1)
    seat.screen.update(90, 60, 1 << 30, 1 << 30)
    viewer.ask(incremental=True, area=(0, 0, 50, 50))
    assert viewer.update() == [(0, 0, 1, 1, ZRLE)]
    viewer.ask(incremental=True)
    assert viewer.update() == [(90, 60, 10, 10, ZRLE)]


def test_a_viewer_is_told_of_another_size_if_it_can_be(seat: Seat) -> None:
    able, unable = seat.looking(ZRLE, DESKTOP_SIZE), seat.looking()
    for viewer in (able, unable):
        viewer.look()
        viewer.ask(incremental=True)
    seat.screen.resize(50, 20, 200)
    assert able.update() == [(0, 0, 50, 20, DESKTOP_SIZE), (0, 0, 50, 20, ZRLE)]
    assert able.screen == seat.picture[: 50 * 20 * 4]
    assert unable.update() == [(0, 0, WIDTH, HEIGHT, RAW)]
    for row in (0, 19):
        line = unable.screen[row * WIDTH * 4 : (row + 1) * WIDTH * 4]
        assert line == seat.picture[row * 200 : (row + 1) * 200] + bytes(200)
    assert unable.screen[20 * WIDTH * 4 :] == bytes(50 * WIDTH * 4)
    # The frontend goes, and with it the picture.
    able.ask(incremental=True)
    seat.machine.detach(seat.domain, seat.domain.devices.find("vkbd", 0), force=True)  # type: ignore[arg-type]
    seat.screen.write("state", 6)
    assert able.update()[0] == (0, 0, 640, 480, DESKTOP_SIZE)
    assert not any(able.screen)


def test_pixels_as_viewers_want_them(seat: Seat) -> None:
    viewer = seat.looking(ZRLE)
    data = bytes(seat.picture)
    wanted = PixelFormat(16, 16, 1, 1, 31, 63, 31, 11, 5, 0)
    viewer.format(wanted.packed(), 2)
    shown = struct.unpack(f">{WIDTH * HEIGHT}H", viewer.look())
    for at, pixel in enumerate(shown):
        blue, green, red = data[at * 4 : at * 4 + 3]
        assert pixel == red * 31 // 255 << 11 | green * 63 // 255 << 5 | blue * 31 // 255
    viewer.format(NATIVE._replace(big_endian=1).packed(), 4)
    swapped = bytearray(len(data))
    # Of four bytes ZRLE has three: those that count, from the second on.
    swapped[0::4], swapped[1::4], swapped[2::4] = data[2::4], data[1::4], data[0::4]
    assert viewer.look() == swapped
    viewer.format(PALETTE._replace(true_colour=0).packed(), 1)
    colours = struct.unpack(">BxHH768H", viewer.get(6 + 768 * 2))
    assert colours[:3] == (1, 0, 256)
    assert colours[3:6] == (0, 0, 0)
    assert colours[-3:] == (0xFFFF, 0xFFFF, 0xFFFF)
    assert viewer.look()[-1] == (0x80 * 7 // 255) << 5 | (0x08 * 7 // 255) << 2 | 0xF0 * 3 // 255


def test_any_format_is_made_by_tables() -> None:
    pixels = b"".join(bytes([at, at * 7 & 255, at * 13 & 255, 0]) for at in range(256))
    for wanted in (
        NATIVE._replace(red_shift=24, green_shift=16, blue_shift=8),
        NATIVE._replace(depth=32),
        PixelFormat(32, 30, 0, 1, 1023, 1023, 1023, 20, 10, 0),
        PixelFormat(16, 15, 0, 1, 31, 31, 31, 10, 5, 0),
        PixelFormat(8, 6, 0, 1, 3, 3, 3, 4, 2, 0),
    ):
        for big in (0, 1):
            pack = wanted._replace(big_endian=big)
            made = Translator(parse_format(pack.packed())).translate(pixels)
            order = "big" if big else "little"
            for at in range(0, len(pixels), 4):
                blue, green, red = pixels[at : at + 3]
                value = sum(
                    colour * most // 255 << shift
                    for colour, (most, shift) in zip((red, green, blue), wanted.colours, strict=True)
                )
                where = at // 4 * pack.size
                assert int.from_bytes(made[where : where + pack.size], order) == value  # type: ignore[arg-type]


def test_compact_pixels_leave_out_the_byte_that_says_nothing() -> None:
    upper = NATIVE._replace(red_shift=24, green_shift=16, blue_shift=8)
    cases = [(NATIVE, 0), (upper, 1), (NATIVE._replace(depth=32), None), (PALETTE, None)]
    assert [Translator(one).compact for one, _ in cases] == [at for _, at in cases]
    big = [Translator(one._replace(big_endian=1)).compact for one, _ in cases]
    assert big == [1, 0, None, None]
    assert Translator(upper).translate_compact(b"\1\2\3\4") == b"\1\2\3"


def test_keys_and_the_pointer_reach_the_frontend(seat: Seat) -> None:
    viewer = seat.looking()
    seat.keyboard.write("request-abs-pointer", 1)
    for pressed in (True, False):
        viewer.key(ord("a"), pressed=pressed)
    viewer.key(0x1234567)  # no key that there is
    viewer.point(11, 20, 1 | 4)
    viewer.point(11, 20, 4 | 8)
    key, pos = XenkbdType.KEY, XenkbdType.POS
    assert seat.told(viewer, 7) == [
        (key, 1, 30),
        (key, 0, 30),
        (pos, 11, 20, 0),
        (key, 1, 0x110),
        (key, 1, 0x111),
        (pos, 11, 20, -1),
        (key, 0, 0x110),
    ]
    # A viewer that goes lets go of what it holds.
    viewer.close()
    assert seat.told(viewer, 1) == [(key, 0, 0x111)]


def test_every_printable_sign_has_a_key() -> None:
    assert all(sign in KEYCODES for sign in range(0x20, 0x7F))
    assert [KEYCODES[ord(sign)] for sign in "qQ1!\\| ~`/?"] == [16, 16, 2, 2, 43, 43, 57, 41, 41, 53, 53]
    assert KEYCODES[0xFF1B] == 1
    assert KEYCODES[0xFFC9] == 88


def test_several_viewers_and_one_that_wants_to_be_alone(seat: Seat) -> None:
    first, second = seat.looking(ZRLE), seat.looking(ZLIB)
    for viewer in (first, second):
        assert viewer.look() == seat.picture
    alone = seat.viewer(shared=0)
    alone.begin()
    assert first.sent_away()
    assert second.sent_away()
    assert alone.look() == seat.picture


def test_a_password_keeps_others_out(seated: Callable[[Vfb], Seat]) -> None:
    seat = seated(Vfb(password="pass word and more"))
    right = seat.viewer()
    right.begin(lambda asked: password.encrypted("pass wor", asked))
    assert right.look() == seat.picture
    for version, refusal in ((b"RFB 003.008\n", 4 + 4 + 21), (b"RFB 003.003\n", 4)):
        wrong = seat.viewer(version)
        (kind,) = wrong.security()
        assert kind == 2
        if version != b"RFB 003.003\n":
            wrong.send(b"\2")
        challenge = wrong.get(16)
        wrong.send(password.encrypted("password", challenge))
        assert wrong.get(refusal)[:4] == b"\0\0\0\1"
        assert wrong.sent_away()
    sly = seat.viewer()
    sly.security()
    sly.send(b"\1")
    assert sly.get(4) == b"\0\0\0\1"
    assert sly.sent_away()


def test_the_password_is_no_node(seated: Callable[[Vfb], Seat]) -> None:
    seat = seated(Vfb(password="secret"))
    assert seat.screen.backend("vnc") == "1"
    assert int(seat.screen.backend("vncport")) == seat.address[1]
    assert not seat.screen.has("vncpasswd")


def test_des_is_des() -> None:
    """Known answers (NIST SP 500-20 for a key of zeros), as the bits of other keys are turned round."""
    assert password.encrypted("", bytes(16)).hex() == "8ca64de9c1b123a7" * 2


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n",
        b"RFB 003.008\n\7",
        b"RFB 003.008\n\1\1\x63",
        b"RFB 003.008\n\1\1\0\0\0\0" + PixelFormat(24, 24, 0, 1, 255, 255, 255, 16, 8, 0).packed(),
        b"RFB 003.008\n\1\1\0\0\0\0" + PixelFormat(8, 8, 0, 1, 255, 255, 255, 16, 8, 0).packed(),
        b"RFB 003.008\n\1\1\2\0\xff\xff",
    ],
)
def test_who_speaks_otherwise_is_sent_away(seat: Seat, said: bytes) -> None:
    viewer = seat.viewer()
    viewer.send(said)
    assert viewer.sent_away()
    assert seat.looking().look() == seat.picture


def test_cut_text_is_skipped_without_being_kept(seat: Seat) -> None:
    viewer = seat.looking()
    viewer.send(struct.pack(">BxxxI", 6, 100_000) + b"x" * 50_000)
    viewer.send(b"x" * 50_000)
    assert viewer.look() == seat.picture


def test_who_does_not_read_is_not_waited_for(seat: Seat) -> None:
    slow = seat.looking()
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(200):
        slow.ask()
    other = seat.looking()
    assert other.look() == seat.picture
    assert slow.look() == seat.picture
    # Who asks without end for what he does not read is sent away.
    colour_map = b"\0\0\0\0" + PALETTE._replace(true_colour=0).packed()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_without_end(slow, colour_map * 16)
    assert other.look() == seat.picture


def test_there_are_only_so_many_connections(seat: Seat) -> None:
    looking = seat.looking()
    silent = []
    for _ in range(MOST_VIEWERS + 5):
        silent.append(seat.viewer())
        silent[-1].turn()
    assert silent[0].sent_away()
    assert looking.look() == seat.picture
    assert silent[-1].get(12) == b"RFB 003.008\n"


def test_without_descriptors_who_comes_is_sent_away(seat: Seat) -> None:
    looking = seat.looking()
    gc.collect()  # nothing that an earlier test has left is closed from here on: no lower number is free
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for _ in range(2):
        with socket.create_connection(seat.address) as client:
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limits[1]))
            try:
                until(lambda: select.select([client], [], [], 0)[0], looking.turn)  # noqa: B023 - at once
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert client.recv(1) == b""
    assert looking.look() == seat.looking().look() == seat.picture


def test_formats_that_nothing_is_shown_in_are_hardly_work(seat: Seat) -> None:
    viewer = seat.looking()
    viewer.format(PALETTE._replace(true_colour=0).packed(), 1)
    viewer.get(6 + 256 * 6)
    formats = [NATIVE._replace(red_shift=8, green_shift=16), PALETTE._replace(true_colour=0)]
    said = b"".join(b"\0\0\0\0" + one.packed() for one in formats)
    # As much as is taken at once, between two time slices of guests.
    assert lines_executed(lambda: viewer.send(said * 100)) < 20_000
    viewer.get((6 + 256 * 6) * 100)
    viewer.format(NATIVE.packed(), 4)
    assert viewer.look() == seat.picture


def test_everything_goes_with_the_domain(seat: Seat) -> None:
    viewer = seat.looking()
    server = seat.screen.device.server
    assert server is not None
    seat.machine.destroy(seat.domain)
    assert viewer.sent_away()
    assert server._socket.fileno() == server._spare.fileno() == -1, "its port is somebody else's now"
    assert not seat.machine._inbox.watching


def test_a_host_without_such_sockets(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without IPv6 knows `::1` all the same. The device leaves nothing behind."""

    def refused(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", refused)
        with pytest.raises(ValueError, match="VNC cannot listen at ::1, port 5900: Address family"):
            seat.machine.attach(seat.domain, Vfb(listen="::1", number=1))
    seat.machine.attach(seat.domain, Vfb(number=1))


def test_a_port_that_is_taken(seat: Seat) -> None:
    port = seat.address[1]
    with pytest.raises(
        ValueError, match=f"VNC cannot listen at 127.0.0.1, port {port}: Address already in use"
    ):
        seat.machine.attach(seat.domain, Vfb(port=port, find_unused=False, number=1))
    attached = seat.machine.attach(seat.domain, Vfb(port=port, number=1))
    assert attached.device.server.address[1] > port  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="there is no such address"):
        seat.machine.attach(seat.domain, Vfb(listen="nowhere.invalid", number=2))


def test_a_region_never_misses_a_pixel() -> None:
    region = Region()
    rects = [Rect(x * 7 % 50, x * 13 % 40, 3 + x % 5, 2 + x % 7) for x in range(3 * MOST_RECTS)]
    for rect in rects:
        region.add(rect)
    region.add(Rect(0, 0, 0, 5))
    area = Rect(10, 10, 30, 30)
    taken = region.take(area)
    rest = region.take(Rect(0, 0, 100, 100))
    for rect in rects:
        for x in range(rect.x, rect.right):
            for y in range(rect.y, rect.bottom):
                pixel = Rect(x, y, 1, 1)
                assert any(one.within(pixel) for one in taken + rest)
                assert not pixel.within(area) or any(one.within(pixel) for one in taken)
    assert not region.touches(Rect(0, 0, 100, 100))
    assert list(Rect(0, 0, 10, 7).bands(25)) == [Rect(0, y, 10, min(2, 7 - y)) for y in (0, 2, 4, 6)]
