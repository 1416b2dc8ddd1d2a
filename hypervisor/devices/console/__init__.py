"""Consoles: the rings of bytes that guests have, and what they are joined to on the host."""

from paravane.devices.console.control_console import ControlConsole
from paravane.devices.console.extra import ExtraConsole, ExtraConsoleDevice, consoles_of
from paravane.devices.console.file_end import FileEnd
from paravane.devices.console.host_end import HostEnd, Joined
from paravane.devices.console.pty_end import PtyEnd
from paravane.devices.console.ring_console import BACKLOG, Console, NoConsole, Sink
from paravane.devices.console.socket_end import TcpEnd, UnixEnd
from paravane.devices.console.spec import ConsoleSpec, parse_channel, parse_console

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
