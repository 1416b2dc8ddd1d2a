"""`paravane report`: a trace as one page for a browser."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.place import Places
from paravane.tools import images, manual
from paravane.tools.arguments import add_source_options
from paravane.tools.files import check_folder, refuse_overwriting, replacing
from paravane.tools.report_page.collector import Report
from paravane.tools.report_page.page import render
from paravane.tools.report_page.sources import Sources
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import STDOUT
from paravane.tools.trace.options import add_wanted, source_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from typing import IO

    from paravane.place import Place
    from paravane.tools.trace.source import Source
    from paravane.trace import Entry

_EPILOG: Final = manual.epilog(
    """\
The page is one file that needs no network: a timeline, the hypercalls and why they were
refused, machine memory and its page tables over time, who notified whom, and where in the
source. A section says so when the trace has no records for it: `boot --trace-events all`
records everything. Lines of source files are shown of those that --image was built from,
of those below --sources, and of those that come with Paravane; no other file is read.""",
    statuses=(
        (Status.OK, "the page is written"),
        (Status.ERRORS, "it could not be written; or the sources of --image have errors"),
        (Status.USAGE, "bad usage, or a trace that cannot be read, is damaged, or has no records"),
        manual.NO_IMAGE,
        manual.INTERRUPTED,
    ),
    files=(manual.SETTINGS, manual.CACHE),
    environment=(manual.CACHE_HOME,),
    examples=(
        ("paravane boot attack --trace attack.jsonl --trace-events all", "record everything"),
        ("paravane report attack.jsonl -o attack.html", "and look at it"),
        ("paravane report run.jsonl -o run.html --image greet.S", "with the lines of its source"),
        ("paravane report run.jsonl -o run.html --events domain:1 --until 1s", "a part of it"),
    ),
)

_WITH_SOURCES: Final = ("asm", "guest_kernels", "compiler")


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane report FILE -o FILE`."""
    parser.description = "Make one HTML page of a trace: timeline, hypercalls, memory, page tables, events."
    parser.usage = "%(prog)s FILE -o FILE [options]"
    parser.epilog = _EPILOG
    parser.add_argument(
        "file", metavar="FILE", help="a trace that `boot --trace` or xentrace wrote, but for text (-: stdin)"
    )
    group = parser.add_argument_group("what is written")
    group.add_argument("-o", dest="output", metavar="FILE", help="the page (-: stdout)")
    group = parser.add_argument_group("source lines")
    group.add_argument(
        "--image",
        metavar=images.METAVAR,
        help="the kernel that ran, as `boot` takes it: names places that the trace has as addresses only",
    )
    group.add_argument(
        "--sources",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="source files below this folder may be shown; given again, one more",
    )
    add_wanted(parser)
    add_source_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> Status:
    if options.output is None:
        raise UsageError("say with -o where the page goes: -o run.html; see `paravane report --help`")
    for folder in options.sources:
        if not folder.is_dir():
            raise UsageError(f"--sources {folder} is no folder")
    source = source_of(options, options.file)
    path = None if options.output == "-" else Path(options.output)
    if path is not None:
        check_folder(path)
        refuse_overwriting([("-o", path)], [] if source.path is None else [source.path])
    elif os.isatty(STDOUT):
        raise UsageError("a page is nothing for a terminal: -o FILE writes it to a file")
    resolve, built_from = _resolver(options)
    if path is not None:
        refuse_overwriting([("-o", path)], built_from)
    page = _page(source, resolve, Sources([*_own_folders(), *options.sources], built_from))
    with _out(path) as stream:
        stream.write(page)
    return Status.OK


def _page(source: Source, resolve: Callable[[Entry], Place | None], sources: Sources) -> bytes:
    """The page for the entries that are wanted."""
    report = Report(resolve)
    for entry in source.entries():
        report.add(entry)
    name = "stdin" if source.path is None else source.path.name
    if not report.count:
        raise UsageError(f"{source.name}: there is no record in it, or none that is wanted")
    return render(report.island(name, source.reader.header, source.reader.note, sources))


def _resolver(options: argparse.Namespace) -> tuple[Callable[[Entry], Place | None], tuple[Path, ...]]:
    """What names an entry's place, and the files of the kernel that is given for that."""
    if options.image is None:
        return lambda entry: entry.place, ()
    found = images.find(options)
    places = Places(images.load(options, found.data))

    def resolve(entry: Entry) -> Place | None:
        place = entry.place
        if place is None or place.symbol or place.file:
            return place
        look = places.before if entry.kind == "hypercall" else places.at
        return look(place.address) if place.address < 1 << 32 else place

    return resolve, found.inputs


def _own_folders() -> tuple[Path, ...]:
    """Folders of sources that come with Paravane."""
    assembler, kernels, compiler = (Path(str(files(f"paravane.{name}"))) for name in _WITH_SOURCES)
    return assembler / "include", kernels, compiler, compiler / "include"


@contextmanager
def _out(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with replacing(path) as stream:
            yield stream
