"""What a framebuffer and a keyboard have in common: a picture that viewers look at, and whom their keys go
to."""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol

from paravane.devices.vnc import Rect
from paravane.devices.vnc.pixel_format import PIXEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.framebuffer.picture import Picture
    from paravane.devices.framebuffer.settings import VfbSettings
    from paravane.devices.vnc import Viewer
    from paravane.devices.xenbus import DeviceHost

BLANK: Final = (640, 480)
"""Pixels of a display that shows nothing."""


class _Doing(IntEnum):
    """What viewers do that guests notice: the first byte of what arrives."""

    VIEWED = 0
    KEY = 1
    POINT = 2


_VIEWED: Final = struct.Struct("<B?")
_KEY: Final = struct.Struct("<BI?")
_POINT: Final = struct.Struct("<BIIi")


class Inputs(Protocol):
    """A keyboard with a pointer."""

    def key(self, keycode: int, *, pressed: bool) -> None: ...

    def point(self, x: int, y: int, wheel: int) -> None: ...


class Display:
    """A screen (`paravane.devices.vnc.Screen`): black while no frontend shows a picture."""

    def __init__(self, arrive: Callable[[bytes], object] | None = None) -> None:
        """What viewers do goes to `arrive`, which has `take` called with it, now or later (None: now)."""
        self._arrive = self.take if arrive is None else arrive
        self.viewed = False
        """Whether anybody looks, as guests are to see it."""
        self.picture: Picture | None = None
        """What it shows."""
        self.keyboard: Inputs | None = None
        """Who gets the keys; without one they are lost."""
        self.watched: Callable[[], object] | None = None
        """Called when the first viewer comes and when the last one goes."""
        self._viewers: dict[Viewer, None] = {}

    @property
    def size(self) -> tuple[int, int]:
        if self.picture is None:
            return BLANK
        return self.picture.shape.width, self.picture.shape.height

    def show(self, picture: Picture | None) -> None:
        """Another picture, or none."""
        self.picture = picture
        for viewer in tuple(self._viewers):
            viewer.resized()

    def changed(self, rect: Rect) -> None:
        """These pixels are others now."""
        for viewer in self._viewers:
            viewer.damaged(rect)

    def read(self, rect: Rect) -> bytes:
        known = rect.within(Rect(0, 0, *self.size))
        if self.picture is None or not known:
            return bytes(rect.width * rect.height * PIXEL)
        data = self.picture.read(known)
        if known == rect:
            return data
        # A viewer that cannot be told of another size sees black around the picture.
        line, known_line = rect.width * PIXEL, known.width * PIXEL
        made = bytearray(rect.height * line)
        for row in range(known.height):
            at = (known.y - rect.y + row) * line + (known.x - rect.x) * PIXEL
            made[at : at + known_line] = data[row * known_line : (row + 1) * known_line]
        return bytes(made)

    def look(self, viewer: Viewer) -> None:
        self._viewers[viewer] = None
        if len(self._viewers) == 1:
            self._arrive(_VIEWED.pack(_Doing.VIEWED, True))

    def look_away(self, viewer: Viewer) -> None:
        if viewer in self._viewers:
            del self._viewers[viewer]
            if not self._viewers:
                self._arrive(_VIEWED.pack(_Doing.VIEWED, False))

    def key(self, keycode: int, *, pressed: bool) -> None:
        self._arrive(_KEY.pack(_Doing.KEY, keycode, pressed))

    def point(self, x: int, y: int, wheel: int) -> None:
        self._arrive(_POINT.pack(_Doing.POINT, x, y, wheel))

    def take(self, data: bytes | None) -> None:
        """Viewers do this. Raises ValueError for what none can do."""
        doing = data[0] if data else None
        try:
            if data and doing == _Doing.VIEWED:
                self._look(_VIEWED.unpack(data)[1])
            elif data and doing == _Doing.KEY:
                _, keycode, pressed = _KEY.unpack(data)
                if self.keyboard is not None:
                    self.keyboard.key(keycode, pressed=pressed)
            elif data and doing == _Doing.POINT:
                _, x, y, wheel = _POINT.unpack(data)
                if self.keyboard is not None:
                    width, height = self.size
                    self.keyboard.point(min(x, width - 1), min(y, height - 1), wheel)
            else:
                raise ValueError(f"no viewer does {doing}")
        except struct.error:
            raise ValueError(f"no viewer does {doing} so") from None

    def _look(self, viewed: bool) -> None:
        self.viewed = viewed
        if self.watched is not None:
            self.watched()


class Displays:
    """The displays of a machine (`DeviceHost.shared`).

    A framebuffer and a keyboard of the same description meet here. Domains may be described alike: each
    device takes the first display that has none of its kind, so those of one domain, which are attached one
    after the other, find each other.
    """

    def __init__(self, host: DeviceHost) -> None:
        self._joined: dict[VfbSettings, list[tuple[Display, set[str]]]] = {}
        self._outside = host.outside
        self._sources: dict[str, Display] = {}
        """By the names by which what their viewers do arrives."""

    def join(self, vfb: VfbSettings, kind: str) -> Display:
        """The display for a device of this kind."""
        known = self._joined.setdefault(vfb, [])
        for display, kinds in known:
            if kind not in kinds:
                kinds.add(kind)
                return display
        source = next(source for source in map("display {}".format, count()) if source not in self._sources)
        made = Display(partial(self._outside.arrived, source))
        self._outside.source(source, made.take)
        self._sources[source] = made
        known.append((made, {kind}))
        return made

    def leave(self, vfb: VfbSettings, kind: str, display: Display) -> None:
        """The device is gone."""
        known = self._joined[vfb]
        for entry in known:
            if entry[0] is display:
                entry[1].discard(kind)
        known[:] = [entry for entry in known if entry[1]]
        if all(entry[0] is not display for entry in known):
            self._forget(display)
        if not known:
            del self._joined[vfb]

    def _forget(self, display: Display) -> None:
        for source, one in tuple(self._sources.items()):
            if one is display:
                del self._sources[source]
                self._outside.forget(source)

    def close(self) -> None:
        self._joined.clear()
