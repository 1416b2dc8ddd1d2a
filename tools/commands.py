"""The commands: one parser, one function per command, one line per mistake."""

from __future__ import annotations

import argparse
import sys
from importlib import metadata
from typing import TYPE_CHECKING, NoReturn

from paravane.cpu import EngineError, engine_report
from paravane.tools import boot, build, kernels, report
from paravane.tools.status import EXPLAINED, Status, UsageError
from paravane.tools.streams import abandon_stdout, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.tools.arguments import Commands

_EPILOG = "exit status:\n" + "\n".join(f"  {status:3}  {meaning}" for status, meaning in EXPLAINED)

_LIBRARIES = ("capstone", "pyelftools", "lz4", "zstandard")


class _Parser(argparse.ArgumentParser):
    """argparse with its mistakes in one line that says what to do."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="paravane",
        description="Boot, trace and test 32-bit x86 Xen paravirtual kernels, without Xen.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="show the version (with -v: the engine's too)")
    parser.add_argument("-v", "--verbose", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=None)
    commands: Commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    build.add_command(commands)
    report.add_info(commands)
    boot.add_command(commands)
    kernels.add_command(commands)
    report.add_disasm(commands)
    return parser


def _parse(arguments: list[str]) -> argparse.Namespace:
    """What follows the first `--` is the kernel's command line, whatever it looks like."""
    parser = _parser()
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:at])
    if options.version:
        options.run = _version
    elif options.run is None:
        parser.error("a COMMAND is required")
    if at < len(arguments):
        if "cmdline" not in options:
            parser.error("only `boot` takes a command line after `--`")
        options.cmdline = arguments[at + 1 :]
    return options


def _version(options: argparse.Namespace) -> int:
    print(f"paravane {_installed('paravane')}")
    if options.verbose:
        for library in _LIBRARIES:
            print(f"{library} {_installed(library)}")
        print(*engine_report(), sep="\n")
    return Status.OK


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def run(arguments: Sequence[str]) -> int:
    """Run one command; gives the exit status. SystemExit for `--help`, KeyboardInterrupt as it comes."""
    try:
        options = _parse(list(arguments))
        status: int = options.run(options)
        sys.stdout.flush()
    except UsageError as error:
        say(str(error))
        return error.status
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        abandon_stdout()
        return Status.OK
    except EngineError as error:
        say(str(error))
        return Status.ERRORS
    except OSError as error:
        if error.filename is not None:
            say(f"{error.filename}: {error.strerror}")
            return Status.USAGE
        abandon_stdout()
        say(str(error.strerror or error))
        return Status.ERRORS
    return status
