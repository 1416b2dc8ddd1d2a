"""A framebuffer with its keyboard as it is described: xl's words (xl.cfg(5), `vfb`), and some of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paravane.classes import dataclass
from paravane.devices.framebuffer.device import FramebufferDevice
from paravane.devices.framebuffer.keyboard import KeyboardDevice
from paravane.devices.framebuffer.settings import LOOPBACK, VfbSettings
from paravane.devices.vnc import FIRST_PORT
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from paravane.devices.xenbus import DeviceConfig, DeviceHost

_IGNORED: Final = ("keymap", "opengl", "display", "xauthority")
"""Keys of xl's that say nothing here: viewers say which keys they have, and there is no window of ours."""


class Vfb(VfbSettings):
    """A framebuffer for `DomainConfig.devices` and `Machine.attach`; `devices` has its keyboard too."""

    __slots__ = ()

    @property
    def devices(self) -> tuple[DeviceConfig, ...]:
        """The framebuffer, and its keyboard with a pointer."""
        return (self, Vkbd(self))

    def open(self, host: DeviceHost) -> FramebufferDevice:
        """The device. Raises ValueError, a sentence, when its server cannot listen."""
        return FramebufferDevice(host, self)


@dataclass(frozen=True, slots=True)
class Vkbd:
    """The keyboard and the pointer of a framebuffer."""

    vfb: Vfb

    def open(self, host: DeviceHost) -> KeyboardDevice:
        """The device."""
        return KeyboardDevice(host, self.vfb)


def vfbs_of(texts: Iterable[str]) -> tuple[Vfb, ...]:
    """The framebuffers of a domain, numbered in this order. Raises ValueError, one sentence."""
    return tuple(parse_vfb(text, number) for number, text in enumerate(texts))


def parse_vfb(text: str, number: int = 0) -> Vfb:
    """`key=value,...`, where empty is a framebuffer with a VNC server at the first port that is free, and
    `vnc=PORT` one at that port. Raises ValueError, one sentence."""
    found: dict[str, Any] = {"number": number}
    display, unused, port = 0, True, None
    for word in filter(None, (word.strip() for word in text.split(","))):
        key, equals, value = (part.strip() for part in word.partition("="))
        if not equals or key not in _KEYS:
            raise ValueError(f"{shown(word)} is no setting of a framebuffer")
        name, read = _KEYS[key]
        setting = read(key, value)
        if name == "vnc":
            found["vnc"] = setting > 0
            port = setting if setting > 1 else None
        elif name == "listen":
            found["listen"], given = setting
            display = display if given is None else given
        elif name == "display":
            display = setting
        elif name == "unused":
            unused = setting
        elif name == "sdl" and setting:
            raise ValueError("there is no window (sdl) here, but VNC, which viewers show")
        elif name in ("password", "width", "height"):
            # xl's empty password is none.
            found[name] = setting or None
    return Vfb(
        **found, port=FIRST_PORT + display if port is None else port, find_unused=unused and port is None
    )


def _number(key: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        raise ValueError(f"{key}={shown(text[:40])}: this is no number from 0 to 99999")
    return int(text)


def _switch(key: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"{key} is 0 or 1, not {shown(text[:40])!r}")
    return text == "1"


def _listen(key: str, text: str) -> tuple[str, int | None]:
    """An address, maybe with a display: ADDR:N, [ADDR]:N."""
    address, colon, display = text.rpartition(":")
    if colon and (":" not in address or address.endswith("]")):
        return address.strip("[]") or LOOPBACK, _number(key, display)
    return text.strip("[]") or LOOPBACK, None


def _text(_key: str, text: str) -> str:
    return text


_KEYS: Final[dict[str, tuple[str, Callable[[str, str], Any]]]] = {
    "vnc": ("vnc", _number),
    "listen": ("listen", _listen),
    "vnclisten": ("listen", _listen),
    "passwd": ("password", _text),
    "vncpasswd": ("password", _text),
    "vncdisplay": ("display", _number),
    "vncunused": ("unused", _switch),
    "sdl": ("sdl", _switch),
    "width": ("width", _number),
    "height": ("height", _number),
    **dict.fromkeys(_IGNORED, ("", _text)),
}
"""Keys of a description: what each says, and how its value is read."""
