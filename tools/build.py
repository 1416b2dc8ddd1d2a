"""`paravane build`: assemble and link .S files into a kernel image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from paravane import asm
from paravane.asm.elf_writer import write_elf
from paravane.tools.arguments import definition, number
from paravane.tools.files import refuse_overwriting, write_file
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import tell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from paravane.asm.program import Program
    from paravane.tools.arguments import Commands


def add_command(commands: Commands) -> None:
    parser = commands.add_parser("build", help="assemble a kernel", description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path, metavar="KERNEL.S")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="KERNEL.elf")
    add_source_options(parser)
    parser.add_argument("--base", type=number, default=asm.DEFAULT_BASE, help="address of the first section")
    parser.add_argument(
        "--listing", type=Path, metavar="FILE", help="addresses, bytes and sources (- for stdout)"
    )
    parser.set_defaults(run=_build)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that assembles."""
    parser.add_argument("-I", dest="include", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument(
        "-D", dest="define", type=definition, action="append", default=[], metavar="NAME=VALUE"
    )


def assemble(
    sources: Sequence[Path], include: Sequence[Path], defines: Mapping[str, int], base: int = asm.DEFAULT_BASE
) -> Program:
    """Assemble for a user: diagnostics go to stderr as they are, then the command ends."""
    try:
        program = asm.assemble(sources, include=include, defines=defines, base=base)
    except asm.AssemblyError as error:
        tell(str(error))
        raise UsageError(f"{len(error.diagnostics)} error(s), nothing was built", Status.ERRORS) from None
    for warning in program.warnings:
        tell(warning)
    return program


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
