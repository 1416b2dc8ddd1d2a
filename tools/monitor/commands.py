"""The commands of the monitor: some words of its own, and the verbs of `paravane ctl`, as they are there."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from paravane.classes import dataclass
from paravane.text import shown
from paravane.tools.ctl.actions import domain_of, perform
from paravane.tools.ctl.command import VERBS, table
from paravane.tools.ctl.listings import HEADERS, lines
from paravane.tools.ctl.protocol import Request, RequestError
from paravane.tools.monitor.live_trace import LiveTrace
from paravane.tools.terminal import ESCAPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paravane import Domain, Machine


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a line: text for the user, whether that was all he wanted, and keys for the guest."""

    text: str = ""
    closes: bool = False
    keys: bytes = b""


class Host(Protocol):
    """The command that a monitor belongs to."""

    @property
    def focused(self) -> str:
        """The name of the domain that the keys go to."""
        ...

    def focus(self, name: str) -> None:
        """Have the keys go to the domain of this name. Raises RequestError."""
        ...

    def check_steering(self) -> None:
        """Raises RequestError where domains may be looked at, and no more."""
        ...

    def leave(self) -> None:
        """Leave the console."""
        ...


class _Command:
    """`usage` is what may follow its name, at `most` so many words."""

    def __init__(
        self, run: Callable[[Commands, Sequence[str]], Answer], usage: str, summary: str, most: int
    ) -> None:
        self.run = run
        self.usage = usage
        self.summary = summary
        self.most = most


class Commands:
    """Obeys lines for `host`, about the machine that there is just now. `show` puts a line of a trace on the
    terminal."""

    def __init__(self, host: Host, show: Callable[[str], None]) -> None:
        self._host = host
        self._trace = LiveTrace(show)
        self._present: Machine | None = None

    @contextmanager
    def about(self, machine: Machine) -> Iterator[None]:
        """This is the machine, while in the `with`. What is traced goes on with it."""
        self._present = machine
        self._trace.join(machine)
        try:
            yield
        finally:
            self._trace.join(None)
            self._present = None

    def finish(self) -> OSError | None:
        """There is no machine any more: why what was traced is not whole, if it is not."""
        return self._trace.close()

    def perform(self, line: str) -> Answer:
        """What came of a line. A mistake in it is answered by a sentence."""
        try:
            return self._perform(shlex.split(line))
        except ValueError as error:
            return Answer(str(error).lower())
        except RequestError as error:
            return Answer(str(error))

    def _perform(self, words: Sequence[str]) -> Answer:
        if not words:
            return Answer()
        name, *rest = words
        verb = None if name in _COMMANDS else VERBS.get(name)
        if verb is not None:
            *domain, argument = rest or [""]
            if not verb.argument:
                domain, argument = rest, ""
            elif not argument or len(domain) > 1:
                raise RequestError(f"{name} [DOMAIN] {verb.argument}: {verb.help}")
            return self._ask(name, domain, argument)
        command = _COMMANDS[_whole(name)]
        if len(rest) > command.most:
            raise RequestError(f"{_whole(name)} {command.usage}".rstrip() + f": {command.summary}")
        return command.run(self, rest)

    @property
    def _machine(self) -> Machine:
        if self._present is None:
            raise RequestError("there is no machine just now")
        return self._present

    def _domain(self, words: Sequence[str]) -> Domain:
        return domain_of(self._machine, words[0] if words else self._host.focused)

    def _ask(self, verb: str, words: Sequence[str], argument: str = "") -> Answer:
        if len(words) > 1:
            raise RequestError(f"{verb} is for one domain at a time")
        if verb not in _LOOKS:
            self._host.check_steering()
        name = words[0] if words else self._host.focused
        found = perform(self._machine, Request(verb, name, argument))
        if verb in HEADERS:
            return Answer("\n".join((HEADERS[verb], *lines(verb, found))))
        return Answer(found if isinstance(found, str) else "")

    def list(self, words: Sequence[str]) -> Answer:
        return Answer("\n".join(table(perform(self._machine, Request("list")))))

    def pause(self, words: Sequence[str]) -> Answer:
        domain = self._domain(words)
        self._ask("pause", words)
        return Answer(f"{shown(domain.name)} is paused")

    def go_on(self, words: Sequence[str]) -> Answer:
        domain = self._domain(words)
        self._ask("unpause", words)
        if domain.paused:
            return Answer(f"{shown(domain.name)} is still paused: it was paused more than once")
        return Answer(f"{shown(domain.name)} goes on")

    def where(self, words: Sequence[str]) -> Answer:
        return Answer(self._domain(words).where())

    def dump(self, words: Sequence[str]) -> Answer:
        return self._ask("dump", words)

    def tell(self, words: Sequence[str]) -> Answer:
        """`trace on [FILE [EVENTS]]`, `trace off`, or what is traced now."""
        match words:
            case []:
                return Answer(self._trace.state)
            case ["on", *rest]:
                return Answer(self._trace.begin(self._machine, *rest))
            case ["off"]:
                return Answer(self._trace.end())
        raise RequestError("trace [on [FILE [EVENTS]] | off]")

    def console(self, words: Sequence[str]) -> Answer:
        if not words:
            return Answer(f"the keys go to {shown(self._host.focused)}")
        name = self._domain(words).name
        self._host.focus(name)
        return Answer(f"the keys go to {shown(name)}", closes=True)

    def send(self, words: Sequence[str]) -> Answer:
        return Answer(closes=True, keys=bytes((ESCAPE,)))

    def quit(self, words: Sequence[str]) -> Answer:
        self._host.leave()
        return Answer(closes=True)

    def help(self, words: Sequence[str]) -> Answer:
        rows = [(f"{name} {one.usage}".rstrip(), one.summary) for name, one in _COMMANDS.items()]
        width = max(len(left) for left, _ in rows)
        rows_shown = [f"  {left:<{width}}  {summary}" for left, summary in rows]
        others = ", ".join(name for name in VERBS if name not in _COMMANDS)
        return Answer(
            "\n".join(
                (
                    *rows_shown,
                    "  an empty line, or Ctrl-]: back to the guest; Ctrl-] twice sends it one",
                    f"The verbs of `paravane ctl` as well: {others}.",
                    "Without DOMAIN it is the one that the keys go to. The beginning of a word will do.",
                )
            )
        )


_LOOKS: Final = {"dump", *HEADERS}
"""Verbs that change nothing."""

_COMMANDS: Final = {
    "list": _Command(Commands.list, "", "the domains: number, memory, vcpus, state, processor time", 0),
    "pause": _Command(Commands.pause, "[DOMAIN]", "let none of its vcpus run", 1),
    "continue": _Command(Commands.go_on, "[DOMAIN]", "undo a pause", 1),
    "where": _Command(Commands.where, "[DOMAIN]", "where its vcpus are and what they wait for", 1),
    "dump": _Command(Commands.dump, "[DOMAIN]", "the same, or how it crashed", 1),
    "trace": _Command(
        Commands.tell, "[on [FILE [EVENTS]] | off]", "what guests ask and get: into a new file, or here", 3
    ),
    "console": _Command(Commands.console, "[DOMAIN]", "have the keys go to that domain", 1),
    "send": _Command(Commands.send, "", "send the guest a Ctrl-]", 0),
    "help": _Command(Commands.help, "", "this", 0),
    "quit": _Command(Commands.quit, "", "leave the console", 0),
}


def _whole(name: str) -> str:
    """The command that is meant by the beginning of its name. Raises RequestError."""
    if name == "?":
        return "help"
    if name in _COMMANDS:
        return name
    found = [one for one in _COMMANDS if one.startswith(name)]
    if not found:
        raise RequestError(f"there is no command {name[:40]!r}; help lists them")
    if len(found) > 1:
        raise RequestError(f"{name} may be {' or '.join(found)}")
    return found[0]
