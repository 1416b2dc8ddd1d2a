"""Directives that bring in files, end the input, or say something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.diagnostics import Expansion, LocatedError, SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.directives.files import find_file, shown_name
from paravane.asm.model import MAX_OUTPUT
from paravane.asm.reader import Frame
from paravane.asm.source import read_text, statements

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}
_FIRST_WARNING = 500  # `.fail` with less is an error


@directive(TABLE, "include")
def _include(unit: Unit, scanner: Scanner) -> None:
    path = find_file(unit, scanner)
    scanner.expect_end()
    line = unit.statement.line
    trace = (*line.expansions, Expansion("`.include`", line.file, line.number, included=True))
    shown = shown_name(path)
    try:
        text = read_text(path, shown, unit.session.note_read)
    except LocatedError as error:
        if error.location is not None:
            raise
        raise SourceError(error.message) from None
    unit.reader.push(Frame("file", statements(text, shown, trace), len(unit.conditionals), path.parent))


@directive(TABLE, "incbin")
def _incbin(unit: Unit, scanner: Scanner) -> None:
    """`.incbin "file"[, skip[, count]]`."""
    scanner.skip_space()
    start = scanner.pos
    path = find_file(unit, scanner)
    end = scanner.pos
    skip = count = None
    if scanner.accept(","):
        skip = unit.constant(scanner, "the offset") if scanner.peek() != "," else 0
        count = unit.constant(scanner, "the count") if scanner.accept(",") else None
    if (skip or 0) < 0 or (count or 0) < 0:
        raise scanner.error("offset and count must not be negative", end)
    try:
        if path.stat().st_size > MAX_OUTPUT:
            raise scanner.error(f"file is larger than {MAX_OUTPUT >> 20} MiB", start, end)
        content = path.read_bytes()
    except OSError as error:
        raise LocatedError(
            f"cannot read the file: {error.strerror}", unit.statement.locate(start, end)
        ) from None
    unit.session.note_read(path, content)
    first = skip or 0
    unit.section.emit(content[first:] if count is None else content[first : first + count])


@directive(TABLE, "end")
def _end(unit: Unit, scanner: Scanner) -> None:
    """Nothing after `.end` is read."""
    scanner.rest()
    if len(unit.conditionals):
        unit.conditionals.truncate(0)
    unit.reader.frames.clear()


@directive(TABLE, "abort")
def _abort(unit: Unit, scanner: Scanner) -> None:
    scanner.rest()
    unit.reader.frames.clear()
    raise SourceError("`.abort` in the source")


@directive(TABLE, "error")
def _error(_unit: Unit, scanner: Scanner) -> None:
    raise SourceError(_message(scanner, "`.error` in the source"))


@directive(TABLE, "err")
def _err(_unit: Unit, scanner: Scanner) -> None:
    raise SourceError(f"`.err` in the source {scanner.rest()}".rstrip())


@directive(TABLE, "fail")
def _fail(unit: Unit, scanner: Scanner) -> None:
    """`.fail number`: a warning from 500 on, else an error."""
    number = unit.constant(scanner, "the number")
    if number < _FIRST_WARNING:
        raise SourceError(f"`.fail {number}` in the source")
    unit.warn(f"`.fail {number}` in the source")


@directive(TABLE, "warning")
def _warning(unit: Unit, scanner: Scanner) -> None:
    unit.warn(_message(scanner, "`.warning` in the source"))


@directive(TABLE, "print")
def _print(unit: Unit, scanner: Scanner) -> None:
    """A text for whoever builds; it is no reason for concern."""
    unit.reporter.note(scanner.string().decode("utf-8", "replace"), unit.statement.locate())


def _message(scanner: Scanner, default: str) -> str:
    return default if scanner.at_end() else scanner.string().decode("utf-8", "replace")
