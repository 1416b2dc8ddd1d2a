"""One viewer: its socket, what it says, and the updates it is sent (RFC 6143).

A viewer may be slow, broken or hostile, and no guest waits for it. What it says is taken in small pieces, and
what it is sent is made piece by piece as its socket takes it: never more than one band of the picture waits
here.
"""

from __future__ import annotations

import logging
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from paravane.devices.vnc import handshake, password
from paravane.devices.vnc.handshake import Security
from paravane.devices.vnc.keysyms import BUTTONS, KEYCODES, WHEEL_DOWN, WHEEL_UP
from paravane.devices.vnc.pixel_format import NATIVE, PALETTE, SIZE, palette, parse_format
from paravane.devices.vnc.region import Rect
from paravane.devices.vnc.view import View

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from paravane.devices.vnc.screen import Outside, Screen

MOST_UNREAD: Final = 1 << 20
"""Bytes that may wait for a viewer while it goes on asking. Past that it is sent away."""

_PORTION: Final = 4096
_MOST_ENCODINGS: Final = 1024

log = logging.getLogger(__name__)


class Quit(Exception):  # noqa: N818 - it is no error of ours
    """The viewer is to be sent away; the message is one sentence."""


class Connection:
    """Speaks with one viewer until one of the two closes.

    `_wanted` bytes are what `_then` takes as soon as they are there; each step says what the next one is.
    """

    def __init__(
        self,
        made: socket.socket,
        outside: Outside,
        screen: Screen,
        name: str,
        secret: str | None,
        *,
        exclusive: Callable[[Connection], None],
        gone: Callable[[Connection], None],
    ) -> None:
        """`name` is the picture's title, `secret` the password. `exclusive` is called when the viewer wants
        to be the only one, `gone` when it is no more."""
        self.admitted = False
        """Whether it has come to see the picture."""
        self._socket = made
        self._outside = outside
        self._screen = screen
        self._name = name
        self._secret = secret
        self._exclusive, self._gone = exclusive, gone
        self._received = bytearray()
        self._to_skip = 0
        self._unsent = bytearray()
        self._closed = self._waits = False
        self._minor = 8
        self._challenge = b""
        self._view = View(screen)
        self._held: dict[int, None] = {}
        self._buttons = 0
        made.setblocking(False)
        outside.watch(made.fileno(), self._ready)
        self._expect(len(handshake.VERSION), self._version)
        self._send(handshake.VERSION)

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._screen.look_away(self)
        for keycode in self._held:
            self._screen.key(keycode, pressed=False)
        self._outside.unwatch(self._socket.fileno())
        self._socket.close()
        self._gone(self)

    # The screen (`Viewer`).

    def resized(self) -> None:
        self._view.resized()
        self._wait_for_room()

    def damaged(self, rect: Rect) -> None:
        self._view.damaged(rect)
        self._wait_for_room()

    # The socket.

    def _ready(self) -> None:
        try:
            data = self._socket.recv(_PORTION)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        try:
            self._take()
        except Quit as why:
            log.info("a viewer is sent away: %s", why)
            with suppress(OSError):
                self._socket.send(self._unsent)
            self.close()

    def _take(self) -> None:
        """Take what has come, step by step."""
        while not self._closed:
            skipped = min(self._to_skip, len(self._received))
            del self._received[:skipped]
            self._to_skip -= skipped
            if self._to_skip or len(self._received) < self._wanted:
                return
            data = bytes(self._received[: self._wanted])
            del self._received[: self._wanted]
            self._then(data)

    def _expect(self, size: int, then: Callable[[bytes], None]) -> None:
        self._wanted, self._then = size, then

    def _send(self, data: bytes) -> None:
        self._unsent += data
        if len(self._unsent) > MOST_UNREAD + len(data):
            raise Quit("it does not read what it asks for")
        self._wait_for_room()

    def _wait_for_room(self) -> None:
        """Have `_room` called if there is anything to send, or that could be."""
        wanted = bool(self._unsent or self._view.due)
        if wanted is not self._waits and not self._closed:
            self._waits = wanted
            self._outside.adjust(self._socket.fileno(), room=self._room if wanted else None)

    def _room(self) -> None:
        """The socket takes bytes."""
        if not self._unsent and self._view.due:
            self._unsent += self._view.piece()
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._unsent[:sent]
        self._wait_for_room()

    # The handshake.

    def _version(self, line: bytes) -> None:
        try:
            self._minor = handshake.minor_of(line)
        except ValueError as error:
            raise Quit(str(error)) from None
        security = Security.NONE if self._secret is None else Security.VNC
        self._send(handshake.offered(self._minor, security))
        if self._minor == 3:
            self._secure(bytes([security]))
        else:
            self._expect(1, self._secure)

    def _secure(self, chosen: bytes) -> None:
        wanted = Security.NONE if self._secret is None else Security.VNC
        if chosen[0] != wanted:
            self._send(handshake.result(self._minor, f"there is no security type {chosen[0]} here"))
            raise Quit(f"it wants security type {chosen[0]}")
        if self._secret is not None:
            self._challenge = password.challenge()
            self._send(self._challenge)
            self._expect(password.CHALLENGE_SIZE, self._answer)
            return
        if self._minor == 8:
            self._send(handshake.result(self._minor))
        self._expect(1, self._begin)

    def _answer(self, answer: bytes) -> None:
        if self._secret is None or not password.answers(self._secret, self._challenge, answer):
            self._send(handshake.result(self._minor, "the password is wrong"))
            raise Quit("its password is wrong")
        self._send(handshake.result(self._minor))
        self._expect(1, self._begin)

    def _begin(self, shared: bytes) -> None:
        """ClientInit and ServerInit."""
        self.admitted = True
        if not shared[0]:
            self._exclusive(self)
        self._view = View(self._screen)
        self._screen.look(self)
        self._send(struct.pack(">HH", *self._view.size) + NATIVE.packed() + handshake.text(self._name))
        self._expect(1, self._message)

    # Messages.

    def _message(self, kind: bytes) -> None:
        if kind[0] not in _MESSAGES:
            raise Quit(f"it sends a message {kind[0]}, which there is none")
        size, then = _MESSAGES[kind[0]]
        self._expect(size, lambda data: self._finished(then, data))

    def _finished(self, then: Callable[[Connection, bytes], None], data: bytes) -> None:
        self._expect(1, self._message)
        then(self, data)

    def _set_pixel_format(self, data: bytes) -> None:
        try:
            wanted = parse_format(data[3:])
        except ValueError as error:
            raise Quit(f"it wants {error}") from None
        self._view.take_pixels(wanted)
        if wanted is PALETTE:
            self._send(struct.pack(">BxHH", 1, 0, 256) + palette())

    def _set_encodings(self, data: bytes) -> None:
        (count,) = struct.unpack(">xH", data)
        if count > _MOST_ENCODINGS:
            raise Quit(f"it knows {count} encodings")
        self._expect(4 * count, self._choose_encoding)

    def _choose_encoding(self, data: bytes) -> None:
        self._expect(1, self._message)
        self._view.choose({number for (number,) in struct.iter_unpack(">i", data)})
        self._wait_for_room()

    def _ask(self, data: bytes) -> None:
        incremental, *place = struct.unpack(">BHHHH", data)
        self._view.ask(Rect(*place), incremental=bool(incremental))
        self._wait_for_room()

    def _key(self, data: bytes) -> None:
        pressed, keysym = struct.unpack(">BxxI", data)
        keycode = KEYCODES.get(keysym)
        if keycode is not None:
            self._press(keycode, pressed=bool(pressed))

    def _press(self, keycode: int, *, pressed: bool) -> None:
        if pressed:
            self._held[keycode] = None
        else:
            self._held.pop(keycode, None)
        self._screen.key(keycode, pressed=pressed)

    def _point(self, data: bytes) -> None:
        buttons, x, y = struct.unpack(">BHH", data)
        changed = buttons ^ self._buttons
        self._buttons = buttons
        turned = changed & buttons
        self._screen.point(x, y, bool(turned & WHEEL_DOWN) - bool(turned & WHEEL_UP))
        for at, keycode in enumerate(BUTTONS):
            if changed >> at & 1:
                self._press(keycode, pressed=bool(buttons >> at & 1))

    def _cut_text(self, data: bytes) -> None:
        """What was cut there is not for guests: kbdif.h has no way for it."""
        (self._to_skip,) = struct.unpack(">3xI", data)


_MESSAGES: Final[dict[int, tuple[int, Callable[[Connection, bytes], None]]]] = {
    0: (3 + SIZE, Connection._set_pixel_format),
    2: (3, Connection._set_encodings),
    3: (9, Connection._ask),
    4: (7, Connection._key),
    5: (5, Connection._point),
    6: (7, Connection._cut_text),
}
"""Messages of a viewer: how many bytes follow the number, and who takes them."""
