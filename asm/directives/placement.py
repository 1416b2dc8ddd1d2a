"""Directives that choose a section."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.directives.section_arguments import SectionArguments, read_arguments, section_name
from paravane.asm.model import Group
from paravane.asm.program import SHT_NOTE, SHT_PROGBITS
from paravane.asm.section_attributes import implied_attributes

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.model import UnitSection
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}
_MAX_STACK = 1000
_MAX_SUBSECTION = 8192  # of either sign, as in GNU as


def _standard(unit: Unit, scanner: Scanner, name: str) -> None:
    """`.text [subsection]` and its like."""
    unit.switch(unit.open_section(name), _subsection_number(unit, scanner))


TABLE |= {f".{name}": partial(_standard, name=f".{name}") for name in ("text", "data", "bss", "rodata")}


def _subsection_number(unit: Unit, scanner: Scanner) -> int:
    scanner.skip_space()
    start = scanner.pos
    number = 0 if scanner.at_end() else unit.constant(scanner, "the subsection")
    if not -_MAX_SUBSECTION <= number <= _MAX_SUBSECTION:
        raise scanner.error(f"a subsection is a number up to {_MAX_SUBSECTION}", start)
    return number


@directive(TABLE, "subsection")
def _subsection(unit: Unit, scanner: Scanner) -> None:
    if unit.section.is_absolute:
        raise SourceError("a structure has no subsections")
    unit.switch(unit.section, _subsection_number(unit, scanner))


@directive(TABLE, "section", "section.s", "sect", "sect.s")
def _section(unit: Unit, scanner: Scanner) -> None:
    """`.section name[, "flags"[, @type[, arguments]]]`."""
    name = section_name(scanner)
    arguments = read_arguments(unit, scanner, name) if scanner.accept(",") else SectionArguments(name)
    unit.switch(_opened(unit, arguments))


@directive(TABLE, "pushsection")
def _pushsection(unit: Unit, scanner: Scanner) -> None:
    """`.pushsection name[, subsection][, "flags"...]`."""
    name = section_name(scanner)
    arguments, number = SectionArguments(name), 0
    more = scanner.accept(",")
    if more and scanner.peek() != '"':
        number = _subsection_number(unit, scanner)
        more = scanner.accept(",")
    if more:
        arguments = read_arguments(unit, scanner, name)
    section = _opened(unit, arguments)
    if len(unit.section_stack) >= _MAX_STACK:
        raise SourceError(f"more than {_MAX_STACK} pushed sections")
    unit.section_stack.append((unit.place, unit.previous))
    unit.switch(section, number)


@directive(TABLE, "popsection")
def _popsection(unit: Unit, _scanner: Scanner) -> None:
    if not unit.section_stack:
        unit.warn("`.popsection` without `.pushsection` is ignored")
        return
    place, previous = unit.section_stack.pop()
    unit.switch(place.section, place.subsection)
    unit.previous = previous


@directive(TABLE, "previous")
def _previous(unit: Unit, _scanner: Scanner) -> None:
    if unit.previous is None:
        unit.warn("`.previous` without a section before is ignored")
        return
    unit.switch(unit.previous.section, unit.previous.subsection)


def _opened(unit: Unit, arguments: SectionArguments) -> UnitSection:
    name, flags, kind = arguments.name, arguments.flags, arguments.kind
    implied = implied_attributes(name)
    key = (name, "" if arguments.group is None else arguments.group.name, arguments.unique)
    if key not in unit.sections:
        if implied is None and flags is None and kind is None:
            unit.warn(f'section `{name}` has no flags: it will not be in memory; write `, "a"` or more')
        if flags is not None and kind is None:
            # A name says the type where the source does not, but `"a"` alone makes no section empty.
            kind = SHT_NOTE if name.startswith(".note") else implied[1] if implied else SHT_PROGBITS
    return unit.open_section(name, flags, kind, arguments.group, arguments.unique)


@directive(TABLE, "attach_to_group")
def _attach(unit: Unit, scanner: Scanner) -> None:
    """`.attach_to_group name`: the section is linked or left out as the others of that group are."""
    name = section_name(scanner)
    if unit.section.group is not None:
        unit.warn(f"section `{unit.section.name}` is in group `{unit.section.group.name}` already")
        return
    groups = (section.group for section in unit.sections.values())
    same = (group for group in groups if group is not None and group.name == name)
    unit.section.group = next(same, None) or Group(name, is_comdat=False)


@directive(TABLE, "struct", "offset")
def _struct(unit: Unit, scanner: Scanner) -> None:
    """`.struct offset`: until another section is chosen, labels are offsets into a structure."""
    scanner.skip_space()
    start = scanner.pos
    offset = 0 if scanner.at_end() else unit.constant(scanner, "the offset")
    if not 0 <= offset < 1 << 32:
        raise scanner.error("offset must be from 0 to 4 GiB", start)
    unit.open_absolute(offset)


@directive(TABLE, "linkonce")
def _linkonce(unit: Unit, scanner: Scanner) -> None:
    scanner.rest()
    unit.warn("`.linkonce` has no effect in ELF: use a section group")
