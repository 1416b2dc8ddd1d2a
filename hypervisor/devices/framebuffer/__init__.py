"""Framebuffers and keyboards: a domain's picture for VNC viewers, and their keys for it."""

from paravane.devices.framebuffer.device import FramebufferDevice
from paravane.devices.framebuffer.display import Display
from paravane.devices.framebuffer.keyboard import KeyboardDevice
from paravane.devices.framebuffer.png import png
from paravane.devices.framebuffer.vfb import Vfb, Vkbd, parse_vfb, vfbs_of
from paravane.devices.vnc import Rect

__all__ = [
    "Display",
    "FramebufferDevice",
    "KeyboardDevice",
    "Vfb",
    "Vkbd",
    "parse_vfb",
    "screenshot",
    "vfbs_of",
]


def screenshot(display: Display) -> bytes:
    """What a display shows now, as a PNG file."""
    width, height = display.size
    return png(width, height, display.read(Rect(0, 0, width, height)))
