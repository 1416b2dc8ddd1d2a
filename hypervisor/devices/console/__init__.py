"""Consoles: the rings of bytes that guests have, and what they are joined to on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.devices.console.control_console import ControlConsole
from paravane.devices.console.ring_console import BACKLOG, Console, NoConsole, Sink
from paravane.devices.console.spec import ConsoleSpec, parse_channel, parse_console
from paravane.late import late

if TYPE_CHECKING:
    from paravane.devices.console.extra import ExtraConsole, ExtraConsoleDevice, consoles_of
    from paravane.devices.console.file_end import FileEnd
    from paravane.devices.console.host_end import HostEnd, Joined
    from paravane.devices.console.pty_end import PtyEnd
    from paravane.devices.console.socket_end import TcpEnd, UnixEnd
else:
    __getattr__ = late(
        __name__,
        extra="ExtraConsole ExtraConsoleDevice consoles_of",
        file_end="FileEnd",
        host_end="HostEnd Joined",
        pty_end="PtyEnd",
        socket_end="TcpEnd UnixEnd",
    )

__all__ = [
    "BACKLOG",
    "Console",
    "ConsoleSpec",
    "ControlConsole",
    "ExtraConsole",
    "ExtraConsoleDevice",
    "FileEnd",
    "HostEnd",
    "Joined",
    "NoConsole",
    "PtyEnd",
    "Sink",
    "TcpEnd",
    "UnixEnd",
    "consoles_of",
    "parse_channel",
    "parse_console",
]
