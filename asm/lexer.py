"""The scanner over one statement: names, numbers, strings and characters in GNU's spelling."""

from __future__ import annotations

import re

from paravane.asm.diagnostics import SourceError

# What a name is made of; GNU as takes every byte above 0x7F as a letter. `QUOTED` ones hold anything.
NAME_PATTERN = r"[A-Za-z_.$\x80-\U0010ffff][A-Za-z0-9_.$\x80-\U0010ffff]*"
QUOTED_PATTERN = r'"(?:[^"\\]|\\.)*"'
NAME = re.compile(NAME_PATTERN)
_QUOTED = re.compile(QUOTED_PATTERN)
_SPACE = re.compile(r"[ \t\f\v\r]*")
_DIGITS = re.compile(r"[0-9][A-Za-z0-9_.$]*")
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)\Z")
_LOCAL_LABEL = re.compile(r"(0[0-7]*|[1-9][0-9]*)([bf])\Z")
_ESCAPE = re.compile(r"\\(?:[xX]([0-9a-fA-F]*)|([0-9]{1,3})|(.))", re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPES = {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34}
_CHARACTER_ESCAPES = {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9}
_MAX_NUMBER_LENGTH = 150  # characters: more than any 128-bit number needs, in base two too


class Scanner:
    """A position in the text of one statement. Every error carries its columns."""

    __slots__ = ("pos", "text")

    def __init__(self, text: str, pos: int = 0) -> None:
        self.text = text
        self.pos = pos

    def skip_space(self) -> None:
        # Most calls find nothing to skip. Every blank sorts before the first character that is none, `!`.
        if self.text[self.pos : self.pos + 1] > " ":
            return
        found = _SPACE.match(self.text, self.pos)
        if found is not None:
            self.pos = found.end()

    def peek(self) -> str:
        """The next character after blanks, or the empty string at the end."""
        character = self.text[self.pos : self.pos + 1]
        if character > " ":
            return character
        self.skip_space()
        return self.text[self.pos : self.pos + 1]

    def at_end(self) -> bool:
        return self.peek() == ""

    def accept(self, wanted: str) -> bool:
        """Consumes `wanted` when it is next."""
        if not self.text.startswith(wanted, self.pos):
            self.skip_space()
            if not self.text.startswith(wanted, self.pos):
                return False
        self.pos += len(wanted)
        return True

    def expect(self, wanted: str) -> None:
        if not self.accept(wanted):
            raise self.error(f"expected `{wanted}`")

    def error(self, message: str, start: int | None = None, end: int | None = None) -> SourceError:
        """An error at [start, end); by default at the current position."""
        if start is None:
            self.skip_space()
            return SourceError(message, self.pos, self.pos + 1)
        return SourceError(message, start, self.pos if end is None else end)

    def expect_end(self) -> None:
        """Refuses anything after a complete statement."""
        if not self.at_end():
            raise self.error("unexpected text after the statement", self.pos, len(self.text.rstrip()))

    def rest(self) -> str:
        """Consumes everything left, without the blanks around it."""
        self.skip_space()
        text, self.pos = self.text[self.pos :].rstrip(), len(self.text)
        return text

    def name(self) -> str | None:
        """Consumes a symbol name, plain or in quotes, or returns None."""
        self.skip_space()
        found = NAME.match(self.text, self.pos) or _QUOTED.match(self.text, self.pos)
        if found is None:
            return None
        self.pos = found.end()
        return unquote(found[0])

    def expect_name(self, what: str = "a symbol name") -> str:
        name = self.name()
        if name is None:
            raise self.error(f"expected {what}")
        return name

    def number(self) -> int | tuple[int, str] | None:
        """Consumes a number, or a reference to a numeric label as (number, "b" or "f"), or returns None."""
        self.skip_space()
        found = _DIGITS.match(self.text, self.pos)
        if found is None:
            return None
        start, self.pos = self.pos, found.end()
        if len(found[0]) > _MAX_NUMBER_LENGTH:
            raise self.error("number is too long", start)
        number = _NUMBER.match(found[0])
        if number is not None:
            return number_value(number[0])
        label = _LOCAL_LABEL.match(found[0])
        if label is not None:
            return number_value(label[1]), label[2]
        raise self.error(f"bad number `{found[0]}`", start)

    def character(self) -> int:
        """Consumes a character constant: 'a, 'a' or '\\n'. Its value is the character's code.

        There are no numeric escapes here: GNU as takes '\\0 as the digit.
        """
        start = self.pos
        self.pos += 1
        if self.pos >= len(self.text):
            raise self.error("character constant without a character", start)
        if self.text[self.pos] == "\\" and self.pos + 1 < len(self.text):
            escaped = self.text[self.pos + 1]
            value = _CHARACTER_ESCAPES.get(escaped, ord(escaped))
            self.pos += 2
            if escaped.isdigit() and self.pos < len(self.text) and self.text[self.pos].isdigit():
                raise self.error("a character constant has no numeric escape: write the number", start)
        else:
            value = ord(self.text[self.pos])
            self.pos += 1
        if self.pos < len(self.text) and self.text[self.pos] == "'":
            self.pos += 1
        return value

    def string(self) -> bytes:
        """Consumes a string constant with C escapes; other characters become UTF-8."""
        self.skip_space()
        found = _STRING.match(self.text, self.pos)
        if found is None:
            quoted = self.text.startswith('"', self.pos)
            if quoted:
                raise self.error("string is never closed", self.pos, len(self.text.rstrip()))
            raise self.error("expected a string")
        self.pos = found.end()
        return unescape(found[1])

    def filename(self) -> str:
        """Consumes a quoted file name, in which a backslash is no escape but before a quote."""
        self.skip_space()
        found = _STRING.match(self.text, self.pos)
        if found is None:
            raise self.error("expected a file name in quotes")
        self.pos = found.end()
        return found[1].replace('\\"', '"')


def number_value(text: str) -> int:
    """A number as it is written: hexadecimal, binary, octal after a zero, else decimal."""
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    if text[:2] in ("0b", "0B"):
        return int(text, 2)
    return int(text, 8 if text.startswith("0") else 10)


def unescape(text: str) -> bytes:
    """The bytes of a string constant's inside."""
    out, pos = bytearray(), 0
    while (slash := text.find("\\", pos)) >= 0:
        out += text[pos:slash].encode()
        value, end = _escape_at(text, slash)
        out += bytes([value]) if value < 0x80 or text[slash + 1] in "xX0123456789" else chr(value).encode()
        pos = end
    return bytes(out + text[pos:].encode())


def _escape_at(text: str, slash: int) -> tuple[int, int]:
    """Value and end of the escape at `slash`; of a long hex escape the last two digits count."""
    found = _ESCAPE.match(text, slash)
    if found is None:
        return ord("\\"), slash + 1
    if found[1]:
        return int(found[1][-2:], 16), found.end()
    if found[2]:
        return _octal(found[2]) & 0xFF, found.end()
    return (_ESCAPES.get(found[3], ord(found[3])) if found[3] else 0), found.end()


def _octal(digits: str) -> int:
    """Digits to base eight, in which GNU as lets 8 and 9 stand for what they are."""
    value = 0
    for digit in digits:
        value = value * 8 + int(digit)
    return value


def unquote(name: str) -> str:
    """A symbol name as it is written, without the quotes it may have."""
    return re.sub(r'\\(["\\])', r"\1", name[1:-1]) if name.startswith('"') else name
