"""The assembler: GNU-syntax AT&T sources for 32-bit x86 PV kernels to a linked program or an ELF32 image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import AssemblyError, Diagnostic, LocatedError, TooManyErrors
from paravane.asm.directives.files import OWN_INCLUDE, shown_name
from paravane.asm.elf_writer import write_elf
from paravane.asm.linker import DEFAULT_BASE, link
from paravane.asm.listing import listing
from paravane.asm.parser import read_file, read_string
from paravane.asm.program import Program
from paravane.asm.unit import Session, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

INCLUDE_DIR = OWN_INCLUDE
_NO_DEFINES: Mapping[str, int] = {}


def assemble(
    sources: Sequence[Path],
    *,
    include: Sequence[Path] = (),
    defines: Mapping[str, int] = _NO_DEFINES,
    base: int = DEFAULT_BASE,
    begun: Callable[[Unit], object] | None = None,
) -> Program:
    """Assembles each source as a unit of its own and links them, the first section at address `base`.

    `include` is searched by `.include` and `.incbin` after the folder of the file that asks, and before
    `INCLUDE_DIR`; `defines` are symbols set in every unit. `begun` is given each unit before it is read: its
    `statement` is the one that is being read, for another thread to tell. Raises AssemblyError.
    """
    names = [(path, shown_name(path)) for path in sources]
    readers = [(name, lambda unit, path=path, name=name: read_file(unit, path, name)) for path, name in names]
    return _assemble(readers, include, defines, base, begun)


def assemble_text(
    text: str,
    *,
    name: str = "<string>",
    include: Sequence[Path] = (),
    defines: Mapping[str, int] = _NO_DEFINES,
    base: int = DEFAULT_BASE,
) -> Program:
    """Assembles one text; `name` is the file name in messages and in the line table. Raises AssemblyError."""
    return _assemble([(name, lambda unit: read_string(unit, text))], include, defines, base)


def build(
    sources: Sequence[Path],
    *,
    include: Sequence[Path] = (),
    defines: Mapping[str, int] = _NO_DEFINES,
    base: int = DEFAULT_BASE,
) -> bytes:
    """Assembles, links and writes an ELF32 image. Raises AssemblyError."""
    return write_elf(assemble(sources, include=include, defines=defines, base=base))


def _assemble(
    readers: Sequence[tuple[str, Callable[[Unit], None]]],
    include: Sequence[Path],
    defines: Mapping[str, int],
    base: int,
    begun: Callable[[Unit], object] | None = None,
) -> Program:
    session = Session((*include, INCLUDE_DIR), defines)
    reporter = session.reporter
    try:
        units = [_read(session, name, reader, begun) for name, reader in readers]
        reporter.raise_errors()
        program = link(units, base, reporter)
        return replace(program, contents=tuple(session.contents), absent=tuple(session.absent))
    except TooManyErrors:
        raise AssemblyError(reporter.diagnostics) from None


def _read(
    session: Session, name: str, reader: Callable[[Unit], None], begun: Callable[[Unit], object] | None
) -> Unit:
    unit = Unit(session, name)
    if begun is not None:
        begun(unit)
    try:
        reader(unit)
    except LocatedError as error:
        session.reporter.error(error.message, error.location)
    return unit


__all__ = [
    "DEFAULT_BASE",
    "INCLUDE_DIR",
    "AssemblyError",
    "Diagnostic",
    "Program",
    "assemble",
    "assemble_text",
    "build",
    "listing",
]
