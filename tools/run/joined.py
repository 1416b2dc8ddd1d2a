"""One domain's console on this terminal, at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from paravane.text import shown
from paravane.tools.ctl.protocol import RequestError
from paravane.tools.monitor.on_terminal import OnTerminal
from paravane.tools.terminal import ESCAPES, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from paravane import Machine
    from paravane.tools.consoles import DomainConsole
    from paravane.tools.lines import Lines


class JoinedConsole:
    """Standard input and output as a domain's console, until the user leaves it or the machine ends.

    `focused` is the name of that domain, which the user changes by the monitor.
    """

    def __init__(self, errors: Lines, name: str, consoles: Mapping[str, DomainConsole]) -> None:
        """`errors` takes lines for the user; `consoles` are those that there are to choose from, by name."""
        self.focused = name
        self._terminal = Terminal(errors=errors)
        self._monitor = OnTerminal(self._terminal, self)
        self._errors = errors
        self._consoles = consoles

    @property
    def left(self) -> bool:
        """Whether the user has left the console."""
        return self._terminal.detached

    @property
    def broken(self) -> bool:
        """Whether output goes nowhere any more; `failure` is why, unless it is just that nobody reads it."""
        return self._terminal.broken

    @property
    def failure(self) -> OSError | None:
        return self._terminal.failure

    def drain(self, deadline: float | None, abandon: Callable[[], bool]) -> int:
        """Wait as `Outlet.drain` does; how many bytes nobody took."""
        self._terminal.drain(deadline, abandon)
        return self._terminal.lost

    def restore(self) -> None:
        """Make the terminal what it was before, now: the process is about to end."""
        self._terminal.restore()

    def leave(self) -> None:
        """The user has seen enough."""
        self._terminal.leave()

    def check_steering(self) -> None:
        """Who is at the console may do to the domains what `ctl` can."""

    def focus(self, name: str) -> None:
        """Join the console of another domain in place of this one. Raises RequestError if there is none."""
        console = self._consoles.get(name)
        if console is None:
            raise RequestError(f"{shown(name)} has no console here")
        self._consoles[self.focused].show = _hide
        self.focused = name
        self._show()
        self._terminal.switch(console)

    @contextmanager
    def joined(self, machine: Machine) -> Iterator[None]:
        """Send input to the console, and its output here, while in the `with`; the others are hidden."""
        self._show()
        if self._terminal.interactive:
            self._errors.write(f"paravane: {ESCAPES}")
        try:
            with self._monitor.about(machine), self._terminal.joined(machine, self._consoles[self.focused]):
                yield
        finally:
            self._consoles[self.focused].show = _hide

    def finish(self) -> OSError | None:
        """Why what was traced meanwhile is not whole, if it is not."""
        return self._monitor.finish()

    def _show(self) -> None:
        self._consoles[self.focused].show = self._terminal.write


def _hide(data: bytes) -> None:
    """Show nothing of it."""
