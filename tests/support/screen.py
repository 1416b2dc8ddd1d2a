"""Frontends of framebuffers and keyboards, played from outside, and a VNC viewer of few words."""

from __future__ import annotations

import socket
import struct
import zlib
from typing import TYPE_CHECKING, Any

from paravane.abi.fbif import (
    XENFB_PAGE,
    XENFB_RESIZE,
    XENFB_UPDATE,
    XenfbPage,
    XenfbResize,
    XenfbType,
    XenfbUpdate,
)
from paravane.abi.kbdif import XENKBD_KEY, XENKBD_MOTION, XENKBD_POSITION, XenkbdType
from paravane.abi.xenbus import XenbusState
from paravane.devices.framebuffer import FramebufferDevice, KeyboardDevice
from paravane.devices.framebuffer.event_page import FRAMEBUFFER, KEYBOARD, Rings
from tests.support.frontend import MASK, Frontend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane import Domain, Machine
    from paravane.abi.layout import Layout

PIXEL = 4


class EventFrontend(Frontend):
    """The frontend's side of a page of events, as careful as its user."""

    rings: Rings

    def __init__(self, machine: Machine, domain: Domain, kind: str, number: int, first_ref: int) -> None:
        super().__init__(machine, domain, kind, number)
        self._next_ref = first_ref
        self.mfn, self.shared = self.frame()
        self.words = self.shared.cast("I")
        self.sent = self.seen = 0

    def listen(self) -> int:
        """A port for the backend, instead of the last one."""
        if self.port:
            self.domain.events.close(self.port)
        return super().listen()

    def frame(self) -> tuple[int, memoryview]:
        """A frame of the guest's, and its bytes."""
        (mfn,) = self.domain.memory.populate(1)
        return mfn, self.machine.platform.ram.bytes[mfn << 12 : (mfn + 1) << 12]

    def put(self, event: bytes) -> None:
        """Write an event and show it, without waking anybody."""
        at = self.rings.out_offset + self.sent % self.rings.out_length * 40
        self.shared[at : at + 40] = event.ljust(40, b"\0")
        self.sent = (self.sent + 1) & MASK
        self.words[3] = self.sent

    def events(self) -> list[bytes]:
        """The backend's events, taken."""
        found = []
        while self.seen != self.words[1]:
            at = self.rings.in_offset + self.seen % self.rings.in_length * 40
            found.append(bytes(self.shared[at : at + 40]))
            self.seen = (self.seen + 1) & MASK
        self.words[0] = self.seen
        return found


class FramebufferFrontend(EventFrontend):
    """A framebuffer's, with `size` bytes of pixels."""

    rings = FRAMEBUFFER

    def __init__(self, machine: Machine, domain: Domain, size: int = 1 << 16, number: int = 0) -> None:
        super().__init__(machine, domain, "vfb", number, 64)
        attachment = domain.devices.find("vfb", number)
        assert attachment is not None
        assert isinstance(attachment.device, FramebufferDevice)
        self.device = attachment.device
        self.frames = [self.frame() for _ in range(-(-size // 4096))]
        self.directories = [self.frame() for _ in range(-(-len(self.frames) // 1024))]
        for at, (_, words) in enumerate(self.directories):
            mfns = [mfn for mfn, _ in self.frames[at * 1024 : (at + 1) * 1024]]
            words[: len(mfns) * 4] = struct.pack(f"<{len(mfns)}I", *mfns)
        self.size = size

    def describe(self, width: int, height: int, stride: int, depth: int, size: int | None = None) -> None:
        """Fill in the shared page."""
        directory = (*(mfn for mfn, _ in self.directories), *[0] * 256)[:256]
        page = XenfbPage(
            0, 0, 0, 0, width, height, stride, self.size if size is None else size, depth, directory
        )
        self.shared[: XENFB_PAGE.size] = XENFB_PAGE.pack(page)
        self.sent = self.seen = 0

    def connect(
        self, width: int = 64, height: int = 32, stride: int = 256, depth: int = 32, *, updates: bool = True
    ) -> XenbusState:
        self.describe(width, height, stride, depth)
        self.write("page-ref", self.mfn)
        self.write("protocol", "x86_32-abi")
        self.write("event-channel", self.listen())
        self.write("feature-update", int(updates))
        return self.switch(XenbusState.Initialised)

    def paint(self, offset: int, data: bytes) -> None:
        """Store bytes into the framebuffer."""
        while data:
            number, at = divmod(offset, 4096)
            part = data[: 4096 - at]
            self.frames[number][1][at : at + len(part)] = part
            offset, data = offset + len(part), data[len(part) :]

    def update(self, x: int, y: int, width: int, height: int) -> None:
        event = XenfbUpdate(XenfbType.UPDATE, x, y, width, height)
        self.put(XENFB_UPDATE.pack(event))
        self.event()

    def resize(self, width: int, height: int, stride: int, depth: int = 32, offset: int = 0) -> None:
        event = XenfbResize(XenfbType.RESIZE, width, height, stride, depth, offset)
        self.put(XENFB_RESIZE.pack(event))
        self.event()


class KeyboardFrontend(EventFrontend):
    """A keyboard's."""

    rings = KEYBOARD

    def __init__(self, machine: Machine, domain: Domain, number: int = 0) -> None:
        super().__init__(machine, domain, "vkbd", number, 96)
        attachment = domain.devices.find("vkbd", number)
        assert attachment is not None
        assert isinstance(attachment.device, KeyboardDevice)
        self.device = attachment.device

    def connect(self, *, granted: bool = True) -> XenbusState:
        if granted:
            self.grant(self._next_ref, self.mfn)
            self.write("page-gref", self._next_ref)
        else:
            self.write("page-ref", self.mfn)
        self.write("event-channel", self.listen())
        return self.switch(XenbusState.Initialised)

    def told(self) -> list[tuple[object, ...]]:
        """The events, each as its struct has it."""
        layouts: dict[XenkbdType, Layout[Any]] = {
            XenkbdType.KEY: XENKBD_KEY,
            XenkbdType.MOTION: XENKBD_MOTION,
            XenkbdType.POS: XENKBD_POSITION,
        }
        found = []
        for event in self.events():
            layout = layouts[XenkbdType(event[0])]
            found.append(tuple(layout.unpack(event[: layout.size])))
        return found


class Viewer:
    """A VNC viewer that shares its thread with the machine: it has that run while it waits."""

    def __init__(
        self, machine: Machine, address: tuple[str, int], version: bytes = b"RFB 003.008\n", shared: int = 1
    ) -> None:
        self.machine = machine
        self.version = version
        self.shared = shared
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.pixel = PIXEL
        self.size = (0, 0)
        self.name = ""
        self._streams: dict[int, zlib._Decompress] = {}
        self.screen = bytearray()

    def close(self) -> None:
        self.socket.close()

    def turn(self) -> None:
        """Let the machine look at its inputs, and its backends work."""
        self.machine._inbox.deliver(0.01)
        while self.machine.platform.bus.due:
            self.machine.platform.bus.turn()

    def get(self, size: int) -> bytes:
        """So many bytes. EOFError when the server has closed."""
        found = b""
        while len(found) < size:
            try:
                part = self.socket.recv(size - len(found))
            except BlockingIOError:
                self.turn()
                continue
            except ConnectionResetError:
                raise EOFError from None
            if not part:
                raise EOFError
            found += part
        return found

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.turn()

    def sent_away(self) -> bool:
        """Whether the server closes, whatever it still says."""
        try:
            while True:
                self.get(1)
        except EOFError:
            return True

    def security(self) -> bytes:
        """The versions, and the security types that are offered."""
        assert self.get(12) == b"RFB 003.008\n"
        self.send(self.version)
        if self.version == b"RFB 003.003\n":
            return self.get(4)[3:]
        return self.get(self.get(1)[0])

    def begin(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        """The handshake; `answer` makes the answer to a challenge."""
        (kind,) = self.security()
        if self.version != b"RFB 003.003\n":
            self.send(bytes([kind]))
        if answer is not None:
            self.send(answer(self.get(16)))
        if answer is not None or self.version == b"RFB 003.008\n":
            assert self.get(4) == bytes(4)
        self.send(bytes([self.shared]))
        width, height = struct.unpack(">HH", self.get(4))
        self.size = width, height
        self.get(16)
        self.name = self.get(*struct.unpack(">I", self.get(4))).decode()
        self.screen = bytearray(width * height * PIXEL)

    def encodings(self, *numbers: int) -> None:
        self.send(struct.pack(f">BxH{len(numbers)}i", 2, len(numbers), *numbers))

    def format(self, packed: bytes, size: int) -> None:
        self.send(b"\0\0\0\0" + packed)
        self.pixel = size
        self.screen = bytearray(self.size[0] * self.size[1] * size)

    def ask(self, *, incremental: bool = False, area: Sequence[int] = ()) -> None:
        area = area or (0, 0, *self.size)
        self.send(struct.pack(">BBHHHH", 3, incremental, *area))

    def key(self, keysym: int, *, pressed: bool = True) -> None:
        self.send(struct.pack(">BBxxI", 4, pressed, keysym))

    def point(self, x: int, y: int, buttons: int = 0) -> None:
        self.send(struct.pack(">BBHH", 5, buttons, x, y))

    def update(self) -> list[tuple[int, int, int, int, int]]:
        """The next update, taken into `screen`: its rectangles, each with its encoding."""
        (count,) = struct.unpack(">xxH", self.get(4))
        found: list[tuple[int, int, int, int, int]] = []
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", self.get(12))
            found.append((x, y, width, height, encoding))
            if encoding == -223:
                self.size = width, height
                self.screen = bytearray(width * height * self.pixel)
                continue
            data = self._pixels(width, height, encoding)
            for row in range(height):
                at = ((y + row) * self.size[0] + x) * self.pixel
                line = width * self.pixel
                self.screen[at : at + line] = data[row * line : (row + 1) * line]
        return found

    def look(self) -> bytes:
        """The whole picture, as it is now."""
        self.ask()
        self.update()
        return bytes(self.screen)

    def _pixels(self, width: int, height: int, encoding: int) -> bytes:
        if encoding == 0:
            return self.get(width * height * self.pixel)
        stream = self._streams.setdefault(encoding, zlib.decompressobj())
        (length,) = struct.unpack(">I", self.get(4))
        data = stream.decompress(self.get(length))
        return data if encoding == 6 else self._tiles(width, height, data)

    def _tiles(self, width: int, height: int, data: bytes) -> bytes:
        """ZRLE, of which only what this server makes: raw tiles and those of one colour."""
        compact = 3 if self.pixel == 4 else self.pixel
        made, at = bytearray(width * height * self.pixel), 0
        for y in range(0, height, 64):
            for x in range(0, width, 64):
                columns, rows = min(64, width - x), min(64, height - y)
                kind, at = data[at], at + 1
                assert kind in (0, 1)
                count = 1 if kind else columns * rows
                pixels = [data[at + n * compact : at + (n + 1) * compact] for n in range(count)]
                at += count * compact
                for row in range(rows):
                    for column in range(columns):
                        pixel = pixels[0 if kind else row * columns + column]
                        to = ((y + row) * width + x + column) * self.pixel
                        made[to : to + len(pixel)] = pixel
        assert at == len(data)
        return bytes(made)
