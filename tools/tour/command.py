"""`paravane tour`: the ideas of Xen, each shown by a kernel that runs while one reads, with an exercise."""

from __future__ import annotations

import logging
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.ending import StopReason
from paravane.text import shown
from paravane.tools import manual
from paravane.tools.files import make_folder
from paravane.tools.progress import telling
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from paravane.tools.tour.stop import Stop

_EPILOG = manual.epilog(
    """\
The ideas are those of "Xen and the Art of Virtualization" (SOSP 2003); the list names the section of
each, and the kernel that shows it. The figures are counted in the run that has just been made.

An exercise is that kernel without the lines on which the idea depends: `paravane test DIR` fails, with
a hint, until they are there again.""",
    statuses=(
        (Status.OK, "it was shown, or the exercise is made"),
        (Status.ERRORS, "output could not be written, or the kernel did not come to its end"),
        (Status.USAGE, "bad usage, no such stop, or a folder that exists"),
    ),
    files=(
        ("DIR/*.S, *.inc", "the sources of the exercise, with a TODO where something is missing"),
        ("DIR/kernel.toml", manual.SETTINGS[1] + ", and the hints"),
        ("DIR/expected.txt", manual.EXPECTED[1].removeprefix("beside it: ")),
        ("DIR/README.md", "the task"),
    ),
    environment=(manual.TERM,),
    examples=(
        ("paravane tour", "all stops"),
        ("paravane tour 2", "one of them"),
        ("paravane tour 2 --exercise mine", "its exercise, in a new folder"),
        ("paravane boot mine", "how far it is"),
    ),
)

_SHOWN: Final = 20
"""Characters of a word that is no number."""


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane tour [N [--exercise DIR]]`."""
    parser.description = "Show the ideas of Xen one by one, each by a kernel that runs."
    parser.usage = "%(prog)s [N [--exercise DIR]]"
    parser.epilog = _EPILOG
    parser.add_argument("stop", nargs="?", metavar="N", help="the number of a stop")
    group = parser.add_argument_group("the exercise")
    group.add_argument(
        "--exercise", type=Path, metavar="DIR", help="make the exercise of this stop, in a new folder"
    )
    parser.set_defaults(run=_tour)


def _tour(options: argparse.Namespace) -> int:
    # The stops stand on the machine and the assembler, which help does not need.
    from paravane.tools.tour.stops import STOPS  # noqa: PLC0415

    if options.stop is None:
        if options.exercise is not None:
            raise UsageError("--exercise is of one stop: `paravane tour N --exercise DIR`")
        return _list(STOPS)
    number = _number(options.stop, len(STOPS))
    if options.exercise is not None:
        return _make(STOPS[number - 1], options.exercise)
    return _show(number, STOPS)


def _number(word: str, count: int) -> int:
    if not (word.isascii() and word.isdecimal()) or not 1 <= int(word[:9]) <= count or len(word) > 9:
        raise UsageError(f"there is no stop {shown(word[:_SHOWN])!r}: they are numbered from 1 to {count}")
    return int(word)


def _list(stops: tuple[Stop, ...]) -> int:
    from paravane.tools.tour.show import listing  # noqa: PLC0415 - with the stops

    print("stop, section of the paper, and the kernel that shows it")
    print(*listing(stops), sep="\n")
    print("next: paravane tour 1")
    return Status.OK


def _show(number: int, stops: tuple[Stop, ...]) -> int:
    from paravane.tools.tour.show import heading, outcome, width  # noqa: PLC0415 - with the stops

    stop = stops[number - 1]
    columns = width()
    print(*heading(number, stop, columns), sep="\n", flush=True)
    with telling(lambda: f"running {stop.kernel}"), _quiet():
        run = stop.run()
    if any(result.ending is not StopReason.DONE for result in run.results):
        print(f"`{stop.kernel}` did not come to its end: {run.result.ending.value}")
        return Status.ERRORS
    print(f"`{stop.kernel}` has just run:")
    print(*outcome(stop.figures(run), columns), sep="\n")
    print()
    verb = "run" if stop.parts else "boot"
    print(f"read it:  guest_kernels/{stop.kernel}")
    print(f"watch it: paravane {verb} {stop.kernel} --trace -")
    print(f"do it:    paravane tour {number} --exercise DIR")
    if number < len(stops):
        print(f"next:     paravane tour {number + 1}")
    return Status.OK


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of the hypervisor's log on the terminal: what matters of a run is told by its figures."""
    log, handler = logging.getLogger("paravane"), logging.NullHandler()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _make(stop: Stop, folder: Path) -> int:
    from paravane.tools.tour.exercise import exercise_files  # noqa: PLC0415 - with the stops

    files = exercise_files(stop, folder.name)
    make_folder(folder, files)
    quoted = shown(shlex.quote(str(folder)))
    print(f"{shown(str(folder))}: {', '.join(files)}")
    print(f"next: read {shown(shlex.quote(str(folder / 'README.md')))}, then paravane test {quoted}")
    return Status.OK
