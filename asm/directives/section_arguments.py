"""The arguments of `.section`: name, flags, type, entry size, group and number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paravane.asm.lexer import QUOTED_PATTERN, number_value, unquote
from paravane.asm.model import Group
from paravane.asm.section_attributes import FLAGS, KINDS

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

_FLAG_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]{1,8}|0[0-7]{0,11}|[1-9][0-9]{0,9})$")
_NAME = re.compile(rf'{QUOTED_PATTERN}|[^ \t\f\v\r,;"]+')


@dataclass(slots=True)
class SectionArguments:
    """`flags` and `kind` are ELF's; None where the source leaves them to the name."""

    name: str
    flags: int | None = None
    kind: int | None = None
    group: Group | None = None
    unique: int = -1


def section_name(scanner: Scanner) -> str:
    scanner.skip_space()
    found = _NAME.match(scanner.text, scanner.pos)
    if found is None:
        raise scanner.error("expected a section name")
    scanner.pos = found.end()
    name = unquote(found[0])
    if not name or not name.isprintable():
        raise scanner.error("a section name is made of printable characters", found.start())
    return name


def read_arguments(unit: Unit, scanner: Scanner, name: str) -> SectionArguments:
    """Reads what may come after the comma that follows a section's name. Raises SourceError."""
    arguments = SectionArguments(name)
    letters = _flags(unit, scanner, arguments)
    if not scanner.accept(","):
        _warn_missing(unit, letters)
        return arguments
    if scanner.peek() in ("@", "%", '"'):
        arguments.kind = _kind(unit, scanner)
        if not scanner.accept(","):
            _warn_missing(unit, letters)
            return arguments
    _details(unit, scanner, arguments, letters)
    return arguments


def _warn_missing(unit: Unit, letters: str) -> None:
    """Says which flags have no effect because their own argument is missing."""
    what = {"M": "an entry size", "G": "a group name", "o": "the section it belongs to"}
    for letter in letters:
        if letter in what:
            unit.warn(f"section flag `{letter}` has no effect without {what[letter]}")


def _details(unit: Unit, scanner: Scanner, arguments: SectionArguments, letters: str) -> None:
    """Entry size, linked section, group and number, in that order, as far as the flags ask for them."""
    more = True
    if "M" in letters:
        unit.constant(scanner, "the entry size")  # equal entries are not merged, so it changes nothing
        more = scanner.accept(",")
    if "o" in letters and more:
        section_name(scanner)
        more = scanner.accept(",")
    if "G" in letters:
        if not more:
            _warn_missing(unit, "G")
            return
        name = scanner.name() or section_name(scanner)
        more = scanner.accept(",")
        is_comdat = more and scanner.peek() == "c" and scanner.name() == "comdat"
        more = scanner.accept(",") if is_comdat else more
        arguments.group = Group(name, is_comdat)
    if more:
        if scanner.name() != "unique":
            raise scanner.error("expected `unique`")
        scanner.expect(",")
        arguments.unique = unit.constant(scanner, "the number")


def _flags(unit: Unit, scanner: Scanner, arguments: SectionArguments) -> str:
    """Reads the letters of the flags, or a number in their place, into the arguments."""
    scanner.skip_space()
    start = scanner.pos
    letters = scanner.string().decode("utf-8", "replace")
    flags = 0
    number = _FLAG_NUMBER.search(letters)
    if number is not None:
        flags, letters = number_value(number[0]), letters[: number.start()]
    for letter in letters:
        if letter == "?":
            arguments.group = unit.section.group
        elif letter in FLAGS:
            flags |= FLAGS[letter]
        else:
            raise scanner.error(f"unknown section flag `{letter}`", start)
    arguments.flags = flags
    return letters


def _kind(unit: Unit, scanner: Scanner) -> int | None:
    """`@progbits`, `%progbits`, `"progbits"` or `@1`; None, with a warning, for an unknown word."""
    if scanner.peek() != '"':
        scanner.pos += 1
    start = scanner.pos
    if scanner.peek().isdigit():
        number = scanner.number()
        if isinstance(number, int) and number < 1 << 32:
            return number
        raise scanner.error("expected a section type", start)
    name = scanner.name() or ""
    if name not in KINDS:
        unit.warn(f"section type `{name}` is ignored: it is none of {', '.join(KINDS)}", start, scanner.pos)
    return KINDS.get(name)
