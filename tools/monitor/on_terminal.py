"""The monitor of a console that is this process's terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from paravane.tools.monitor.commands import Commands
from paravane.tools.monitor.monitor import Monitor

if TYPE_CHECKING:
    from paravane.tools.monitor.commands import Host
    from paravane.tools.terminal import Terminal


def monitor_on(terminal: Terminal, host: Host) -> Commands:
    """Have the escape key open a monitor there, whose commands `host` is asked for."""
    commands = Commands(host, terminal.tell)
    terminal.monitor = Monitor(commands.perform, terminal.speak, erases=os.environ.get("TERM") != "dumb")
    return commands
