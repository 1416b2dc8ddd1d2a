"""What a console is joined to on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.console.ring_console import Sink
    from paravane.devices.xenbus import DeviceHost


class Joined(Protocol):
    """A console, as its end on the host sees it: see `paravane.devices.console.Console`."""

    @property
    def room(self) -> int: ...
    def feed(self, data: bytes) -> int: ...
    def when_room(self, callback: Callable[[], None]) -> None: ...
    def resume(self) -> None: ...


class HostEnd(Protocol):
    """One console's end on the host, in the machine's thread. Close it.

    `address` says to people where it is, "" for one that has no place; `tty` is the path of its terminal,
    if it has one.
    """

    address: str
    tty: str

    def write(self, data: bytes) -> int | None:
        """The console's sink (`Sink`): never waits, and never raises."""
        ...

    def join(self, console: Joined) -> None:
        """From now on what comes in here is for `console`."""
        ...

    def part(self) -> None:
        """Nobody takes what comes in any more: it stays where it is. Idempotent."""
        ...

    def finish(self) -> None:
        """The console is about to be closed: from now on take all that comes. Idempotent."""
        ...

    def close(self) -> None:
        """Let go of everything that is the host's. Idempotent."""
        ...


class OutputEnd:
    """An end that takes no input, and is at no place that somebody would have to be told."""

    address = tty = ""

    def join(self, console: Joined) -> None:
        """There is nothing for it."""

    def part(self) -> None:
        """There was nothing for it."""

    def finish(self) -> None:
        """It takes all that comes as it is."""


class EndConfig(Protocol):
    """What an end is to be: plain data, from which one is made for each life of a domain."""

    def open(self, host: DeviceHost) -> HostEnd:
        """Raises ValueError, a sentence, when there can be no such end."""
        ...


class SinkEnd(OutputEnd):
    """A function that takes what comes out. Whoever has it feeds the console, too."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: bytes) -> int | None:
        return self._sink(data)

    def close(self) -> None:
        """It is somebody else's."""
