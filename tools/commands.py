"""The commands: one parser, one mistake a line, and what ends them as an exit status."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from paravane.tools import manual
from paravane.tools.files import OutputError
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import abandon_stdout, say
from paravane.tools.verbs import NAMES, VERBS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _typeshed import SupportsWrite

_EPILOG = manual.epilog(
    statuses=manual.ALL_STATUSES,
    files=(manual.SETTINGS, manual.EXPECTED, manual.CACHE),
    environment=(
        manual.CACHE_HOME,
        manual.RUNTIME_DIR,
        manual.STORE_PATH,
        manual.NO_COLOR,
        manual.TERM,
        manual.NATIVE,
        manual.COLUMNS,
    ),
    examples=(
        ("paravane boot hello", "boot a kernel that comes with it"),
        ("paravane boot greet.S -- world", "assemble and boot one's own, `world` its command line"),
        ("paravane boot --help", "the options of a command"),
    ),
)


class _Parser(argparse.ArgumentParser):
    """argparse with its mistakes in one line that says what to do, and a help that is not lost in silence."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        # The original would ignore that it cannot be written.
        print(self.format_help(), end="", file=file)

    def format_help(self) -> str:
        self._positionals.title = "arguments"
        return super().format_help()


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser. Of the verbs, those among `words` have their arguments: to load all would take a second."""
    parser = _Parser(
        prog="paravane",
        description="Boot, trace and test 32-bit x86 Xen paravirtual kernels, without Xen.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action="store_true",
        help="show the versions of this and its engine (with -v: what the engine can do)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    for name, verb in VERBS.items():
        command = commands.add_parser(
            name,
            aliases=verb.aliases,
            help=verb.summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if any(word in words for word in (name, *verb.aliases)):
            verb.define(command)
            command.set_defaults(prog=command.prog)
    return parser


def whole_parser() -> argparse.ArgumentParser:
    """The parser with the arguments of all verbs."""
    return _parser(tuple(VERBS))


def _parse(arguments: list[str]) -> argparse.Namespace:
    """What follows the first `--` is the kernel's command line, whatever it looks like."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    words = arguments[:at]
    _check_verb(words)
    options, stray = _parser(words).parse_known_args(words)
    if stray:
        what = "there is no option" if stray[0].startswith("-") else "this is one argument too many:"
        raise UsageError(f"{what} {stray[0]}; see `{getattr(options, 'prog', 'paravane')} --help`")
    if options.run is None and not options.version:
        raise UsageError(f"a COMMAND is missing: {', '.join(VERBS)}; see `paravane --help`")
    if at < len(arguments):
        if "cmdline" not in options:
            raise UsageError("only `boot` takes a command line after `--`; see `paravane boot --help`")
        options.cmdline = arguments[at + 1 :]
    return options


def _check_verb(words: Sequence[str]) -> None:
    """Refuse a first word that is no command. What comes before it are options without values."""
    word = next((word for word in words if not word.startswith("-")), None)
    if word is not None and word not in NAMES:
        import difflib  # noqa: PLC0415 - loaded for who asks for it only

        close = difflib.get_close_matches(word, NAMES, 1)
        hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(VERBS)};"
        raise UsageError(f"there is no command {word!r}: {hint} see `paravane --help`")


def _execute(arguments: Sequence[str], loaded: Callable[[], None]) -> int:
    """Run it, until all that it printed is out."""
    try:
        options = _parse(list(arguments))
        options.arguments = list(arguments)
        loaded()
        if options.version:
            status: int = import_module("paravane.tools.version").show(verbose=options.verbose)
        else:
            status = options.run(options)
    except SystemExit:
        # argparse has shown its help.
        status = Status.OK
    sys.stdout.flush()
    return status


def run(arguments: Sequence[str], loaded: Callable[[], None]) -> int:
    """Run one command, and call `loaded` before it begins; gives the exit status. KeyboardInterrupt and
    MemoryError as they come."""
    try:
        return _execute(arguments, loaded)
    except UsageError as error:
        say(str(error))
        return error.status
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        abandon_stdout()
        return Status.OK
    except OutputError as error:
        say(f"{error.filename}: {error.strerror}")
        return Status.ERRORS
    except OSError as error:
        if error.filename is not None:
            say(f"{error.filename}: {error.strerror}")
            return Status.USAGE
        abandon_stdout()
        say(f"output could not be written: {error.strerror or error}")
        return Status.ERRORS
