"""A screen as one viewer sees it: what of it has changed since, what was asked for, and the updates that
follow."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Final

from paravane.devices.vnc.encodings import Encoder, Encoding, header
from paravane.devices.vnc.pixel_format import NATIVE, Translator
from paravane.devices.vnc.region import Rect, Region

if TYPE_CHECKING:
    from collections.abc import Collection

    from paravane.devices.vnc.pixel_format import PixelFormat
    from paravane.devices.vnc.screen import Screen

BAND: Final = 1 << 16
"""Pixels that are encoded at a time."""

_FRAMEBUFFER_UPDATE: Final = struct.Struct(">BxH")
_PREFERRED: Final = (Encoding.ZRLE, Encoding.ZLIB, Encoding.RAW)


class View:
    """Has no pixels of its own: they are read when they are sent. Of a picture that changes meanwhile, the
    next update has the rest."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._size = screen.size
        self._format = NATIVE
        self._translator: Translator | None = None
        self._encoder = Encoder()
        self._encoding = Encoding.RAW
        self._resizes = self._resized = False
        self._damage = Region()
        self._asked: Rect | None = None
        self._bands: deque[Rect] = deque()

    @property
    def size(self) -> tuple[int, int]:
        """What the viewer takes the screen's size to be."""
        return self._size

    @property
    def _whole(self) -> Rect:
        return Rect(0, 0, *self._size)

    @property
    def due(self) -> bool:
        """Whether there is a `piece` to be sent."""
        if self._bands:
            return True
        return self._asked is not None and (self._resized or self._damage.touches(self._asked))

    def piece(self) -> bytes:
        """The next part of an update: its beginning, or a band of it."""
        if self._bands:
            band = self._bands.popleft()
            # Its tables are made when they are needed: a viewer may name formats faster than these are made.
            if self._translator is None:
                self._translator = Translator(self._format)
            return self._encoder.encode(self._encoding, band, self._screen.read(band), self._translator)
        return self._begin()

    def ask(self, area: Rect, *, incremental: bool) -> None:
        """The viewer wants an update; what has not changed too, unless `incremental`."""
        if not incremental:
            self._damage.add(area.within(self._whole))
        # Of several requests that wait, one answer will do: for all that they ask for.
        self._asked = area if self._asked is None else self._asked.around(area)

    def damaged(self, rect: Rect) -> None:
        self._damage.add(rect.within(self._whole))

    def resized(self) -> None:
        """The screen may have another size; all of it has changed."""
        self._damage.clear()
        if self._resizes:
            self._resized = self._resized or self._screen.size != self._size
            self._size = self._screen.size
        self.damaged(self._whole)

    def take_pixels(self, wanted: PixelFormat) -> None:
        """The viewer wants its pixels so from now on."""
        self._format, self._translator = wanted, None

    def choose(self, known: Collection[int]) -> None:
        """The viewer knows these encodings."""
        self._encoding = next((one for one in _PREFERRED if one in known), Encoding.RAW)
        self._resizes = Encoding.DESKTOP_SIZE in known
        if self._resizes and self._size != self._screen.size:
            self.resized()

    def _begin(self) -> bytes:
        assert self._asked is not None
        damaged = self._damage.take(self._whole if self._resized else self._asked)
        self._bands.extend(band for rect in damaged for band in rect.bands(BAND))
        sizes = [header(self._whole, Encoding.DESKTOP_SIZE)] if self._resized else []
        self._asked, self._resized = None, False
        return _FRAMEBUFFER_UPDATE.pack(0, len(sizes) + len(self._bands)) + b"".join(sizes)
