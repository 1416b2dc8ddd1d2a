"""`--trace-insn`, `--break`, `--watch` and `--coverage`: what `boot` follows of a guest."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import follow
from paravane.classes import dataclass
from paravane.cpu.debugger import Watched
from paravane.cpu.moving_breakpoints import MOST
from paravane.follow import LocationError, data_at, location
from paravane.image.source_text import SourceText
from paravane.text import number_in
from paravane.tools import images
from paravane.tools.files import write_file
from paravane.tools.status import UsageError
from paravane.trace import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from paravane import Domain, Image

LARGEST_WATCH: Final = 4096
"""Bytes that one --watch may cover."""

_WATCH: Final = re.compile(r"(?P<place>[^,]+)(?:,(?P<size>0[xX][0-9a-fA-F]+|\d+))?(?:,(?P<how>rw|r|w))?")


def add_following_options(parser: argparse.ArgumentParser) -> None:
    """The options; each may be given several times."""
    group = parser.add_argument_group("instructions, breakpoints, coverage")
    group.add_argument(
        "--trace-insn",
        action="append",
        default=[],
        metavar="RANGE",
        help="trace every instruction in RANGE, with the registers it changed: SYMBOL, A-B (each an address, "
        "SYMBOL, SYMBOL+N or FILE:LINE), user for ring 3, all; into --trace, else on stderr",
    )
    group.add_argument(
        "--break",
        dest="breaks",
        action="append",
        default=[],
        metavar="PLACE",
        help="tell registers and calls whenever PLACE (an address, SYMBOL, SYMBOL+N, FILE:LINE) is reached, "
        "and go on",
    )
    group.add_argument(
        "--watch",
        dest="watches",
        action="append",
        default=[],
        metavar="PLACE[,SIZE][,r|w|rw]",
        help="tell whenever SIZE bytes (default 4) at PLACE are written (default), read or either, and go on",
    )
    group.add_argument(
        "--coverage",
        type=_coverage_file,
        action="append",
        default=[],
        metavar="FILE",
        help="write which of the kernel's code was executed, over all its lives: FILE.drcov for "
        "disassemblers, FILE.info for lcov, FILE.txt its source with counts",
    )


def _coverage_file(text: str) -> Path:
    path = Path(text)
    if path.suffix not in follow.FORMS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of FILE{', FILE'.join(follow.FORMS)}")
    return path


@dataclass(frozen=True, slots=True)
class Following:
    """What is followed of a guest. `coverage` counts over all its lives (None: nothing is counted), for
    `files`; `folders` have the sources that the image names."""

    ranges: tuple[range, ...] = ()
    user: bool = False
    breakpoints: tuple[int, ...] = ()
    watched: tuple[Watched, ...] = ()
    coverage: follow.Coverage | None = None
    files: Sequence[Path] = ()
    image_path: str = ""
    folders: Sequence[Path] = ()

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of trace records that come of it."""
        found = {Kind.INSTRUCTION} if self.ranges or self.user else set()
        return frozenset(found | ({Kind.BREAKPOINT} if self.breakpoints or self.watched else set()))

    def begin(self, domain: Domain, stack: ExitStack) -> None:
        """Follow a domain that was built and has not run, until the stack is closed."""
        if self.ranges or self.user:
            stack.callback(follow.InstructionTrace(domain, self.ranges, user=self.user).close)
        if self.breakpoints or self.watched:
            stack.callback(follow.Breakpoints(domain, self.breakpoints, self.watched).close)
        if self.coverage is not None:
            self.coverage.follow(domain)
            stack.callback(self.coverage.close)

    def write(self) -> None:
        """Write the files of coverage. Raises OutputError."""
        sources = SourceText(self.folders)
        for path in self.files:
            if self.coverage is not None:
                write_file(path, follow.FORMS[path.suffix](self.coverage, self.image_path, sources))


def following(options: argparse.Namespace, image: Image) -> Following:
    """What the options ask for. UsageError for places that the image does not have, and for too many."""
    named = [text for text in options.trace_insn if text not in ("user", "all")]
    try:
        ranges = [location(image, text) for text in named]
        breakpoints = tuple(location(image, text).start for text in options.breaks)
        watched = tuple(_watched(image, text) for text in options.watches)
    except LocationError as error:
        raise UsageError(str(error)) from None
    if len(set(breakpoints)) > MOST:
        raise UsageError(f"--break can name {MOST} places at most, not {len(set(breakpoints))}")
    if "all" in options.trace_insn:
        ranges = [range(1 << 32)]
    return Following(
        tuple(ranges),
        "user" in options.trace_insn,
        breakpoints,
        watched,
        follow.Coverage(image) if options.coverage else None,
        options.coverage,
        str(options.image),
        images.source_folders(options),
    )


def _watched(image: Image, text: str) -> Watched:
    found = _WATCH.fullmatch(text)
    size = number_in(found["size"] or "4") if found else None
    if found is None or size is None or not 0 < size <= LARGEST_WATCH:
        raise UsageError(f"--watch {text} is not PLACE[,SIZE][,r|w|rw] with up to {LARGEST_WATCH} bytes")
    start, how = data_at(image, found["place"]), found["how"] or "w"
    return Watched(start, min(size, (1 << 32) - start), "r" in how, "w" in how)
