"""`paravane bench NAME...`: what the benches are, and their tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.gateway import native
from paravane.sched import POLICIES
from paravane.tools import manual
from paravane.tools.arguments import positive_count
from paravane.tools.bench import benches, costs, gateways, host, scale
from paravane.tools.files import check_folder, refuse_overwriting, write_file
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_OF_COSTS: Final = tuple(costs.BENCHES)
_TAKEN_BY: Final = {
    "gateway": _OF_COSTS,
    "rows": _OF_COSTS,
    "rounds": _OF_COSTS,
    "sched": ("sched", "isolation"),
    "host": ("isolation",),
    "jobs": ("sched", "isolation", "scale"),
    "output": ("scale",),
}
"""Options that not every bench has."""

_EPILOG: Final = manual.epilog(
    """\
`traps`, `memory` and `start` say what an operation takes, and how many of its floors that
is: what the engine, or an interpreter, takes where nothing is done. A figure is the least
of all rounds; in a round each gateway has its turn. Time is the processor's, except that of
`yield` and `boot-hello`: those are measured by the host's.

`sched` and `isolation` measure in virtual time: their figures are the same on every host,
loaded or not.""",
    statuses=(
        (Status.OK, "it was measured"),
        (
            Status.ERRORS,
            "isolation: a well-behaved guest keeps less than 90 % of its share; or output was not written",
        ),
        (Status.USAGE, "bad usage"),
        manual.INTERRUPTED,
    ),
    environment=(manual.NATIVE,),
    examples=(
        ("paravane bench traps memory", "what traps and page-table work cost"),
        ("paravane bench traps --rows 'int*' --gateway python", "some of them"),
        ("paravane bench start --rounds 20 --json start.json", "commands, also as data"),
        ("paravane bench sched", "fairness and wake-ups of every policy"),
        ("paravane bench isolation -j 2", "guests beside one that does not behave"),
        ("paravane bench isolation --host", "the same by the host's processor time"),
        ("paravane bench scale -o scale.svg", "many domains, and a curve"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane bench NAME...`."""
    parser.description = "Measure what operations cost, or a machine with many domains, and print a table."
    parser.epilog = _EPILOG
    parser.add_argument(
        "names",
        nargs="+",
        choices=benches.NAMES,
        metavar="NAME",
        help=f"what to measure: {', '.join(benches.NAMES)}",
    )
    parser.add_argument_group("figures").add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures, and the host they are of, into FILE too"
    )
    group = parser.add_argument_group("traps, memory, start")
    group.add_argument(
        "--gateway",
        choices=(gateways.PYTHON, gateways.C, gateways.BOTH),
        help="who serves traps: Python alone, or C what it can (default: both where C can be had)",
    )
    group.add_argument(
        "--rows",
        type=lambda text: text.split(","),
        default=[],
        metavar="ROW[,ROW...]",
        help="these rows only, named as in the table; * stands for anything (default: all)",
    )
    group.add_argument(
        "--rounds", type=positive_count, metavar="N", help=f"how often (default: {benches.ROUNDS})"
    )
    group = parser.add_argument_group("sched, isolation, scale")
    group.add_argument(
        "--sched",
        choices=tuple(POLICIES),
        help="the policy (default: of `sched` each of them, else bvt)",
    )
    group.add_argument("--host", action="store_true", help="isolation: measure the host's processor time")
    group.add_argument(
        "-j", "--jobs", type=positive_count, metavar="N", help="measure N at a time (default: 1)"
    )
    group.add_argument("-o", "--output", type=Path, metavar="FILE", help="scale: draw the curve into FILE")
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    names = tuple(dict.fromkeys(options.names))
    _check(options, names)
    status, data = Status.OK, {}
    for at, name in enumerate(names):
        found = benches.measure(name, options)
        if len(names) > 1:
            print("\n" * (at > 0) + f"{name}:")
        _print(found.table)
        status = max(status, found.status)
        data[name] = found.data
    if options.json:
        text = json.dumps({"host": host.description(), "benches": data}, indent=2)
        write_file(options.json, f"{text}\n".encode())
    return status


def _check(options: argparse.Namespace, names: Sequence[str]) -> None:
    """UsageError for what cannot be meant or cannot be done, before anything is measured."""
    for option, takers in _TAKEN_BY.items():
        if getattr(options, option) and not set(names) & set(takers):
            raise UsageError(f"--{option} is for {', '.join(takers)}, not for {', '.join(names)}")
    if options.output:
        scale.check_picture(options.output)
    if options.json:
        check_folder(options.json)
    refuse_overwriting((("--output", options.output), ("--json", options.json)), ())
    of_costs = [name for name in names if name in costs.BENCHES]
    costs.check_patterns(of_costs, options.rows)
    if of_costs and gateways.C not in gateways.chosen(options.gateway) and options.gateway is None:
        say(f"{native.report()}: Python alone is measured")


def _print(rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join(cells).rstrip())
