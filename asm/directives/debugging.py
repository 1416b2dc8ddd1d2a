"""Directives of debuggers and tools: files and lines, stabs, versions and attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.program import SHT_NOTE

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}
_NT_VERSION = 1


@directive(TABLE, "file")
def _file(unit: Unit, scanner: Scanner) -> None:
    """`.file "name"`, or `.file number ["folder"] "name"...` for `.loc`."""
    if scanner.peek().isdigit():
        number = scanner.number()
        if isinstance(number, int):
            unit.file_numbers.add(number)
    scanner.string()
    scanner.rest()


@directive(TABLE, "loc")
def _loc(unit: Unit, scanner: Scanner) -> None:
    """`.loc file line ...`: the line table of an image names the lines of the assembly."""
    scanner.skip_space()
    start = scanner.pos
    number = unit.constant(scanner, "the file")
    if number not in unit.file_numbers:
        raise scanner.error(f"there is no `.file {number}` before this", start)
    unit.constant(scanner, "the line")
    scanner.rest()


@directive(TABLE, "version")
def _version(unit: Unit, scanner: Scanner) -> None:
    """A note with a version as its name (System V ABI)."""
    text = scanner.string() + b"\0"
    previous = unit.place, unit.previous
    unit.switch(unit.open_section(".note", 0, SHT_NOTE))
    sizes = b"".join(number.to_bytes(4, "little") for number in (len(text), 0, _NT_VERSION))
    unit.section.emit(sizes + text)
    unit.align(4, None, 0)
    unit.switch(previous[0].section, previous[0].subsection)
    unit.previous = previous[1]


@directive(TABLE, "line", "linefile", "loc_mark_labels", "func", "endfunc", "ident", "gnu_attribute")
@directive(TABLE, "stabs", "stabn", "stabd", "xstabs")
def _accepted(_unit: Unit, scanner: Scanner) -> None:
    """What compilers write for tools that never see the image."""
    scanner.rest()
