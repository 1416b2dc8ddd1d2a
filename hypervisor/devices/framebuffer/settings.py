"""What a framebuffer is to be: data that outlives it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final

from paravane.arguments import check_type
from paravane.classes import dataclass
from paravane.devices.framebuffer.picture import MOST_PIXELS
from paravane.devices.vnc import FIRST_PORT, VncServer, check_available

if TYPE_CHECKING:
    from paravane.devices.vnc.screen import Outside, Screen
    from paravane.devices.xenbus import Nodes

LOOPBACK: Final = "127.0.0.1"

_MOST_PORT: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class VfbSettings:
    """What a framebuffer and its keyboard are to be.

    With `vnc` a VNC server shows it at the address `listen` of the host, at `port`, or with `find_unused` at
    the next one that is free. Of a `password` eight characters count; it needs the package cryptography.
    `title` is what viewers call it. `width` and `height`, in pixels, are what a frontend that asks is told to
    use.
    """

    vnc: bool = True
    listen: str = LOOPBACK
    port: int = FIRST_PORT
    find_unused: bool = True
    password: str | None = field(default=None, repr=False)
    width: int | None = None
    height: int | None = None
    number: int = 0
    title: str = "paravane"

    def __post_init__(self) -> None:
        """Raises TypeError for a value of a wrong type, by its name, and ValueError for one that cannot
        be."""
        for name in ("vnc", "find_unused"):
            check_type(name, getattr(self, name), bool)
        for name in ("listen", "title"):
            check_type(name, getattr(self, name), str)
        for name in ("port", "number"):
            check_type(name, getattr(self, name), int)
        check_type("password", self.password, str, type(None))
        if not 0 < self.port <= _MOST_PORT:
            raise ValueError(f"a port is from 1 to {_MOST_PORT}, not {self.port}")
        for name in ("width", "height"):
            side = getattr(self, name)
            check_type(name, side, int, type(None))
            if side is not None and not 0 < side <= MOST_PIXELS:
                raise ValueError(f"a {name} is from 1 to {MOST_PIXELS} pixels, not {side}")
        if (self.width is None) != (self.height is None):
            raise ValueError("a framebuffer's size is its width and its height: give both")
        if self.password is not None:
            check_available()

    @property
    def outside(self) -> bool:
        """Whether somebody may look at it, whose time is the host's."""
        return self.vnc

    @property
    def size_nodes(self) -> Nodes:
        """What frontends are told of the size."""
        if self.width is None or self.height is None:
            return {}
        return {"width": self.width, "height": self.height}

    def serve(self, outside: Outside, screen: Screen) -> VncServer | None:
        """The server that shows it, if there is to be one. Raises ValueError, a sentence."""
        if not self.vnc:
            return None
        return VncServer(
            outside,
            screen,
            self.title,
            listen=self.listen,
            port=self.port,
            find_unused=self.find_unused,
            password=self.password,
        )
