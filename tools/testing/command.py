"""`paravane test`: folders with kernels, each built, booted and held against what it promises."""

from __future__ import annotations

import fnmatch
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paravane.guest_kernels.settings import KernelFileError
from paravane.testing import Finding, Outcome, Verdict, find, run
from paravane.testing.cases import load
from paravane.text import shown
from paravane.tools import manual
from paravane.tools.arguments import positive_count
from paravane.tools.files import write_file
from paravane.tools.progress import telling
from paravane.tools.status import Status, UsageError
from paravane.tools.testing.junit import document
from paravane.tools.workers import each

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from paravane.testing import Case

_EPILOG = manual.epilog(
    """\
A folder has sources (*.S, *.c), kernel.toml, which says how the kernel is booted
and may be empty, and expected.txt, its console; a kernel that prints a line
`Test result: SUCCESS` (or SKIP, ERROR, FAILURE), as XTF's do, needs no expected.txt.

verdicts:
  SUCCESS  it did all that it should
  SKIP     it cannot be run here
  ERROR    the test is broken: its sources, its kernel.toml
  FAILURE  what it tests is broken""",
    statuses=(
        (Status.OK, "none is an ERROR or a FAILURE"),
        (Status.ERRORS, "one is, or output could not be written"),
        (Status.USAGE, "bad usage, or no kernel is there"),
        manual.INTERRUPTED,
    ),
    files=(manual.SETTINGS, manual.EXPECTED),
    environment=(manual.TERM, manual.NATIVE),
    examples=(
        ("paravane test kernels", "all kernels in and below a folder"),
        ("paravane test kernels -k 'gr*' -j 2", "those called so, two at a time"),
        ("paravane test greet --update", "take what it prints for what it should print"),
        ("paravane test hello --junit results.xml", "a kernel of `list`, for a CI server"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane test FOLDER...`."""
    parser.description = "Run guest kernels and say which of them do what they promise."
    parser.usage = "%(prog)s FOLDER|NAME... [options]"
    parser.epilog = _EPILOG
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER|NAME",
        help="all folders with a kernel.toml in it and below; or a kernel of `list`",
    )
    group = parser.add_argument_group("which kernels, and how")
    group.add_argument(
        "-k",
        dest="pattern",
        default="",
        metavar="PATTERN",
        help="only those with this in their name, in which * and ? stand for anything",
    )
    written = parser.add_argument_group("what is written")
    written.add_argument(
        "--update",
        action="store_true",
        help="write expected.txt anew for kernels that run as they should and print something else",
    )
    group.add_argument(
        "-j", dest="jobs", type=positive_count, default=1, metavar="N", help="run N at a time (default: 1)"
    )
    written.add_argument(
        "--junit", type=Path, metavar="FILE", help="also write what came of them as JUnit's XML"
    )
    parser.set_defaults(run=_test)


def _test(options: argparse.Namespace) -> int:
    began = time.monotonic()
    cases, broken = _cases(options.folders)
    cases = [case for case in cases if fnmatch.fnmatchcase(case.name, f"*{options.pattern}*")]
    if not cases and not broken:
        raise UsageError(f"no kernel has {options.pattern!r} in its name; see `paravane test --help`")
    width = max((len(name) for name in (*(case.name for case in cases), *broken)), default=0)
    outcomes: list[tuple[str, Outcome]] = []

    def state() -> str:
        at = len(outcomes) - len(broken)
        running = f": {cases[at].name}" if options.jobs == 1 and 0 <= at < len(cases) else ""
        return f"{len(outcomes)} of {len(cases) + len(broken)} done{running}"

    with telling(state) as progress:
        for name, outcome in _all(cases, broken, options):
            outcomes.append((name, outcome))
            with progress.hidden():
                _tell(name, outcome, width)
    counts = Counter(outcome.verdict for _, outcome in outcomes)
    words = ", ".join(f"{counts[verdict]} {verdict.name}" for verdict in Verdict if counts[verdict])
    print(f"{len(outcomes)} in {time.monotonic() - began:.1f} s: {words}")
    if options.junit is not None:
        write_file(options.junit, document(outcomes))
    return Status.OK if max(counts) <= Verdict.SKIP else Status.ERRORS


def _cases(places: Sequence[Path]) -> tuple[list[Case], dict[str, Outcome]]:
    """All cases, and what is wrong with folders that have none, by their names. UsageError for a place where
    there is nothing."""
    folders: dict[Path, None] = {}
    for place in places:
        found = list(find(place))
        if not found:
            what = (
                f"there is no kernel.toml in {place} or below" if place.exists() else f"there is no {place}"
            )
            raise UsageError(f"{what}; see `paravane test --help`")
        folders |= dict.fromkeys(found)
    cases: list[Case] = []
    broken: dict[str, Outcome] = {}
    for folder in folders:
        try:
            cases += load(folder)
        except KernelFileError as error:
            broken[str(folder)] = Outcome((Finding(Verdict.ERROR, str(error)),))
    return cases, broken


def _all(
    cases: Sequence[Case], broken: dict[str, Outcome], options: argparse.Namespace
) -> Iterator[tuple[str, Outcome]]:
    """What came of each, as soon as it is known."""
    yield from broken.items()
    for at, outcome in each(partial(run, update=options.update), cases, options.jobs, _died):
        yield cases[at].name, outcome


def _died(how: str) -> Outcome:
    return Outcome((Finding(Verdict.ERROR, how),))


def _tell(name: str, outcome: Outcome, width: int) -> None:
    """A line for each, and more of what went wrong."""
    written = f"  {outcome.updated} is written anew" if outcome.updated else ""
    print(f"{outcome.verdict.name:<7}  {shown(name):<{width}}  {outcome.seconds:6.2f} s{written}")
    for line in outcome.story.splitlines():
        print(f"    {shown(line)}")
    for title, text in outcome.sections:
        print(f"    --- {shown(title)}")
        for line in text.splitlines():
            print(f"    {shown(line)}")
    sys.stdout.flush()
