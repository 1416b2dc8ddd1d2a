"""The options of every command that reads a trace: which of its entries are wanted."""

from __future__ import annotations

import argparse
from typing import Any

from paravane.tools.trace.source import Source, Wanted
from paravane.tools.trace.times import hertz, nanoseconds
from paravane.trace import filters
from paravane.trace.xentrace_reader import TSC_HZ


def add_wanted(parser: argparse.ArgumentParser, *, suppress: bool = False) -> None:
    """Add them. With `suppress`, as to a verb of a command that has them too: those before the verb count
    unless they are given anew."""

    def default(value: Any) -> Any:
        return argparse.SUPPRESS if suppress else value

    group = parser.add_argument_group("which events")
    group.add_argument(
        "--events",
        type=_filter,
        default=default(None),
        metavar="LIST",
        help="only these, as `boot --trace-events` names them: hypercall:sched_op.block,trap:PF,domain:1",
    )
    group.add_argument(
        "--from",
        dest="start",
        type=nanoseconds,
        default=default(0),
        metavar="TIME",
        help="only what began then or later: 1.5 (seconds), 200ms, 30us, 40ns",
    )
    group.add_argument(
        "--until",
        dest="end",
        type=nanoseconds,
        default=default(None),
        metavar="TIME",
        help="only what began then or earlier",
    )
    group.add_argument(
        "--cpu-hz",
        type=hertz,
        default=default(TSC_HZ),
        metavar="HZ",
        help="frequency of the time-stamp counter in a file of xentrace's, as 2.4G (default: 1G, as here)",
    )


def source_of(options: argparse.Namespace, name: str, *, told: bool = True) -> Source:
    """The trace of that name, and of it what the options want."""
    return Source(name, options.cpu_hz, Wanted(options.events, options.start, options.end), told)


def _filter(text: str) -> filters.Filter:
    from paravane.hypercalls import names  # noqa: PLC0415 - loaded for who asks for it only

    try:
        return filters.parse(text, names())
    except filters.FilterError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
