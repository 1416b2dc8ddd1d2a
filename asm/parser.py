"""The loop over the statements of a unit: labels, assignments, directives, macros and instructions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paravane.asm import directives
from paravane.asm.diagnostics import Expansion, LocatedError, SourceError
from paravane.asm.expressions import parse
from paravane.asm.instructions import assemble_instruction
from paravane.asm.lexer import NAME, NAME_PATTERN, QUOTED_PATTERN, Scanner, unquote
from paravane.asm.macros import bind
from paravane.asm.reader import Frame, TooManyStatements, directive_of, expand
from paravane.asm.source import read_text, statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paravane.asm.macros import Macro
    from paravane.asm.source import Statement
    from paravane.asm.unit import Unit

_BLANK = r"[ \t\f\v\r]*"
_ANY_NAME = f"({NAME_PATTERN}|{QUOTED_PATTERN})"
_LABEL = re.compile(f"{_BLANK}(?:{_ANY_NAME}|([0-9]+)){_BLANK}:")
_ASSIGNMENT = re.compile(f"{_BLANK}{_ANY_NAME}{_BLANK}(==?)(?!=)")
_CONSTANT = re.compile(
    rf"{_BLANK}\.(?:equ|set)[ \t]+([A-Za-z_][A-Za-z0-9_.$]*){_BLANK},"
    rf"{_BLANK}(0x[0-9A-Fa-f]{{1,16}}|0|[1-9][0-9]{{0,18}}){_BLANK}\Z"
)
"""`.equ NAME, number`: most statements of a unit that includes Xen's numbers are no more than that."""
_MAX_NUMERIC_LABEL = 10  # digits


def read_file(unit: Unit, path: Path, shown: str) -> None:
    """Assembles a whole source file into the unit. Raises LocatedError when it cannot be read."""
    text = read_text(path, shown, unit.session.note_read)
    _read(unit, statements(text, shown), path.parent)


def read_string(unit: Unit, text: str) -> None:
    """Assembles a text into the unit, under the unit's name."""
    _read(unit, statements(text, unit.name), None)


def _read(unit: Unit, source: Iterator[Statement], folder: Path | None) -> None:
    unit.reader.push(Frame("file", source, 0, folder))
    while unit.reader.frames:
        try:
            while unit.reader.frames:
                _step(unit)
        except SourceError as error:
            unit.reporter.error(error.message, unit.statement.locate(error.start, error.end))
        except LocatedError as error:
            unit.reporter.error(error.message, error.location)
        except TooManyStatements as error:
            unit.reporter.error(str(error), unit.statement.locate())
            unit.reader.frames.clear()
    _finish(unit)


def _step(unit: Unit) -> None:
    """One statement, or the end of one input."""
    statement = unit.reader.next()
    if statement is None:
        frame = unit.reader.frames.pop()
        if len(unit.conditionals) > frame.conditions:
            unclosed = unit.conditionals.truncate(frame.conditions)
            unit.reporter.error("`.if` is never closed with `.endif`", unclosed)
        return
    unit.statement = statement
    if unit.conditionals.skipping:
        word = directive_of(statement.text)
        if unit.conditionals.handles(word):
            _directive(unit, Scanner(statement.text, _word_end(statement.text, word)), word)
        return
    _statement(unit, statement)


def _finish(unit: Unit) -> None:
    """What can only be said at the end of a unit."""
    for symbol in unit.symbols.numeric:
        if not symbol.defined:
            unit.reporter.error(f"there is no label `{symbol.name}:` after this", symbol.referenced_at)
    if unit.frames.current is not None:
        where = unit.frames.current.statement.locate()
        unit.reporter.error("`.cfi_startproc` is never closed with `.cfi_endproc`", where)
    unit.symbols.weaken()
    for symbol in list(unit.symbols.by_name.values()):
        if symbol.deferred:
            try:
                symbol.expression, symbol.deferred = unit.current(symbol), False
            except SourceError as error:
                unit.reporter.error(error.message, symbol.defined_at)


def _statement(unit: Unit, statement: Statement) -> None:
    text = statement.text
    constant = _CONSTANT.match(text)
    if constant is not None:  # no macro can have the name of a directive: nothing else may be meant
        start, end = constant.span(1)
        unit.assign_number(constant[1], int(constant[2], 0), start, end)
        return
    scanner = Scanner(text)
    while ":" in text and (found := _LABEL.match(text, scanner.pos)) is not None:
        _label(unit, found)
        scanner.pos = found.end()
    if scanner.at_end():
        return
    assignment = _ASSIGNMENT.match(text, scanner.pos) if "=" in text else None
    if assignment is not None:
        _assignment(unit, scanner, assignment)
        return
    found = NAME.match(text, scanner.pos)
    if found is None and scanner.peek() == "{":
        assemble_instruction(unit, statement, scanner)
        return
    if found is None:
        raise scanner.error("expected a label, a directive or an instruction")
    start, scanner.pos = scanner.pos, found.end()
    word = found[0]
    lowered = word.lower()
    if lowered.startswith(".") and directives.find(lowered) is not None:
        _directive(unit, scanner, lowered)
    elif lowered in unit.macros:
        _use_macro(unit, statement, scanner, unit.macros[lowered])
    elif lowered.startswith("."):
        raise SourceError(directives.unknown(lowered), start, scanner.pos)
    else:
        scanner.pos = start
        assemble_instruction(unit, statement, scanner)


def _label(unit: Unit, found: re.Match[str]) -> None:
    group = 1 if found[1] else 2
    location = unit.statement.locate(found.start(group), found.end(group))
    if found[1] == ".":
        raise SourceError("`.` is the current address: no label", found.start(1), found.end(1))
    try:
        if found[1]:
            unit.define_label(unquote(found[1]), location)
        elif len(found[2]) > _MAX_NUMERIC_LABEL:
            raise SourceError("label number is too large")
        else:
            unit.symbols.define_numeric(int(found[2]), unit.section.region, location)
    except SourceError as error:
        raise SourceError(error.message, found.start(group), found.end(group)) from None


def _assignment(unit: Unit, scanner: Scanner, found: re.Match[str]) -> None:
    start, end = found.span(1)
    scanner.pos = found.end()
    node = parse(scanner, unit)
    scanner.expect_end()
    unit.assign(unquote(found[1]), node, start, end, deferred=found[2] == "==")


def _directive(unit: Unit, scanner: Scanner, word: str) -> None:
    statement = unit.statement
    handler = directives.find(word)
    assert handler is not None
    handler(unit, scanner)
    if statement is unit.statement:  # else the directive has read a body, and its own line to the end
        scanner.expect_end()


def _use_macro(unit: Unit, statement: Statement, scanner: Scanner, macro: Macro) -> None:
    values = bind(macro, scanner)
    expansion = Expansion(f"macro `{macro.name}`", statement.line.file, statement.line.number)
    trace = (*statement.line.expansions, expansion)
    body = expand(unit.reader, macro.body, values, unit.macro_count, trace)
    unit.macro_count += 1
    unit.reader.push(Frame("macro", body, len(unit.conditionals)))


def _word_end(text: str, word: str) -> int:
    return text.lower().index(word) + len(word)
