"""`paravane trace FILE VERB`: what the verbs are, and what their options mean."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from paravane.hypercalls import names as hypercall_names
from paravane.tools.arguments import positive_count
from paravane.tools.status import UsageError
from paravane.tools.trace import compare, convert, show, summary
from paravane.tools.trace.source import Source, Wanted
from paravane.tools.trace.times import hertz, nanoseconds
from paravane.trace import filters
from paravane.trace.forms import FORMS
from paravane.trace.xentrace_reader import TSC_HZ

if TYPE_CHECKING:
    from paravane.tools.status import Status

_EPILOG = """\
What a trace is, its content tells: JSON lines, a Perfetto trace that was written here, or a file of
xentrace's, from here or from Xen itself. One that is still being written can be read too.

examples:
  paravane boot unix --trace run.jsonl      record one
  paravane trace run.jsonl                  read it
  paravane trace run.jsonl show --events hypercall:mmu_update,refusal
  paravane trace run.jsonl summary          counts, times, refusals, places
  paravane trace run.jsonl diff other.jsonl --ignore time
  paravane trace run.jsonl convert -o run.perfetto-trace"""


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane trace FILE [VERB]`."""
    parser.description = "Read, filter, summarise, compare and convert a trace (default: show it)."
    parser.epilog = _EPILOG
    parser.usage = "%(prog)s FILE [VERB] [options]"
    parser.add_argument("file", metavar="FILE", help="what `boot --trace` or xentrace wrote (-: stdin)")
    _add_wanted(parser, suppress=False)
    _add_show(parser, suppress=False)
    parser.set_defaults(run=_run, verb=_show)
    verbs = parser.add_subparsers(metavar="VERB", help="what to do with it (default: show)")
    for name, summary_line, verb, add in (
        ("show", "as text, a line for each event", _show, _add_show),
        ("summary", "how often, how long, what was refused, where", _summary, _add_summary),
        ("diff", "the first difference to another trace: status 1 if there is one", _diff, _add_diff),
        ("convert", "into another format", _convert, _add_convert),
    ):
        command = verbs.add_parser(name, help=summary_line, description=verb.__doc__)
        _add_wanted(command, suppress=True)
        add(command)
        command.set_defaults(verb=verb)


def _add_wanted(parser: argparse.ArgumentParser, *, suppress: bool) -> None:
    """The options of every verb, before it or after it: those before count unless they are given anew."""

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


def _add_show(parser: argparse.ArgumentParser, *, suppress: bool = True) -> None:
    group = parser.add_argument_group("how it is shown")
    group.add_argument(
        "--follow",
        action="store_true",
        default=argparse.SUPPRESS if suppress else False,
        help="wait for more at the end, as `tail -f` does, until Ctrl-C",
    )
    group.add_argument(
        "--colour",
        choices=("auto", "always", "never"),
        default=argparse.SUPPRESS if suppress else "auto",
        help="auto: on a terminal, unless NO_COLOR is set",
    )


def _add_summary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--top",
        type=positive_count,
        default=summary.TOP,
        metavar="N",
        help=f"show that many places (default: {summary.TOP})",
    )


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("other", metavar="OTHER", help="the other trace")
    parser.add_argument(
        "--ignore",
        type=_names,
        default=frozenset(),
        metavar="LIST",
        help="fields that may differ: time, place, domain, vcpu, or one of the data, as mfn or error_code",
    )
    parser.add_argument(
        "--context",
        type=positive_count,
        default=compare.CONTEXT,
        metavar="N",
        help=f"show that many entries before the difference (default: {compare.CONTEXT})",
    )


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to", dest="form", choices=tuple(FORMS), help="the format (default: as the name of -o says)"
    )
    parser.add_argument("-o", dest="output", metavar="FILE", help="where to (default, and -: stdout)")


def _names(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split(","))


def _filter(text: str) -> filters.Filter:
    try:
        return filters.parse(text, hypercall_names())
    except filters.FilterError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(options: argparse.Namespace) -> int:
    if options.follow and options.verb is not _show:
        raise UsageError("--follow goes with `show`; the other verbs read to the end of the trace")
    status: Status = options.verb(_source(options, options.file), options)
    return status


def _source(options: argparse.Namespace, name: str, *, told: bool = True) -> Source:
    return Source(name, options.cpu_hz, Wanted(options.events, options.start, options.end), told)


def _show(source: Source, options: argparse.Namespace) -> Status:
    """Show a trace as text, a line for each event, as it was live."""
    return show.show(source, colour=options.colour, follow=options.follow)


def _summary(source: Source, options: argparse.Namespace) -> Status:
    """Count the events of a trace by domain, kind and name; sum their times, refusals and places."""
    return summary.summary(source, options.top)


def _diff(source: Source, options: argparse.Namespace) -> Status:
    """Find the first difference between two traces. Status 0: there is none; 1: there is one; 2: trouble."""
    return compare.compare(
        source, _source(options, options.other, told=False), options.ignore, options.context
    )


def _convert(source: Source, options: argparse.Namespace) -> Status:
    """Write a trace in another format; of text none is read again."""
    return convert.convert(source, options.form, options.output)
