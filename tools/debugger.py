"""Options of `boot` for debuggers."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from typing import TYPE_CHECKING

from paravane.tools.status import UsageError
from paravane.tools.streams import say

if TYPE_CHECKING:
    from contextlib import ExitStack

    from paravane.debug.listener import Address, Listener


def add_debugger_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("gdb")
    group.add_argument(
        "--gdb",
        type=_address,
        metavar="HOST:PORT",
        help="let gdb look at the guest (`target remote HOST:PORT`); without HOST from this machine only; "
        "port 0 is one that is free, and is said on stderr",
    )
    group.add_argument(
        "--gdb-wait", action="store_true", help="with --gdb: wait for it before the guest's first instruction"
    )


def listener(options: argparse.Namespace, stack: ExitStack) -> Listener | None:
    """Where debuggers are to come in, closed with the stack; what the user has to know of it is said."""
    if options.gdb is None:
        if options.gdb_wait:
            raise UsageError("--gdb-wait needs --gdb, which says where the debugger comes in")
        return None
    from paravane.debug.listener import Listener  # noqa: PLC0415 - loaded for who asks for it only

    try:
        found = stack.enter_context(closing(Listener(options.gdb)))
    except OSError as error:
        # What the socket module says of a number repeats the address; names have no number of the system's.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise UsageError(f"gdb cannot come in at {options.gdb}: {why}") from None
    say(f"gdb: target remote {found.address}")
    if not found.is_local:
        say(f"whoever reaches {found.address} controls the guest: there is no password and no encryption")
    return found


def _address(text: str) -> Address:
    from paravane.debug.listener import parse_address  # noqa: PLC0415 - loaded for who asks for it only

    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
