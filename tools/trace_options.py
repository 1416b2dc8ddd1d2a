"""Options of every command that runs a machine: what is told of its guests, and where."""

from __future__ import annotations

import argparse
import os
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from paravane.tools.files import OutputError
from paravane.tools.status import UsageError
from paravane.tools.streams import STDERR, colourful
from paravane.trace.forms import FORMS, form_of
from paravane.trace.kinds import DEFAULT, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.tools.trace_output import TraceOutput
    from paravane.trace.filters import Filter


def add_trace_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--trace",
        metavar="FILE",
        help="write what the guest asks and gets, one event after the other, at once (-: stderr)",
    )
    kinds = ", ".join(kind.value for kind in Kind)
    group.add_argument(
        "--trace-events",
        type=_filter,
        metavar="LIST",
        help=f"which: some of {kinds}, each with or without a colon and what it is about: "
        "hypercall:sched_op.block, trap:14, event:3, refusal:EINVAL, store:/local; domain:N and vcpu:N "
        f"restrict all of it, all is everything (default: {DEFAULT})",
    )
    group.add_argument(
        "--trace-format",
        choices=tuple(FORMS),
        help="how the trace is written (default: as the name of the file says: "
        + ", ".join(f"{form.suffixes[0]} {form.name}" for form in FORMS.values())
        + ", else text)",
    )
    group.add_argument("--explain", action="store_true", help="say on stderr why each request was refused")
    group.add_argument("--audit", action="store_true", help="recount all frames' owners, types and uses")
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="the least that the hypervisor's log shows on stderr (default: warning)",
    )


@contextmanager
def trace_output(
    options: argparse.Namespace, followed: frozenset[Kind] = frozenset()
) -> Iterator[TraceOutput | None]:
    """Where the trace goes, with the kinds that are `followed` whatever else is asked for. The file is open
    while in the `with`, so that it can be followed."""
    name = options.trace
    if name is None:
        if options.trace_events or options.trace_format:
            raise UsageError("--trace says where the trace goes: --trace FILE, or --trace - for stderr")
        yield None
    elif name == "-":
        with closing(_output(options, STDERR, followed)) as output:
            yield output
    else:
        try:
            number = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(error.errno, error.strerror, name) from None
        try:
            with closing(_output(options, number, followed)) as output:
                yield output
        finally:
            os.close(number)


def _output(options: argparse.Namespace, fileno: int, followed: frozenset[Kind]) -> TraceOutput:
    from paravane.tools.trace_output import (  # noqa: PLC0415 - loaded for who asks for it only
        TraceOutput,
        header,
        open_sink,
    )
    from paravane.trace import filters  # noqa: PLC0415 - loaded for who asks for it only
    from paravane.trace.text import TextLines  # noqa: PLC0415 - loaded for who asks for it only

    form = FORMS[options.trace_format] if options.trace_format else form_of(PurePath(options.trace))
    # A writer of text knows what a terminal is to be sent; the others write files.
    writer = TextLines(colour=colourful(fileno)) if form.name == "text" else form.writer()
    wanted = options.trace_events or filters.parse(DEFAULT)
    wanted = replace(wanted, wanted={**dict.fromkeys(kind.value for kind in followed), **wanted.wanted})
    return TraceOutput(open_sink(fileno, writer, header(options.clock, wanted)), wanted)


def _filter(text: str) -> Filter:
    from paravane.hypercalls import names  # noqa: PLC0415 - loaded for who asks for it only
    from paravane.trace import filters  # noqa: PLC0415 - loaded for who asks for it only

    try:
        return filters.parse(text, names())
    except filters.FilterError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
