"""`paravane build`: assemble and link .S files into a kernel image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from paravane import asm
from paravane.asm.elf_writer import write_elf
from paravane.tools import manual
from paravane.tools.arguments import add_source_options, number
from paravane.tools.files import refuse_overwriting, write_file
from paravane.tools.image_cache import Entry
from paravane.tools.progress import telling
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import tell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from paravane.asm.program import Program
    from paravane.asm.unit import Unit
    from paravane.tools.image_cache import ImageCache, Request

_EPILOG = manual.epilog(
    """\
Sections follow each other from --base on: code, read-only data, data, and what takes no
space in the file. The image has the notes that the sources give it (XEN_NOTES of
runtime.inc), symbols, and lines. It is written whole or not at all.""",
    statuses=(
        (Status.OK, "the image is written"),
        (Status.ERRORS, "the sources have errors, one cannot be read, or output could not be written"),
        (Status.USAGE, "bad usage, or what is to be written would overwrite what is read"),
        manual.INTERRUPTED,
    ),
    files=(("runtime.inc", "the runtime, and others that come with it: found without -I"),),
    examples=(
        ("paravane build greet.S -o greet.elf", ""),
        (
            "paravane build start.S main.S -o kernel.elf -I include -D DEBUG -D CPUS=2 --listing kernel.lst",
            "",
        ),
        ("paravane build greet.S -o greet.elf --listing - | less", "addresses, bytes and sources"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane build KERNEL.S... -o KERNEL.elf`."""
    parser.description = "Assemble sources and link them to a kernel image."
    parser.usage = "%(prog)s KERNEL.S... -o KERNEL.elf [options]"
    parser.epilog = _EPILOG
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="KERNEL.S",
        help="a source in GNU syntax; each is a unit of its own",
    )
    group = parser.add_argument_group("what is written")
    group.add_argument(
        "-o",
        dest="output",
        type=Path,
        required=True,
        metavar="KERNEL.elf",
        help="the image to write: ELF, 32 bits",
    )
    group.add_argument(
        "--base",
        type=number,
        default=asm.DEFAULT_BASE,
        metavar="ADDRESS",
        help=f"address of the first section (default: {asm.DEFAULT_BASE:#x})",
    )
    group.add_argument(
        "--listing", type=Path, metavar="FILE", help="write addresses, bytes and sources (-: to stdout)"
    )
    add_source_options(parser)
    parser.set_defaults(run=_build)


def assemble(
    sources: Sequence[Path], include: Sequence[Path], defines: Mapping[str, int], base: int = asm.DEFAULT_BASE
) -> Program:
    """Assemble for a user: diagnostics go to stderr as they are, then the command ends."""
    units: list[Unit] = []

    def state() -> str:
        line = units[-1].statement.line if units else None
        return f"assembling {line.file}:{line.number}" if line else "assembling"

    try:
        with telling(state):
            program = asm.assemble(sources, include=include, defines=defines, base=base, begun=units.append)
    except asm.AssemblyError as error:
        tell(str(error))
        raise UsageError(f"{len(error.diagnostics)} error(s), nothing was built", Status.ERRORS) from None
    for warning in program.warnings:
        tell(warning)
    return program


def entry(request: Request, cache: ImageCache | None) -> Entry:
    """What sources make; for a user, as `assemble` is. The cache gets it, too."""
    program = assemble(request.sources, request.include, request.defines)
    image = write_elf(program)
    if cache is not None:
        cache.keep(request, program, image)
    return Entry(image, program.inputs, program.warnings)


def _build(options: argparse.Namespace) -> int:
    program = assemble(options.sources, options.include, dict(options.define), options.base)
    listing = None if options.listing is None or str(options.listing) == "-" else options.listing
    refuse_overwriting((("-o", options.output), ("--listing", listing)), program.inputs)
    write_file(options.output, write_elf(program))
    if options.listing is not None:
        text = asm.listing(program)
        if listing is None:
            print(text, end="")
        else:
            write_file(listing, text.encode("utf-8", "surrogateescape"))
    return Status.OK
