"""The command line: `paravane COMMAND ...`. One parser, one function per command, one line per mistake.

Exit status: 0 success (for `boot`: the guest powered off), 1 the input has errors, 2 bad usage, 3 the guest
crashed, 4 it asked for a reboot, 5 the image could not be loaded, 124 timeout, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from paravane.cpu import EngineError
from paravane.tools import boot, build, kernels, report
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.tools.arguments import Commands


class _Parser(argparse.ArgumentParser):
    """argparse with its mistakes in one line that says what to do."""

    def error(self, message: str) -> NoReturn:
        self.exit(Status.USAGE, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="paravane", description="Boot, trace and test 32-bit x86 Xen paravirtual kernels, without Xen."
    )
    commands: Commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    build.add_command(commands)
    report.add_info(commands)
    boot.add_command(commands)
    kernels.add_command(commands)
    report.add_disasm(commands)
    return parser


def _parse(arguments: list[str]) -> argparse.Namespace:
    """What follows the first `--` is the kernel's command line, whatever it looks like."""
    parser = _parser()
    if "--" not in arguments:
        return parser.parse_args(arguments)
    at = arguments.index("--")
    options = parser.parse_args(arguments[:at])
    if "cmdline" not in options:
        parser.error("only `boot` takes a command line after `--`")
    options.cmdline = arguments[at + 1 :]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status."""
    options = _parse(sys.argv[1:] if arguments is None else list(arguments))
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except UsageError as error:
        print(f"paravane: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        # Whoever read our output has seen enough. Leave nothing for the interpreter to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.OK
    except EngineError as error:
        print(f"paravane: {error}", file=sys.stderr)
        return Status.ERRORS
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except OSError as error:
        where = f"{Path(error.filename)}: " if isinstance(error.filename, str) else ""
        print(f"paravane: {where}{error.strerror or error}", file=sys.stderr)
        return Status.USAGE
    return status


if __name__ == "__main__":
    sys.exit(main())
