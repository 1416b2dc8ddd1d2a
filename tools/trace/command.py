"""`paravane trace FILE VERB`: what the verbs are, and what their options mean."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from paravane.tools import manual
from paravane.tools.arguments import positive_count
from paravane.tools.status import Status, UsageError
from paravane.tools.trace import compare, convert, show, summary
from paravane.tools.trace.options import add_wanted, source_of
from paravane.trace.forms import FORMS

if TYPE_CHECKING:
    from paravane.tools.trace.source import Source

_EPILOG = manual.epilog(
    """\
What a trace is, its content tells: JSON lines, a Perfetto trace that was written here, or a file of
xentrace's, from here or from Xen itself. One that is still being written can be read too.
`paravane trace FILE VERB --help` has what belongs to a verb.""",
    statuses=(
        (Status.OK, "it was told; diff: there is no difference"),
        (Status.ERRORS, "diff: there is one; or output could not be written"),
        (Status.USAGE, "bad usage, or a trace that cannot be read, is damaged, or is none"),
        manual.INTERRUPTED,
    ),
    environment=(manual.NO_COLOR, manual.TERM),
    examples=(
        ("paravane boot unix --trace run.jsonl", "record one"),
        ("paravane trace run.jsonl", "read it"),
        ("paravane trace run.jsonl show --events hypercall:mmu_update,refusal", ""),
        ("paravane trace run.jsonl summary", "counts, times, refusals, places"),
        ("paravane trace run.jsonl diff other.jsonl --ignore time", ""),
        ("paravane trace run.jsonl convert -o run.perfetto-trace", ""),
    ),
)


def _about(verb: str, text: str, *examples: tuple[str, str]) -> tuple[str, str]:
    """The epilog of a verb: what is to be known, and examples without their first words."""
    lines = [(f"paravane trace run.jsonl {verb}{words and ' '}{words}", what) for words, what in examples]
    return verb, manual.epilog(text, examples=lines)


_ABOUT = dict(
    (
        _about(
            "show",
            "A line has the time, who (d1v0: domain 1, vcpu 0), the kind, what, and the place in the kernel.",
            ("", "all of it"),
            ("--events trap:PF,refusal --from 1ms", "some of it, from a moment on"),
            ("--colour always | less -R", ""),
        ),
        _about(
            "summary",
            """\
Times are the guest's, between the beginning and the end of an event; what has no end takes none.
A place is where in the kernel it was asked for.""",
            ("", ""),
            ("--events domain:1,hypercall --top 3", "of a domain, with three places"),
        ),
        _about(
            "diff",
            """\
Entries are compared one by one, in their order, in all fields but those of --ignore. Runs of the
same kernel with `boot --deterministic` differ in nothing.""",
            ("other.jsonl", "status 1 if there is a difference"),
            ("other.jsonl --ignore time,mfn --context 10", ""),
        ),
        _about(
            "convert",
            """\
The suffix of -o says which format: .txt, .jsonl, .perfetto-trace (for ui.perfetto.dev) or
.xentrace (for xenalyze), which has no records for some kinds: those are left out, and counted.
The file is written whole or not at all.""",
            ("-o run.perfetto-trace", ""),
            ("--to text --events hypercall > calls.txt", ""),
        ),
    )
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane trace FILE [VERB]`."""
    parser.description = "Read, filter, summarise, compare and convert a trace (default: show it)."
    parser.epilog = _EPILOG
    parser.usage = "%(prog)s FILE [VERB] [options]"
    parser.add_argument("file", metavar="FILE", help="what `boot --trace` or xentrace wrote (-: stdin)")
    add_wanted(parser, suppress=False)
    _add_show(parser, suppress=False)
    parser.set_defaults(run=_run, verb=_show)
    verbs = parser.add_subparsers(
        title="verbs",
        metavar="VERB",
        description="what to do with it (default: show)",
        prog=f"{parser.prog} FILE",
    )
    for name, summary_line, verb, add in (
        ("show", "as text, a line for each event", _show, _add_show),
        ("summary", "how often, how long, what was refused, where", _summary, _add_summary),
        ("diff", "the first difference to another trace: status 1 if there is one", _diff, _add_diff),
        ("convert", "into another format", _convert, _add_convert),
    ):
        command = verbs.add_parser(
            name,
            help=summary_line,
            description=verb.__doc__,
            epilog=_ABOUT[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_wanted(command, suppress=True)
        add(command)
        command.set_defaults(verb=verb)


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
    group = parser.add_argument_group("how it is shown")
    group.add_argument(
        "--top",
        type=positive_count,
        default=summary.TOP,
        metavar="N",
        help=f"show that many places (default: {summary.TOP})",
    )


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("other", metavar="OTHER", help="the other trace")
    group = parser.add_argument_group("what is compared, and shown")
    group.add_argument(
        "--ignore",
        type=_names,
        default=frozenset(),
        metavar="LIST",
        help="fields that may differ: time, place, domain, vcpu, or one of the data, as mfn or error_code",
    )
    group.add_argument(
        "--context",
        type=positive_count,
        default=compare.CONTEXT,
        metavar="N",
        help=f"show that many entries before the difference (default: {compare.CONTEXT})",
    )


def _add_convert(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is written")
    group.add_argument(
        "--to", dest="form", choices=tuple(FORMS), help="the format (default: as the name of -o says)"
    )
    group.add_argument("-o", dest="output", metavar="FILE", help="where to (default, and -: stdout)")


def _names(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split(","))


def _run(options: argparse.Namespace) -> int:
    if options.follow and options.verb is not _show:
        raise UsageError("--follow goes with `show`; the other verbs read to the end of the trace")
    status: Status = options.verb(source_of(options, options.file), options)
    return status


def _show(source: Source, options: argparse.Namespace) -> Status:
    """Show a trace as text, a line for each event, as it was live."""
    return show.show(source, colour=options.colour, follow=options.follow)


def _summary(source: Source, options: argparse.Namespace) -> Status:
    """Count the events of a trace by domain, kind and name; sum their times, refusals and places."""
    return summary.summary(source, options.top)


def _diff(source: Source, options: argparse.Namespace) -> Status:
    """Find the first difference between two traces."""
    return compare.compare(
        source, source_of(options, options.other, told=False), options.ignore, options.context
    )


def _convert(source: Source, options: argparse.Namespace) -> Status:
    """Write a trace in another format; of text none is read again."""
    return convert.convert(source, options.form, options.output)
