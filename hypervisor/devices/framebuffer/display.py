"""What a framebuffer and a keyboard have in common: a picture that viewers look at, and whom their keys go
to."""

from __future__ import annotations

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


class Inputs(Protocol):
    """A keyboard with a pointer."""

    def key(self, keycode: int, *, pressed: bool) -> None: ...

    def point(self, x: int, y: int, wheel: int) -> None: ...


class Display:
    """A screen (`paravane.devices.vnc.Screen`): black while no frontend shows a picture."""

    def __init__(self) -> None:
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

    @property
    def viewed(self) -> bool:
        """Whether anybody looks."""
        return bool(self._viewers)

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
        if len(self._viewers) == 1 and self.watched is not None:
            self.watched()

    def look_away(self, viewer: Viewer) -> None:
        if viewer in self._viewers:
            del self._viewers[viewer]
            if not self._viewers and self.watched is not None:
                self.watched()

    def key(self, keycode: int, *, pressed: bool) -> None:
        if self.keyboard is not None:
            self.keyboard.key(keycode, pressed=pressed)

    def point(self, x: int, y: int, wheel: int) -> None:
        if self.keyboard is not None:
            width, height = self.size
            self.keyboard.point(min(x, width - 1), min(y, height - 1), wheel)


class Displays:
    """The displays of a machine (`DeviceHost.shared`).

    A framebuffer and a keyboard of the same description meet here. Domains may be described alike: each
    device takes the first display that has none of its kind, so those of one domain, which are attached one
    after the other, find each other.
    """

    def __init__(self, host: DeviceHost) -> None:
        self._joined: dict[VfbSettings, list[tuple[Display, set[str]]]] = {}

    def join(self, vfb: VfbSettings, kind: str) -> Display:
        """The display for a device of this kind."""
        known = self._joined.setdefault(vfb, [])
        for display, kinds in known:
            if kind not in kinds:
                kinds.add(kind)
                return display
        known.append((Display(), {kind}))
        return known[-1][0]

    def leave(self, vfb: VfbSettings, kind: str, display: Display) -> None:
        """The device is gone."""
        known = self._joined[vfb]
        for entry in known:
            if entry[0] is display:
                entry[1].discard(kind)
        known[:] = [entry for entry in known if entry[1]]
        if not known:
            del self._joined[vfb]

    def close(self) -> None:
        self._joined.clear()
