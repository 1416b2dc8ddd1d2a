"""Source files as statements: comments blanked, lines split at `;`, every column kept for the carets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from paravane.asm.diagnostics import Expansion, LocatedError, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_FILE_SIZE = 16 << 20  # bytes
COMMENT_BLANK = "\v"  # what a `/* */` leaves in its place: a blank that no macro argument keeps
_PREPROCESSOR = re.compile(
    r"#(?:include\s*[<\"]|define\s+\w|undef\s+\w|ifdef\s+\w|ifndef\s+\w|if\s|elif\s|else\b|endif\b|pragma\s|error\s)"
)
_INSTEAD = {
    "include": '`.include "file"`',
    "define": "`.equ NAME, value` or `.macro`",
    "undef": "`.equ` with a new value or `.purgem`",
    "ifdef": "`.ifdef`",
    "ifndef": "`.ifndef`",
    "error": "`.error`",
}
# Without any of these a line is one statement as it stands.
_SPECIAL = re.compile(r"""["';#/\0]""")
# What may hold a separator or a comment sign without being one, and what ends the code of a line.
_TOKEN = re.compile(r"""["']|[#;]|/[*/]""")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*(?:"|\\?$)')
_CHARACTER = re.compile(r"'(?:\\.|[^\\])'?")


class SourceLine(NamedTuple):
    """One line of a file or of an expansion: a tuple, as a Statement, for there are thousands."""

    file: str
    number: int
    text: str
    expansions: tuple[Expansion, ...] = ()


class Statement(NamedTuple):
    """One statement of a line, starting at 0-based `column`; comments are already blanks."""

    text: str
    line: SourceLine
    column: int

    def locate(self, start: int = 0, end: int | None = None) -> Location:
        """The Location of columns [start, end) of this statement; without `end`, of all after `start`."""
        file, number, text, expansions = self.line
        if end is None:
            end = len(self.text.rstrip())
            while start < end and self.text[start].isspace():
                start += 1
        length = end - start if end > start else 1
        return Location(file, number, self.column + start + 1, length, text, expansions)


def read_text(path: Path, shown: str, note: Callable[[Path, bytes], None]) -> str:
    """The text of a source file, whose bytes `note` is told. Raises LocatedError, at the offending line where
    there is one.
    """
    try:
        if not path.is_file():
            raise LocatedError(f"cannot read `{shown}`: not a file", None)
        if path.stat().st_size > MAX_FILE_SIZE:
            raise LocatedError(f"cannot read `{shown}`: more than {MAX_FILE_SIZE >> 20} MiB", None)
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LocatedError(f"cannot read `{shown}`: {reason}", None) from None
    note(path, raw)
    return decode(raw, shown)


def decode(raw: bytes, shown: str) -> str:
    """UTF-8 bytes as text. Raises LocatedError at the first byte that is not text."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LocatedError("not valid UTF-8 text", _byte_location(raw, error.start, shown)) from None
    return text


def _byte_location(raw: bytes, offset: int, shown: str) -> Location:
    start = raw.rfind(b"\n", 0, offset) + 1
    text = raw[start:].split(b"\n", 1)[0].decode("latin-1")
    return Location(shown, raw.count(b"\n", 0, offset) + 1, offset - start + 1, 1, text)


def statements(
    text: str, file: str, expansions: tuple[Expansion, ...] = (), first_line: int = 1
) -> Iterator[Statement]:
    """Splits a text into its statements. Raises LocatedError for what no statement can be read from."""
    opened: Location | None = None  # the `/*` of a comment still open
    number = first_line - 1
    for number, raw in enumerate(text.replace("\r\n", "\n").split("\n"), first_line):  # noqa: B007 (used after)
        line = SourceLine(file, number, raw, expansions)
        if opened is None and (not raw or raw.isspace()):
            continue
        if opened is None and _SPECIAL.search(raw) is None:
            yield Statement(raw, line, 0)
            continue
        _reject(line, opened is not None)
        code, opened = _blank_comments(line, opened)
        yield from _split(code, line)
    if opened is not None:
        raise LocatedError("comment is never closed with `*/`", opened)


def _reject(line: SourceLine, in_comment: bool) -> None:
    """Refuses NUL bytes, and the C preprocessor with a word about what to write instead."""
    nul = line.text.find("\0")
    if nul >= 0:
        where = Location(line.file, line.number, nul + 1, 1, line.text, line.expansions)
        raise LocatedError("NUL byte in the source", where)
    found = None if in_comment else _PREPROCESSOR.match(line.text.lstrip())
    if found is None:
        return
    word = re.sub(r"\W", " ", found[0]).split()[0]
    column = len(line.text) - len(line.text.lstrip())
    where = Location(line.file, line.number, column + 1, len(word) + 1, line.text, line.expansions)
    instead = _INSTEAD.get(word, "`.if`, `.else`, `.endif`")
    raise LocatedError(f"`#{word}`: there is no C preprocessor here; write {instead}", where)


def _blank_comments(line: SourceLine, opened: Location | None) -> tuple[str, Location | None]:
    """The line with comments as blanks, and the comment left open at its end."""
    text, out, pos = line.text, list[str](), 0
    if opened is None and text.lstrip().startswith("/") and not text.lstrip().startswith("/*"):
        return "", None
    while True:
        if opened is not None:
            end = text.find("*/", pos)
            if end < 0:
                return "".join(out), opened
            out.append(COMMENT_BLANK * (end + 2 - pos))
            pos, opened = end + 2, None
        found = _next_mark(text, pos, "#/")
        if found < 0:
            return "".join(out) + text[pos:], None
        out.append(text[pos:found])
        if not text.startswith("/*", found):
            return "".join(out), None
        opened = Location(line.file, line.number, found + 1, 2, text, line.expansions)
        out.append(COMMENT_BLANK * 2)
        pos = found + 2


def _next_mark(text: str, pos: int, marks: str) -> int:
    """The next of `marks` outside strings and character constants, or -1. `/` stands for `/*` and `//`."""
    while (found := _TOKEN.search(text, pos)) is not None:
        mark = found[0][0]
        if mark in marks:
            return found.start()
        if mark == '"':
            skipped = _STRING.match(text, found.start())
        elif mark == "'":
            skipped = _CHARACTER.match(text, found.start())
        else:
            skipped = found
        pos = skipped.end() if skipped is not None else found.end()
    return -1


def _split(code: str, line: SourceLine) -> Iterator[Statement]:
    """The statements of one line without comments."""
    pos = 0
    while pos <= len(code):
        end = _next_mark(code, pos, ";")
        piece = code[pos:] if end < 0 else code[pos:end]
        if piece and not piece.isspace():
            yield Statement(piece, line, pos)
        if end < 0:
            return
        pos = end + 1
