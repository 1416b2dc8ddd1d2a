"""Directives that write statements: macros and repeats."""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import Expansion, SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.macros import Macro, characters, parse_parameters, read_argument
from paravane.asm.reader import MAX_STATEMENTS, Frame, directive_of, expand
from paravane.asm.scrubber import kept_blanks, settled
from paravane.asm.source import statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.asm.lexer import Scanner
    from paravane.asm.source import Statement
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}


@directive(TABLE, "macro")
def _macro(unit: Unit, scanner: Scanner) -> None:
    opening = unit.statement
    start = scanner.pos
    try:
        name = scanner.expect_name("a macro name")
        scanner.accept(",")
        parameters = parse_parameters(scanner)
    except SourceError:
        unit.reader.body(opening, ".macro")
        raise
    body = _settled(unit.reader.body(opening, ".macro"))
    if name.lower() in unit.macros:
        raise scanner.error(f"macro `{name}` is already defined", start)
    unit.macros[name.lower()] = Macro(name, parameters, body)


def _settled(body: list[Statement]) -> tuple[Statement, ...]:
    return tuple(statement._replace(text=settled(statement.text)) for statement in body)


@directive(TABLE, "purgem")
def _purgem(unit: Unit, scanner: Scanner) -> None:
    name = scanner.expect_name("a macro name")
    if unit.macros.pop(name.lower(), None) is None:
        unit.warn(f"there is no macro `{name}`", scanner.pos - len(name), scanner.pos)


@directive(TABLE, "exitm", "mexit")
def _exitm(unit: Unit, scanner: Scanner) -> None:
    """Leaves the innermost macro or repeat, with the conditions opened inside it."""
    frames = unit.reader.frames
    scanner.rest()
    if frames[-1].kind == "file":
        unit.warn("`.exitm` outside a macro or repeat is ignored")
        return
    frame = frames.pop()
    if len(unit.conditionals) > frame.conditions:
        unit.conditionals.truncate(frame.conditions)


@directive(TABLE, "endm", "endmacro", "endr")
def _stray_end(unit: Unit, scanner: Scanner) -> None:
    word = directive_of(scanner.text)
    opening = "`.macro`" if word.startswith(".endm") else "`.rept`, `.irp` or `.irpc`"
    unit.warn(f"`{word}` without {opening} is ignored")


@directive(TABLE, "rept", "rep")
def _rept(unit: Unit, scanner: Scanner) -> None:
    opening = unit.statement
    try:
        count = unit.constant(scanner, "the count")
        scanner.expect_end()
    except SourceError:
        unit.reader.body(opening, ".rept")
        raise
    body = unit.reader.body(opening, ".rept")
    if count < 0:
        raise scanner.error("count is negative", 0)
    trace = (*opening.line.expansions, _expansion(opening, "`.rept`"))
    lines = [statement for part in body for statement in _again(part, trace)]
    if not lines:
        return
    if count * len(lines) > MAX_STATEMENTS:
        raise scanner.error(f"more than {MAX_STATEMENTS} statements in all", 0)
    unit.reader.push(Frame("repeat", chain.from_iterable(repeat(lines, count)), len(unit.conditionals)))


def _again(part: Statement, trace: tuple[Expansion, ...]) -> Iterator[Statement]:
    return statements(part.text, part.line.file, trace, part.line.number)


def _expansion(opening: Statement, what: str) -> Expansion:
    return Expansion(what, opening.line.file, opening.line.number)


@directive(TABLE, "irp", "irep")
def _irp(unit: Unit, scanner: Scanner) -> None:
    def values() -> list[str]:
        kept = kept_blanks(scanner.text)
        found = [] if not scanner.at_end() else [""]
        while not scanner.at_end():
            found.append(read_argument(scanner, kept))
            scanner.accept(",")
        return found

    _iterate(unit, scanner, ".irp", values)


@directive(TABLE, "irpc", "irepc")
def _irpc(unit: Unit, scanner: Scanner) -> None:
    _iterate(unit, scanner, ".irpc", lambda: characters(scanner))


def _iterate(unit: Unit, scanner: Scanner, word: str, values: Callable[[], list[str]]) -> None:
    """Repeats a body with a parameter that takes one value after another."""
    opening = unit.statement
    try:
        name = scanner.expect_name("a parameter name")
        scanner.accept(",")
        each = values()
        scanner.expect_end()
    except SourceError:
        unit.reader.body(opening, word)
        raise
    body = _settled(unit.reader.body(opening, word))
    trace = (*opening.line.expansions, _expansion(opening, f"`{word}`"))
    parts = (expand(unit.reader, body, {name: value}, unit.macro_count, trace) for value in each)
    if body:
        unit.reader.push(Frame("repeat", chain.from_iterable(parts), len(unit.conditionals)))
