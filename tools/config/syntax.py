"""The syntax of xl.cfg(5): strings, numbers and lists with names. It looks like Python and is never executed.

    name = "guest"          # a comment
    memory = 0x40; vcpus = 2
    disk = [ 'phy:/dev/sda,xvda,w',
             [ "nested", "list" ], ]
    disk += [ "another" ]

A statement ends with its line or with `;`; within a list, lines may be broken anywhere. Names are of
lower-case letters, digits, `.` and `_`. `+=` appends a string to a string and a list to a list.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple, dataclass
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST: Final = 16
"""Lists within lists."""

_TOKENS: Final = re.compile(
    r"""(?P<name>[a-z][._0-9a-z]*)
      | (?P<number>[0-9][0-9a-fx]*)
      | (?P<string>'(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*")
      | (?P<mark>\+=|[=;,\[\]])
      | (?P<newline>(?:\#[^\n]*)?(?:\r?\n))
      | (?P<blank>[ \t]+|\#[^\n]*\Z)""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {
    letter: letter for letter in "\"'\\"
}


class ConfigError(Exception):
    """A file is no configuration; the message is one line, with the place."""


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


@dataclass(slots=True)
class Setting:
    """What a name was set to, and the line that did it last. A number is its text, as xl takes it."""

    value: str | list[object]
    line: int
    added: bool = False


def parse(text: str, source: str) -> dict[str, Setting]:
    """The settings of a file, in the order of their names' first assignments. `source` is its name, for
    ConfigError."""
    return _Parser(text, source).settings()


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._tokens = self._split(text)
        self._next = next(self._tokens)

    def settings(self) -> dict[str, Setting]:
        found: dict[str, Setting] = {}
        while self._next.kind != "end":
            if self._next.kind == "newline" or self._next.text == ";":
                self._take()
                continue
            self._assignment(found)
        return found

    def _assignment(self, found: dict[str, Setting]) -> None:
        name = self._take()
        if name.kind != "name":
            raise self._error(name, "a name of lower-case letters is expected")
        sign = self._take()
        if sign.text not in ("=", "+="):
            raise self._error(sign, f"`=` or `+=` is expected after {name.text}")
        value = self._value(0)
        if self._next.kind not in ("newline", "end") and self._next.text != ";":
            raise self._error(self._next, f"a new line or `;` is expected after the value of {name.text}")
        before = found.get(name.text)
        if sign.text == "=" or before is None:
            found[name.text] = Setting(value, name.line, added=sign.text == "+=")
        elif isinstance(before.value, str) and isinstance(value, str):
            found[name.text] = Setting(before.value + value, name.line, added=True)
        elif isinstance(before.value, list) and isinstance(value, list):
            found[name.text] = Setting([*before.value, *value], name.line, added=True)
        else:
            raise self._error(name, f"{name.text} += adds a list to a text, or a text to a list")

    def _value(self, depth: int) -> str | list[object]:
        token = self._take()
        if token.kind == "number":
            return token.text
        if token.kind == "string":
            return self._text(token)
        if token.text == "[":
            if depth == DEEPEST:
                raise self._error(token, f"lists are {DEEPEST} deep at most")
            return self._list(depth + 1)
        raise self._error(token, "a string in quotes, a number or a list is expected")

    def _list(self, depth: int) -> list[object]:
        found: list[object] = []
        while self._past_newlines().text != "]":
            found.append(self._value(depth))
            if self._past_newlines().text == ",":
                self._take()
            elif self._next.text != "]":
                raise self._error(self._next, "`,` or `]` is expected in a list")
        self._take()
        return found

    def _past_newlines(self) -> _Token:
        while self._next.kind == "newline":
            self._take()
        return self._next

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token

    def _text(self, token: _Token) -> str:
        """A string without its quotes. (xl takes digits after a backslash as decimal;
        here they are octal.)"""

        def meant(found: re.Match[str]) -> str:
            digits, octal, letter = found.groups()
            if digits:
                return chr(int(digits, 16))
            if octal:
                return chr(int(octal, 8) & 0xFF)
            if letter not in _LETTERS:
                raise self._error(token, f"there is no escape \\{letter} in strings")
            return _LETTERS[letter]

        text = _ESCAPE.sub(meant, token.text[1:-1])
        if "\0" in text:
            # xl's strings end there. No file's name has one, and no guest would see what follows.
            raise self._error(token, "a string has no zero byte")
        return text

    def _split(self, text: str) -> Iterator[_Token]:
        at, line = 0, 1
        while at < len(text):
            found = _TOKENS.match(text, at)
            if found is None:
                stray = _Token("stray", text[at : at + 1], line)
                quoted = stray.text in "'\""
                sentence = "this string does not end in its line" if quoted else "this means nothing here"
                raise self._error(stray, sentence)
            kind = found.lastgroup or ""
            if kind != "blank":
                yield _Token(kind, found[0], line)
            line += kind == "newline"
            at = found.end()
        yield _Token("end", "", line)

    def _error(self, token: _Token, sentence: str) -> ConfigError:
        near = {"end": "the end of the file", "newline": "the end of the line"}.get(
            token.kind, f"`{shown(token.text[:40])}`"
        )
        return ConfigError(f"{self._source}:{token.line}: at {near}: {sentence}")
