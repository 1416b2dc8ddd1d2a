"""The input of a unit: a stack of files, macro bodies and repeats that yields one statement after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import LocatedError, SourceError
from paravane.asm.lexer import NAME, Scanner
from paravane.asm.macros import substitute
from paravane.asm.source import Statement, statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from paravane.asm.diagnostics import Expansion

MAX_STATEMENTS = 200_000  # statements an assembly may read, expansions included
MAX_EXPANSION = 8 << 20  # characters that macros and repeats may write
MAX_DEPTH = 100  # macros, repeats and includes inside each other

_REPEATS = (".rept", ".rep", ".irp", ".irep", ".irpc", ".irepc")
_OPENERS = {".macro": ".endm"} | dict.fromkeys(_REPEATS, ".endr")
_CLOSERS = {".endm": ".endm", ".endmacro": ".endm", ".endr": ".endr"}


@dataclass(slots=True)
class Frame:
    """One input being read: a "file", "macro" or "repeat"; `conditions` counts the `.if` open before it."""

    kind: str
    statements: Iterator[Statement]
    conditions: int
    folder: Path | None = None


@dataclass(slots=True)
class Count:
    """How many statements have been read and characters written; shared by the units of an assembly."""

    statements: int = 0
    characters: int = 0


class TooManyStatements(Exception):
    """An expansion that goes on and on: the unit is read no further."""


class Reader:
    """Yields statements from the innermost input. Errors of the input itself are LocatedError."""

    def __init__(self, count: Count) -> None:
        self.frames: list[Frame] = []
        self._count = count

    def push(self, frame: Frame) -> None:
        if len(self.frames) >= MAX_DEPTH:
            raise SourceError(f"macros, repeats and includes are nested more than {MAX_DEPTH} deep")
        self.frames.append(frame)

    @property
    def folder(self) -> Path | None:
        """The folder of the file being read; None for a text that is no file."""
        for frame in reversed(self.frames):
            if frame.kind == "file":
                return frame.folder
        return None

    def next(self) -> Statement | None:
        """The next statement, or None at the end of the innermost input, which stays on the stack."""
        if not self.frames:
            return None
        self._count.statements += 1
        if self._count.statements > MAX_STATEMENTS:
            raise TooManyStatements(f"more than {MAX_STATEMENTS} statements after expansion")
        return next(self.frames[-1].statements, None)

    def written(self, text: str) -> str:
        """Counts the text of an expansion."""
        self._count.characters += len(text)
        if self._count.characters > MAX_EXPANSION:
            raise TooManyStatements(f"macros and repeats write more than {MAX_EXPANSION >> 20} MiB of text")
        return text

    def body(self, opening: Statement, word: str) -> list[Statement]:
        """Collects the statements up to the directive that closes `word`, nested bodies included."""
        stack = [_OPENERS[word]]
        collected: list[Statement] = []
        while True:
            statement = self.next()
            if statement is None:
                raise LocatedError(f"`{word}` is never closed with `{stack[0]}`", opening.locate())
            directive = directive_of(statement.text)
            if directive in _OPENERS:
                stack.append(_OPENERS[directive])
            elif directive in _CLOSERS and _CLOSERS[directive] == stack[-1]:
                stack.pop()
                if not stack:
                    return collected
            collected.append(statement)


def directive_of(text: str) -> str:
    """The directive of a statement in lower case, after any labels; empty when it is none."""
    pos = 0
    while True:
        scanner = Scanner(text, pos)
        scanner.skip_space()
        found = NAME.match(text, scanner.pos)
        if found is None:
            digits = scanner.pos
            while digits < len(text) and text[digits].isdigit():
                digits += 1
            if digits == scanner.pos or text[digits : digits + 1] != ":":
                return ""
            pos = digits + 1
            continue
        if text[found.end() :].lstrip()[:1] == ":":
            pos = text.index(":", found.end()) + 1
            continue
        word = found[0].lower()
        return word if word.startswith(".") else ""


def expand(
    reader: Reader,
    body: Iterable[Statement],
    values: Mapping[str, str],
    counter: int,
    trace: tuple[Expansion, ...],
) -> Iterator[Statement]:
    """The statements of a body with its parameters replaced; lazily, so nothing is built that is not read."""
    for statement in body:
        line = statement.line
        text = reader.written(substitute(statement.text, values, counter))
        yield from statements(text, line.file, trace, line.number)
