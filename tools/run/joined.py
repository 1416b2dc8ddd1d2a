"""One domain's console on this terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from paravane.tools.terminal import ESCAPES, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane import Machine
    from paravane.tools.consoles import DomainConsole


class JoinedConsole:
    """Standard input and output as a domain's console, until the user leaves it or the machine ends."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        """`write_line` takes lines for the user."""
        self._terminal = Terminal(where=self._where, help=self._help)
        self._write_line = write_line
        self._console: DomainConsole | None = None

    @property
    def left(self) -> bool:
        """Whether the user has left the console by its keys."""
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

    @contextmanager
    def joined(self, machine: Machine, console: DomainConsole) -> Iterator[None]:
        """Send input to the console, and its output here, while in the `with`."""
        before, console.show = console.show, self._terminal.write
        self._console = console
        if self._terminal.interactive:
            self._help()
        try:
            with self._terminal.joined(machine, console):
                yield
        finally:
            console.show, self._console = before, None

    def _help(self) -> None:
        self._write_line(f"paravane: {ESCAPES}")

    def _where(self) -> None:
        domain = None if self._console is None else self._console.domain
        if domain is not None:
            self._write_line(domain.where().removesuffix("\n"))
