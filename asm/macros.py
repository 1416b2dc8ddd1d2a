"""Macros: parameters, arguments and the substitution of text, by GNU as's rules."""

from __future__ import annotations

import re
from collections import ChainMap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.lexer import NAME, NAME_PATTERN, Scanner
from paravane.asm.scrubber import BLANKS, kept_blanks, scrubbed_rest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paravane.asm.source import Statement

MAX_ARGUMENT = 1 << 16  # characters one expanded statement may have
_PARAMETER = re.compile(rf"\\(?:(@)|(\(\))|({NAME_PATTERN}))")
_EQUALS = re.compile(r"[ \t\f\v\r]*=(?!=)")
_PLAIN = re.compile(r"""[^ \t\f\v\r"',()\[\]]+""")  # what `read_argument` has no decision to make about
_CLOSED_BY = {"(": ")", "[": "]"}


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    default: str = ""
    required: bool = False
    rest: bool = False  # :vararg


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro as defined: its body is statements, substituted and split again at each use."""

    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    by_name: dict[str, Parameter] = field(init=False)
    defaults: dict[str, str] = field(init=False)
    required: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        # A use costs what its arguments cost, however many parameters there are.
        object.__setattr__(self, "by_name", {parameter.name: parameter for parameter in self.parameters})
        object.__setattr__(self, "defaults", {p.name: p.default for p in self.parameters})
        object.__setattr__(self, "required", tuple(p.name for p in self.parameters if p.required))


def parse_parameters(scanner: Scanner) -> tuple[Parameter, ...]:
    """Reads `a, b=1, c:req, d:vararg` to the end of the statement. Raises SourceError."""
    kept = kept_blanks(scanner.text)
    parameters: dict[str, Parameter] = {}
    last: Parameter | None = None
    in_parentheses = scanner.accept("(")
    while not scanner.at_end() and not (in_parentheses and scanner.accept(")")):
        start = scanner.pos
        if last is not None and last.rest:
            raise scanner.error("nothing may follow a `:vararg` parameter")
        last = _parameter(scanner, kept)
        if last.name in parameters:
            raise scanner.error(f"two parameters are named `{last.name}`", start)
        parameters[last.name] = last
        scanner.accept(",")
    return tuple(parameters.values())


def _parameter(scanner: Scanner, kept: frozenset[int]) -> Parameter:
    name = scanner.expect_name("a parameter name")
    required = rest = False
    if scanner.accept(":"):
        qualifier = scanner.expect_name("`req` or `vararg`").lower()
        if qualifier not in ("req", "vararg"):
            raise scanner.error("a parameter is `:req` or `:vararg`", scanner.pos - len(qualifier))
        required, rest = qualifier == "req", qualifier == "vararg"
    default = ""
    if scanner.accept("="):
        default = read_argument(scanner, kept)
    return Parameter(name, default, required, rest)


def bind(macro: Macro, scanner: Scanner) -> Mapping[str, str]:
    """Reads the arguments of a use. Raises SourceError at what fits no parameter."""
    values: dict[str, str] = {}
    kept = kept_blanks(scanner.text)
    position = 0
    while not scanner.at_end():
        start = scanner.pos
        keyword = _keyword(scanner, macro.by_name)
        if keyword is not None:
            parameter = macro.by_name[keyword]
        elif position < len(macro.parameters):
            parameter = macro.parameters[position]
            position += 1
        else:
            hint = "; quote an argument that has a comma" if "(" in scanner.text[:start] else ""
            message = f"too many arguments for macro `{macro.name}`{hint}"
            raise scanner.error(message, start, len(scanner.text.rstrip()))
        value = scrubbed_rest(scanner, kept) if parameter.rest else read_argument(scanner, kept)
        if keyword is not None and keyword in values:
            raise scanner.error(f"two values for `{keyword}`", start)
        values[parameter.name] = value
        scanner.accept(",")
    for name in macro.required:
        if not values.get(name):
            raise SourceError(f"macro `{macro.name}` needs a value for `{name}`")
    return ChainMap({name: value for name, value in values.items() if value}, macro.defaults)


def _keyword(scanner: Scanner, parameters: dict[str, Parameter]) -> str | None:
    """Consumes `name=` when it names a parameter."""
    scanner.skip_space()
    found = NAME.match(scanner.text, scanner.pos)
    if found is None or found[0] not in parameters:
        return None
    sign = _EQUALS.match(scanner.text, found.end())
    if sign is None:
        return None
    scanner.pos = sign.end()
    return found[0]


def read_argument(scanner: Scanner, kept: frozenset[int]) -> str:
    """Reads one argument: a string, or all up to a comma, or up to a blank in `kept` outside brackets.

    Quotes around a string go, character constants become numbers: both as GNU as does it.
    """
    scanner.skip_space()
    text, out, brackets = scanner.text, list[str](), list[str]()
    if text.startswith('"', scanner.pos):
        return _quoted(scanner, keep=False)
    while scanner.pos < len(text):
        plain = _PLAIN.match(text, scanner.pos)
        if plain is not None:
            out.append(plain[0])
            scanner.pos = plain.end()
            continue
        character = text[scanner.pos]
        if character == '"':
            out.append(_quoted(scanner, keep=True))
            continue
        if character == "'" and scanner.pos + 1 < len(text):
            out.append(str(scanner.character()))
            continue
        if character == ",":
            break
        if character in BLANKS:
            if scanner.pos in kept:
                if not brackets:
                    break
                out.append(" ")
            scanner.skip_space()
            continue
        if character in _CLOSED_BY:
            brackets.append(_CLOSED_BY[character])
        elif brackets and character == brackets[-1]:
            brackets.pop()
        out.append(character)
        scanner.pos += 1
    return "".join(out)


def characters(scanner: Scanner) -> list[str]:
    """Reads the values of `.irpc`: every character left, blanks only inside the string it may begin with.

    With no text at all there is one empty value.
    """
    text = scrubbed_rest(scanner, kept_blanks(scanner.text))
    in_string = text.startswith('"')
    values = list[str]()
    for position, character in enumerate(text[in_string:], int(in_string)):
        if character == '"':
            in_string = False
            if not text[position + 1 :].strip(" "):
                return values
        if in_string or character != " ":
            values.append(character)
    return values or [""]


def _quoted(scanner: Scanner, keep: bool) -> str:
    """A quoted part of an argument, without its quotes unless `keep`; `""` inside is one quote."""
    text, start = scanner.text, scanner.pos
    pos, out = start + 1, list[str]()
    while pos < len(text):
        character = text[pos]
        if character == "\\" and pos + 1 < len(text):
            out.append(text[pos : pos + 2])
            pos += 2
            continue
        if character == '"':
            if text[pos + 1 : pos + 2] != '"':
                scanner.pos = pos + 1
                return text[start : pos + 1] if keep else "".join(out)
            pos += 1
        out.append(character)
        pos += 1
    raise SourceError("string is never closed", start, len(text.rstrip()))


def substitute(text: str, values: Mapping[str, str], counter: int) -> str:
    """The text with `\\name`, `\\@` and `\\()` replaced. Raises SourceError when it grows too long."""
    if "\\" not in text:
        return text

    def replacement(found: re.Match[str]) -> str:
        if found[1]:
            return str(counter)
        if found[2]:
            return ""
        return values.get(found[3], found[0])

    result = _PARAMETER.sub(replacement, text)
    if len(result) > MAX_ARGUMENT:
        raise SourceError(f"expanded statement is longer than {MAX_ARGUMENT} characters")
    return result
