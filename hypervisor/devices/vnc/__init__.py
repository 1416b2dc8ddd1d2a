"""A VNC server: pictures for viewers, keys and a pointer from them (RFC 6143)."""

from paravane.devices.vnc.password import check_available
from paravane.devices.vnc.region import Rect, Region
from paravane.devices.vnc.screen import Screen, Viewer
from paravane.devices.vnc.server import FIRST_PORT, VncServer

__all__ = ["FIRST_PORT", "Rect", "Region", "Screen", "Viewer", "VncServer", "check_available"]
