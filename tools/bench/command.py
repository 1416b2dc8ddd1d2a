"""`paravane bench NAME`: what the benches are, and their tables."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from paravane.sched import POLICIES
from paravane.tools import manual
from paravane.tools.arguments import positive_count
from paravane.tools.bench import guests, isolation, scale, sched
from paravane.tools.progress import telling
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

_EPILOG: Final = manual.epilog(
    """\
`sched` and `isolation` measure in virtual time: their figures are the same on
every host, loaded or not.""",
    statuses=(
        (Status.OK, "it was measured"),
        (Status.ERRORS, "isolation: a well-behaved guest keeps less than 90 % of its fair share"),
        (Status.USAGE, "bad usage"),
        manual.INTERRUPTED,
    ),
    examples=(
        ("paravane bench sched", "fairness and wake-ups of every policy"),
        ("paravane bench isolation -j 2", "guests beside one that does not behave"),
        ("paravane bench isolation --host", "the same by the host's processor time"),
        ("paravane bench scale -o scale.svg", "many domains, and a curve"),
    ),
)

_Point = TypeVar("_Point")
_Figures = TypeVar("_Figures")


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane bench NAME`."""
    parser.description = "Measure a machine with many domains, and print a table."
    parser.epilog = _EPILOG
    parser.add_argument(
        "name", choices=tuple(_BENCHES), metavar="NAME", help=f"what to measure: {', '.join(_BENCHES)}"
    )
    group = parser.add_argument_group("how it is measured")
    group.add_argument(
        "--sched",
        choices=tuple(POLICIES),
        help="the policy (default: of `sched` each of them, else bvt)",
    )
    group.add_argument("--host", action="store_true", help="isolation: measure the host's processor time")
    group.add_argument(
        "-j", "--jobs", type=positive_count, default=1, metavar="N", help="measure N at a time (default: 1)"
    )
    group.add_argument("-o", "--output", type=Path, metavar="FILE", help="scale: draw the curve into FILE")
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    if options.output and options.name != "scale":
        raise UsageError(f"bench {options.name} draws nothing: -o is for scale")
    if options.host and options.name != "isolation":
        raise UsageError(f"bench {options.name} knows one way to measure: --host is for isolation")
    return _BENCHES[options.name](options)


def _sched(options: argparse.Namespace) -> int:
    policies = [options.sched] if options.sched else list(POLICIES)
    _print(sched.table(policies, _each(sched.measure, policies, options.jobs)))
    return Status.OK


def _isolation(options: argparse.Namespace) -> int:
    kinds = list(guests.HOSTILE)
    measure = partial(isolation.measure, policy=options.sched or "bvt", host=options.host)
    figures = _each(measure, kinds, options.jobs)
    _print(isolation.table(kinds, figures))
    return Status.OK if min(found.worst for found in figures) >= isolation.ENOUGH else Status.ERRORS


def _scale(options: argparse.Namespace) -> int:
    if options.sched:
        raise UsageError("bench scale measures the default policy: --sched is for sched and isolation")
    if options.output:
        scale.check_picture(options.output)
    idlers = _each(scale.idle, list(scale.DOMAINS), options.jobs, apart=True)
    loads = _at_once(scale.measure, list(scale.LOADS), options.jobs)
    _print(scale.table(loads, idlers))
    if options.output:
        scale.draw(loads, idlers, options.output)
    return Status.OK


_BENCHES: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "sched": _sched,
    "isolation": _isolation,
    "scale": _scale,
}


def _each(
    measure: Callable[[_Point], _Figures], points: Sequence[_Point], jobs: int, *, apart: bool = False
) -> list[_Figures]:
    """What was measured of each, so many at a time in processes of their own; `apart`, in one of its own
    even if it is one at a time."""
    found: list[_Figures] = []
    with ExitStack() as stack:
        stack.enter_context(telling(lambda: f"measured {len(found)} of {len(points)}"))
        figures: Iterator[_Figures]
        if jobs == 1 and not apart:
            figures = map(measure, points)
        else:
            # A fresh interpreter for each: what is measured has no more before it than a command has.
            pool = ProcessPoolExecutor(
                min(jobs, len(points)), get_context("spawn"), _leave_to_us, max_tasks_per_child=1
            )
            figures = stack.enter_context(pool).map(measure, points)
        for one in figures:
            found.append(one)
    return found


def _at_once(measure: Callable[[_Point], _Figures], points: Sequence[_Point], jobs: int) -> list[_Figures]:
    """As `_each`, for what makes processes of its own."""
    found: list[_Figures] = []
    with telling(lambda: f"measured {len(found)} of {len(points)}"), ThreadPoolExecutor(jobs) as pool:
        try:
            for one in pool.map(measure, points):
                found.append(one)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():  # whom somebody waits for
                child.terminate()
            raise
    return found


def _leave_to_us() -> None:
    """Ctrl-C is for the command, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _print(rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join(cells).rstrip())
