"""The monitor of a console that is this process's terminal."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from paravane.tools.monitor.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import Machine
    from paravane.tools.monitor.commands import Answer, Commands, Host
    from paravane.tools.terminal import Terminal


class OnTerminal:
    """The monitor that the escape key opens there, whose commands `host` is asked for. They are loaded when
    the first one is entered: most who boot a kernel have none."""

    def __init__(self, terminal: Terminal, host: Host) -> None:
        self._terminal = terminal
        self._host = host
        self._commands: Commands | None = None
        self._present: tuple[Machine, ExitStack] | None = None
        terminal.monitor = Monitor(self._perform, terminal.speak, erases=os.environ.get("TERM") != "dumb")

    @contextmanager
    def about(self, machine: Machine) -> Iterator[None]:
        """As `Commands.about`."""
        with ExitStack() as stack:
            self._present = machine, stack
            if self._commands is not None:
                stack.enter_context(self._commands.about(machine))
            try:
                yield
            finally:
                self._present = None

    def finish(self) -> OSError | None:
        """As `Commands.finish`."""
        return None if self._commands is None else self._commands.finish()

    def _perform(self, line: str) -> Answer:
        if self._commands is None:
            from paravane.tools.monitor.commands import Commands  # noqa: PLC0415 - loaded for who asks for it only

            self._commands = Commands(self._host, self._terminal.tell)
            if self._present is not None:
                machine, stack = self._present
                stack.enter_context(self._commands.about(machine))
        return self._commands.perform(line)
