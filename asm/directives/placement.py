"""Directives that choose a section or move within it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.expressions import parse
from paravane.asm.model import Align
from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_PROGBITS,
)
from paravane.asm.section_attributes import implied_attributes

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}
_MAX_ALIGN = 22  # as a power of two: 4 MiB, the largest page
_FLAGS = {"a": SHF_ALLOC, "w": SHF_WRITE, "x": SHF_EXECINSTR}
_KINDS = {"progbits": SHT_PROGBITS, "nobits": SHT_NOBITS, "note": SHT_NOTE}
_SECTION_NAME = re.compile(r"[A-Za-z0-9_.$-]+")
_MAX_STACK = 1000


@directive(TABLE, "text")
def _text(unit: Unit, scanner: Scanner) -> None:
    _plain(unit, scanner, ".text")


@directive(TABLE, "data")
def _data(unit: Unit, scanner: Scanner) -> None:
    _plain(unit, scanner, ".data")


@directive(TABLE, "bss")
def _bss(unit: Unit, scanner: Scanner) -> None:
    _plain(unit, scanner, ".bss")


@directive(TABLE, "rodata")
def _rodata(unit: Unit, scanner: Scanner) -> None:
    _plain(unit, scanner, ".rodata")


def _plain(unit: Unit, scanner: Scanner, name: str) -> None:
    if scanner.peek() == "0":
        scanner.pos += 1
    elif not scanner.at_end():
        raise scanner.error("numbered subsections are not supported; use a section of another name")
    unit.switch(unit.open_section(name))


@directive(TABLE, "section")
def _section(unit: Unit, scanner: Scanner) -> None:
    """`.section name[, "flags"[, @type]]`."""
    name, flags, kind = _named_section(unit, scanner)
    unit.switch(unit.open_section(name, flags, kind))


@directive(TABLE, "pushsection")
def _pushsection(unit: Unit, scanner: Scanner) -> None:
    name, flags, kind = _named_section(unit, scanner)
    section = unit.open_section(name, flags, kind)
    if len(unit.section_stack) >= _MAX_STACK:
        raise SourceError(f"more than {_MAX_STACK} pushed sections")
    unit.section_stack.append((unit.section, unit.previous))
    unit.switch(section)


@directive(TABLE, "popsection")
def _popsection(unit: Unit, _scanner: Scanner) -> None:
    if not unit.section_stack:
        raise SourceError("`.popsection` without `.pushsection`")
    unit.section, unit.previous = unit.section_stack.pop()


@directive(TABLE, "previous")
def _previous(unit: Unit, _scanner: Scanner) -> None:
    if unit.previous is None:
        raise SourceError("`.previous` without a section before")
    unit.switch(unit.previous)


def _named_section(unit: Unit, scanner: Scanner) -> tuple[str, int | None, int | None]:
    name = _section_name(scanner)
    flags = kind = None
    if scanner.accept(","):
        flags = _flags(scanner)
        if scanner.accept(","):
            kind = _kind(scanner)
    is_new = name not in unit.sections
    if is_new and flags is None and kind is None and implied_attributes(name) is None:
        unit.warn(f'section `{name}` has no flags: it will not be in memory; write `, "a"` or more')
    if flags is not None and kind is None and is_new:
        kind = SHT_NOTE if name.startswith(".note") else None
    return name, flags, kind


def _section_name(scanner: Scanner) -> str:
    if scanner.peek() == '"':
        name = scanner.string().decode("utf-8", "replace")
        if _SECTION_NAME.fullmatch(name) is None:
            raise scanner.error("a section name has letters, digits, `.`, `_`, `$` and `-`", 0)
        return name
    found = _SECTION_NAME.match(scanner.text, scanner.pos)
    if found is None:
        raise scanner.error("expected a section name")
    scanner.pos = found.end()
    return found[0]


def _flags(scanner: Scanner) -> int:
    scanner.skip_space()
    start = scanner.pos
    letters = scanner.string().decode("utf-8", "replace")
    flags = 0
    for letter in letters:
        if letter not in _FLAGS:
            raise scanner.error(f"section flag `{letter}` is not supported: write a, w or x", start)
        flags |= _FLAGS[letter]
    return flags


def _kind(scanner: Scanner) -> int:
    if not scanner.accept("@"):
        scanner.expect("%")
    start = scanner.pos
    name = scanner.expect_name("a section type")
    if name not in _KINDS:
        raise scanner.error(f"section type `{name}` is not supported: write progbits, nobits or note", start)
    return _KINDS[name]


@directive(TABLE, "align", "balign")
def _balign(unit: Unit, scanner: Scanner) -> None:
    _align(unit, scanner, 1, power=False)


@directive(TABLE, "balignw")
def _balignw(unit: Unit, scanner: Scanner) -> None:
    _align(unit, scanner, 2, power=False)


@directive(TABLE, "balignl")
def _balignl(unit: Unit, scanner: Scanner) -> None:
    _align(unit, scanner, 4, power=False)


@directive(TABLE, "p2align")
def _p2align(unit: Unit, scanner: Scanner) -> None:
    _align(unit, scanner, 1, power=True)


def _align(unit: Unit, scanner: Scanner, width: int, *, power: bool) -> None:
    """`.align boundary[, fill[, limit]]`: at most `limit` bytes of padding, or none."""
    scanner.skip_space()
    start = scanner.pos
    boundary = 0 if scanner.at_end() else unit.constant(scanner, "the boundary")
    if power:
        if not 0 <= boundary <= _MAX_ALIGN:
            raise scanner.error(f"alignment must be from 2^0 to 2^{_MAX_ALIGN}", start)
        boundary = 1 << boundary
    boundary = boundary or 1
    if boundary < 0 or boundary & (boundary - 1) or boundary > 1 << _MAX_ALIGN:
        raise scanner.error(f"alignment must be a power of two up to 2^{_MAX_ALIGN}", start)
    fill, limit = None, 0
    if scanner.accept(","):
        if scanner.peek() not in (",", ""):
            value = unit.constant(scanner, "the fill")
            fill = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
        if scanner.accept(","):
            limit = unit.constant(scanner, "the limit")
    unit.section.align = max(unit.section.align, boundary)
    if boundary > 1:
        unit.section.budget.take(boundary - 1)
        unit.section.close_region(Align(boundary, fill, max(limit, 0), unit.statement))


@directive(TABLE, "org")
def _org(unit: Unit, scanner: Scanner) -> None:
    """`.org place[, fill]`: a number counts from the start of the section in this unit."""
    node = parse(scanner, unit)
    fill = unit.constant(scanner, "the fill") & 0xFF if scanner.accept(",") else 0
    unit.move_to(node, bytes([fill]))


@directive(TABLE, "code32")
def _code32(_unit: Unit, _scanner: Scanner) -> None:
    """Code is 32-bit always."""


@directive(TABLE, "code16", "code16gcc", "code64")
def _other_code(_unit: Unit, scanner: Scanner) -> None:
    raise SourceError(f"`{scanner.text.split()[-1]}`: a PV kernel runs 32-bit code only")
