"""What a user means by IMAGE|NAME|SOURCE.S: the same for every command that looks at a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import guest_kernels
from paravane.tools import image_cache
from paravane.tools.arguments import add_source_options
from paravane.tools.files import read_file
from paravane.tools.status import UsageError
from paravane.tools.streams import tell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

METAVAR: Final = "IMAGE|NAME|SOURCE.S"
SOURCE: Final = ".S"


@dataclass(frozen=True, slots=True)
class Found:
    """The contents of an image, as they are in the file (packed ones too) or as they were assembled, and the
    files that were read for them. `memory` (bytes) and `cmdline` are what a kernel of `list` asks for."""

    name: str
    data: bytes
    inputs: tuple[Path, ...]
    memory: int | None = None
    cmdline: str = ""


def add_image(parser: argparse.ArgumentParser) -> None:
    """The argument, and the options of a kernel that has to be assembled first."""
    parser.add_argument(
        "image",
        metavar=METAVAR,
        help="a kernel: an ELF image or a bzImage, packed or not; the name of one of `paravane list`; "
        "or a source, which is assembled",
    )
    add_source_options(parser)


def sources_of(options: argparse.Namespace) -> tuple[Path, ...]:
    """The sources that are to be assembled for it; none if it is an image."""
    path = Path(options.image)
    if options.image in guest_kernels.names() and not path.is_file():
        return guest_kernels.load(options.image).sources
    return (path,) if path.suffix == SOURCE else ()


def find(options: argparse.Namespace) -> Found:
    """Read or assemble it. UsageError when it is nothing of that or has errors, OSError as reading does."""
    path = Path(options.image)
    sources = sources_of(options)
    if sources:
        entry = _assembled(sources, options)
        if path.suffix == SOURCE:
            return Found(path.stem, entry.image, entry.inputs)
        kernel = guest_kernels.load(options.image)
        return Found(kernel.name, entry.image, entry.inputs, kernel.memory, kernel.cmdline)
    if not path.exists():
        raise UsageError(f"{options.image} is neither a file nor a guest kernel; `paravane list` shows those")
    return Found(path.stem, read_file(path, "an image"), (path,))


def _assembled(sources: Sequence[Path], options: argparse.Namespace) -> image_cache.Entry:
    """What sources make. The assembler is loaded when the cache lacks it."""
    cache = image_cache.of_user()
    request = image_cache.Request(sources, options.include, dict(options.define))
    entry = None if cache is None else cache.find(request)
    if entry is None:
        made: image_cache.Entry = import_module("paravane.tools.build").entry(request, cache)
        return made
    for warning in entry.warnings:
        tell(warning)
    return entry
