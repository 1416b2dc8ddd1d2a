"""The consoles of many domains on one output: whole lines, each after the name of its domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.devices import console
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane import Domain, Machine
    from paravane.devices.console import Joined

LONGEST_LINE: Final = 4096
"""Bytes of a line that a domain has not ended, after which what there is of it is put out."""

_COLOURS: Final = (36, 33, 32, 35, 34, 31)
_PLAIN: Final = "\x1b[0m"


class DomainConsole:
    """A console of whichever domain has a name, from one life of it to the next; `number` is 0 for the first.

    `show` takes all of its output, and so does whoever has `joined`; input goes to the domain that is there.
    """

    def __init__(self, machine: Machine, name: str, show: Callable[[bytes], None], number: int = 0) -> None:
        self.name = name
        self.number = number
        self.show = show
        self.joined: list[Callable[[bytes], None]] = []
        self._machine = machine
        self._waiting: list[Callable[[], None]] = []

    @property
    def domain(self) -> Domain | None:
        """The domain, if there is one just now."""
        return self._machine.find(self.name)

    def write(self, data: bytes) -> None:
        """A domain's sink, or what is told of all that another one has taken."""
        self.show(data)
        for take in tuple(self.joined):
            take(data)

    @property
    def room(self) -> int:
        """Bytes of input that would be taken now."""
        console = self._console
        return 0 if console is None else console.room

    def feed(self, data: bytes) -> int:
        """Input for the domain. Returns how many bytes were taken."""
        console = self._console
        return 0 if console is None else console.feed(data)

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, when there is more `room`: in this life of the domain, or in the next."""
        self._waiting.append(callback)
        if self._console is not None:
            self._console.when_room(self.renew)

    def renew(self) -> None:
        """There may be room now."""
        if self.room:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()

    @property
    def _console(self) -> Joined | None:
        """What is there just now of it."""
        domain = self.domain
        if domain is None or not domain.alive:
            return None
        return console_of(domain, self.number)


def console_of(domain: Domain, number: int) -> Joined | None:
    """A domain's console of this number, or None."""
    if number == 0:
        return domain.console
    attachment = domain.devices.find(console.ExtraConsoleDevice.kind, number)
    return (
        attachment.device
        if attachment and isinstance(attachment.device, console.ExtraConsoleDevice)
        else None
    )


class PrefixedLines:
    """Lines of several sources, the name of its source before each, all names as wide as the widest."""

    def __init__(self, names: Sequence[str], put: Callable[[bytes], None], *, colour: bool) -> None:
        self._put = put
        width = max(map(len, names), default=0)
        self._prefixes = {
            name: f"\x1b[{_COLOURS[at % len(_COLOURS)]}m{name:<{width}} |{_PLAIN} "
            if colour
            else f"{name:<{width}} | "
            for at, name in enumerate(names)
        }
        self._begun = {name: bytearray() for name in names}

    def write(self, name: str, data: bytes) -> None:
        """Put out what is now whole of the lines of `name`. Control characters are shown, not obeyed: one
        domain's output cannot change what another one's looks like."""
        begun = self._begun[name]
        begun += data
        *lines, rest = begun.split(b"\n")
        while len(rest) >= LONGEST_LINE:
            lines.append(rest[:LONGEST_LINE])
            del rest[:LONGEST_LINE]
        self._begun[name] = rest
        if lines:
            self._put(b"".join(self._line(name, bytes(line)) for line in lines))

    def flush(self) -> None:
        """Put out the lines that nobody has ended, as they are."""
        for name, begun in self._begun.items():
            if begun:
                self._put(self._line(name, bytes(begun)))
                begun.clear()

    def _line(self, name: str, line: bytes) -> bytes:
        text = line.rstrip(b"\r").decode("utf-8", "surrogateescape").expandtabs()
        return f"{self._prefixes[name]}{shown(text)}\n".encode("utf-8", "backslashreplace")
