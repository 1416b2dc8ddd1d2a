"""What the assembler says about a source: located messages with the line, a caret and the expansions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_ERRORS = 20
MAX_WARNINGS = 100
_MAX_SHOWN = 160  # columns of a source line worth printing


@dataclass(frozen=True, slots=True)
class Expansion:
    """One level of macro, repeat or include between a line and the file a user named."""

    what: str
    file: str
    line: int
    included: bool = False


class Location(NamedTuple):
    """Where in which line: `column` is 1-based, `length` is at least 1.

    A tuple, for every symbol has one and most are never asked for.
    """

    file: str
    line: int
    column: int
    length: int
    text: str
    expansions: tuple[Expansion, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """An "error", a "warning" or a "note"; `location` is None when no line is to blame."""

    severity: str
    message: str
    location: Location | None = None

    def __str__(self) -> str:
        where = self.location
        if where is None:
            return f"{self.severity}: {self.message}"
        lines = [f"{where.file}:{where.line}:{where.column}: {self.severity}: {self.message}"]
        lines += _excerpt(where)
        for expansion in reversed(where.expansions):
            how = "included" if expansion.included else f"expanded from {expansion.what}"
            lines.append(f"  {how} at {expansion.file}:{expansion.line}")
        return "\n".join(lines)


def _excerpt(where: Location) -> list[str]:
    """The source line and a caret below it; a long line is cut around the caret."""
    text, column = where.text.replace("\t", " "), where.column - 1
    if not text.strip():
        return []
    start = max(0, column - _MAX_SHOWN // 2) if len(text) > _MAX_SHOWN else 0
    shown = "".join(c if c.isprintable() else "?" for c in text[start : start + _MAX_SHOWN]).rstrip()
    underline = max(1, min(where.length, len(shown) - (column - start)))
    return ["    " + shown, "    " + " " * (column - start) + "^" + "~" * (underline - 1)]


class AssemblyError(Exception):
    """A source that cannot become a program; `diagnostics` holds every message, errors and warnings."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        super().__init__(diagnostics)
        self.diagnostics = diagnostics

    def __str__(self) -> str:
        return "\n".join(str(diagnostic) for diagnostic in self.diagnostics)


class SourceError(Exception):
    """What is wrong at columns [start, end) of the statement being read, whose holder locates it."""

    def __init__(self, message: str, start: int = 0, end: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end


class LocatedError(Exception):
    """An error whose place is already known."""

    def __init__(self, message: str, location: Location | None) -> None:
        super().__init__(message)
        self.message = message
        self.location = location


class TooManyErrors(Exception):
    """Raised by `Reporter` when more messages would help nobody."""


@dataclass(slots=True)
class Reporter:
    """Collects the diagnostics of one assembly and ends it at `MAX_ERRORS` errors."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    errors: int = 0
    warnings: int = 0

    def error(self, message: str, location: Location | None) -> None:
        diagnostic = Diagnostic("error", message, location)
        if diagnostic in self.diagnostics:
            return
        self.diagnostics.append(diagnostic)
        self.errors += 1
        if self.errors >= MAX_ERRORS:
            self.diagnostics.append(Diagnostic("error", f"stopped after {MAX_ERRORS} errors"))
            raise TooManyErrors

    def warning(self, message: str, location: Location | None) -> None:
        self.warnings += 1
        if self.warnings <= MAX_WARNINGS:
            self.diagnostics.append(Diagnostic("warning", message, location))

    def note(self, message: str, location: Location | None) -> None:
        """What the source itself wants to be said. Counted with the warnings."""
        self.warnings += 1
        if self.warnings <= MAX_WARNINGS:
            self.diagnostics.append(Diagnostic("note", message, location))

    def raise_errors(self) -> None:
        """Raises AssemblyError when any error was reported."""
        if self.errors:
            raise AssemblyError(self.diagnostics)
