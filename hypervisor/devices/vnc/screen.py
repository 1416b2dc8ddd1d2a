"""What a VNC server shows and whom it tells of keys, as it sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.vnc.region import Rect


class Viewer(Protocol):
    """Who looks at a screen."""

    def resized(self) -> None:
        """The screen has another size; all of it has changed."""
        ...

    def damaged(self, rect: Rect) -> None:
        """These pixels have changed. Must not take long: the guest waits."""
        ...


class Screen(Protocol):
    """A picture that changes, and the keyboard and pointer that belong to it. Up to 65535 pixels a side."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    def read(self, rect: Rect) -> bytes:
        """Pixels as they are now, row after row, four bytes each: blue, green, red, one without a meaning.
        Black outside the screen."""
        ...

    def look(self, viewer: Viewer) -> None:
        """Tell a viewer from now on what changes."""
        ...

    def look_away(self, viewer: Viewer) -> None:
        """Idempotent."""
        ...

    def key(self, keycode: int, *, pressed: bool) -> None:
        """A key or a button of the pointer, by Linux's number."""
        ...

    def point(self, x: int, y: int, wheel: int) -> None:
        """The pointer is there; its wheel has turned by so many clicks, towards the user if positive."""
        ...


class Outside(Protocol):
    """How sockets reach the machine (`paravane.devices.xenbus.host.Outside`)."""

    def watch(self, fileno: int, ready: Callable[[], object], *, for_guests: bool = True) -> None: ...

    def adjust(
        self, fileno: int, *, readable: bool = True, room: Callable[[], object] | None = None
    ) -> None: ...

    def unwatch(self, fileno: int) -> None: ...
