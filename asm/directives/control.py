"""Directives that choose what is read: conditions, macros, repeats, included files, messages."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import Expansion, LocatedError, SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.directives.files import find_file
from paravane.asm.macros import Macro, characters, parse_parameters, read_argument
from paravane.asm.reader import MAX_STATEMENTS, Frame, expand
from paravane.asm.scrubber import kept_blanks, scrubbed_rest, settled
from paravane.asm.source import read_text, statements

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paravane.asm.lexer import Scanner
    from paravane.asm.source import Statement
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}


def _condition(*names: str) -> Callable[[Callable[[Unit, Scanner], bool]], Callable[[Unit, Scanner], bool]]:
    """Enters an `.if` directive; its condition is not read inside code that is skipped anyway."""

    def enter(test: Callable[[Unit, Scanner], bool]) -> Callable[[Unit, Scanner], bool]:
        def handler(unit: Unit, scanner: Scanner) -> None:
            if unit.conditionals.skipping:
                scanner.rest()
                unit.conditionals.open(False, unit.statement.locate())
                return
            try:
                condition = test(unit, scanner)
            except SourceError:
                unit.conditionals.open(False, unit.statement.locate())
                raise
            unit.conditionals.open(condition, unit.statement.locate())

        TABLE.update({"." + name: handler for name in names})
        return test

    return enter


@_condition("if", "ifne")
def _if(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") != 0


@_condition("ifeq")
def _ifeq(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") == 0


@_condition("ifgt")
def _ifgt(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") > 0


@_condition("ifge")
def _ifge(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") >= 0


@_condition("iflt")
def _iflt(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") < 0


@_condition("ifle")
def _ifle(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") <= 0


@_condition("ifdef")
def _ifdef(unit: Unit, scanner: Scanner) -> bool:
    return unit.symbols.is_defined(scanner.expect_name())


@_condition("ifndef", "ifnotdef")
def _ifndef(unit: Unit, scanner: Scanner) -> bool:
    return not unit.symbols.is_defined(scanner.expect_name())


@_condition("ifb")
def _ifb(_unit: Unit, scanner: Scanner) -> bool:
    return scanner.rest() == ""


@_condition("ifnb")
def _ifnb(_unit: Unit, scanner: Scanner) -> bool:
    return scanner.rest() != ""


@_condition("ifc")
def _ifc(_unit: Unit, scanner: Scanner) -> bool:
    first, comma, second = scrubbed_rest(scanner, kept_blanks(scanner.text)).partition(",")
    if not comma:
        raise scanner.error("expected `,`")
    return first == second


@_condition("ifnc")
def _ifnc(unit: Unit, scanner: Scanner) -> bool:
    return not _ifc(unit, scanner)


@_condition("ifeqs")
def _ifeqs(_unit: Unit, scanner: Scanner) -> bool:
    first = scanner.string()
    scanner.expect(",")
    return first == scanner.string()


@_condition("ifnes")
def _ifnes(unit: Unit, scanner: Scanner) -> bool:
    return not _ifeqs(unit, scanner)


@directive(TABLE, "elseif")
def _elseif(unit: Unit, scanner: Scanner) -> None:
    if not unit.conditionals.wants_condition():
        scanner.rest()
        unit.conditionals.elseif(False)
        return
    unit.conditionals.elseif(unit.constant(scanner, "the condition") != 0)


@directive(TABLE, "else")
def _else(unit: Unit, _scanner: Scanner) -> None:
    unit.conditionals.otherwise()


@directive(TABLE, "endif")
def _endif(unit: Unit, _scanner: Scanner) -> None:
    unit.conditionals.close(unit.reader.frames[-1].conditions)


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
    return tuple(replace(statement, text=settled(statement.text)) for statement in body)


@directive(TABLE, "purgem")
def _purgem(unit: Unit, scanner: Scanner) -> None:
    name = scanner.expect_name("a macro name")
    if unit.macros.pop(name.lower(), None) is None:
        raise scanner.error(f"there is no macro `{name}`", scanner.pos - len(name))


@directive(TABLE, "exitm")
def _exitm(unit: Unit, _scanner: Scanner) -> None:
    """Leaves the innermost macro, with the repeats and conditions opened inside it."""
    frames = unit.reader.frames
    if not any(frame.kind == "macro" for frame in frames):
        raise SourceError("`.exitm` outside a macro")
    while True:
        frame = frames.pop()
        if len(unit.conditionals) > frame.conditions:
            unit.conditionals.truncate(frame.conditions)
        if frame.kind == "macro":
            return


@directive(TABLE, "endm", "endmacro", "endr")
def _stray_end(_unit: Unit, scanner: Scanner) -> None:
    word = scanner.text.split()[-1]
    opening = "`.macro`" if word.lower().startswith(".endm") else "`.rept`, `.irp` or `.irpc`"
    raise SourceError(f"`{word}` without {opening}")


@directive(TABLE, "rept")
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
    if count * len(body) > MAX_STATEMENTS:
        raise scanner.error(f"more than {MAX_STATEMENTS} statements in all", 0)
    trace = (*opening.line.expansions, _expansion(opening, "`.rept`"))
    lines = [statement for part in body for statement in _again(part, trace)]
    unit.reader.push(Frame("repeat", chain.from_iterable(repeat(lines, count)), len(unit.conditionals)))


def _again(part: Statement, trace: tuple[Expansion, ...]) -> list[Statement]:
    return list(statements(part.text, part.line.file, trace, part.line.number))


def _expansion(opening: Statement, what: str) -> Expansion:
    return Expansion(what, opening.line.file, opening.line.number)


@directive(TABLE, "irp")
def _irp(unit: Unit, scanner: Scanner) -> None:
    def values() -> list[str]:
        kept = kept_blanks(scanner.text)
        found = [] if not scanner.at_end() else [""]
        while not scanner.at_end():
            found.append(read_argument(scanner, kept))
            scanner.accept(",")
        return found

    _iterate(unit, scanner, ".irp", values)


@directive(TABLE, "irpc")
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
    expansion = _expansion(opening, f"`{word}`")
    parts = (
        expand(body, {name: value}, unit.macro_count, expansion, opening.line.expansions) for value in each
    )
    unit.reader.push(Frame("repeat", chain.from_iterable(parts), len(unit.conditionals)))


@directive(TABLE, "include")
def _include(unit: Unit, scanner: Scanner) -> None:
    path = find_file(unit, scanner)
    scanner.expect_end()
    line = unit.statement.line
    trace = (*line.expansions, Expansion("`.include`", line.file, line.number, included=True))
    shown = _shown(unit, path)
    try:
        text = read_text(path, shown)
    except LocatedError as error:
        if error.location is not None:
            raise
        raise SourceError(error.message) from None
    unit.reader.push(Frame("file", statements(text, shown, trace), len(unit.conditionals), path.parent))


def _shown(unit: Unit, path: Path) -> str:
    """The name of an included file; the assembler's own folder, whose place varies, is left out."""
    own = unit.session.own_include
    return path.relative_to(own).as_posix() if own and path.is_relative_to(own) else path.as_posix()


@directive(TABLE, "error")
def _error(_unit: Unit, scanner: Scanner) -> None:
    message = "`.error` in the source" if scanner.at_end() else scanner.string().decode("utf-8", "replace")
    raise SourceError(message)


@directive(TABLE, "err", "fail")
def _err(_unit: Unit, scanner: Scanner) -> None:
    raise SourceError(f"`.err` in the source {scanner.rest()}".rstrip())


@directive(TABLE, "warning", "print")
def _warning(unit: Unit, scanner: Scanner) -> None:
    message = "`.warning` in the source" if scanner.at_end() else scanner.string().decode("utf-8", "replace")
    unit.warn(message)


@directive(TABLE, "end")
def _end(unit: Unit, _scanner: Scanner) -> None:
    """Nothing after `.end` is read."""
    unit.conditionals.truncate(0) if len(unit.conditionals) else None
    unit.reader.frames.clear()


@directive(TABLE, "altmacro")
def _altmacro(_unit: Unit, _scanner: Scanner) -> None:
    raise SourceError("`.altmacro` is not supported; write `\\@` for unique labels")
