"""Macros: parameters, arguments and the substitution of text, by GNU as's rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asm.diagnostics import SourceError
from asm.lexer import NAME, Scanner

if TYPE_CHECKING:
    from asm.source import Statement

MAX_ARGUMENT = 1 << 16  # characters one expanded statement may have
_PARAMETER = re.compile(r"\\(?:(@)|(\(\))|([A-Za-z_.$][A-Za-z0-9_.$]*))")
_EQUALS = re.compile(r"[ \t]*=(?!=)")
# After these characters, and before them, a blank separates two arguments; elsewhere it is only a blank.
_WORD = re.compile(r"[A-Za-z0-9_.$%*({\[\"\\'-]")


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


def parse_parameters(scanner: Scanner) -> tuple[Parameter, ...]:
    """Reads `a, b=1, c:req, d:vararg` to the end of the statement. Raises SourceError."""
    parameters: list[Parameter] = []
    in_parentheses = scanner.accept("(")
    while not scanner.at_end() and not (in_parentheses and scanner.accept(")")):
        start = scanner.pos
        if parameters and parameters[-1].rest:
            raise scanner.error("nothing may follow a `:vararg` parameter")
        parameter = _parameter(scanner)
        if any(parameter.name == other.name for other in parameters):
            raise scanner.error(f"two parameters are named `{parameter.name}`", start)
        parameters.append(parameter)
        scanner.accept(",")
    return tuple(parameters)


def _parameter(scanner: Scanner) -> Parameter:
    name = scanner.expect_name("a parameter name")
    required = rest = False
    if scanner.accept(":"):
        qualifier = scanner.expect_name("`req` or `vararg`").lower()
        if qualifier not in ("req", "vararg"):
            raise scanner.error("a parameter is `:req` or `:vararg`", scanner.pos - len(qualifier))
        required, rest = qualifier == "req", qualifier == "vararg"
    default = ""
    if scanner.accept("="):
        default = scanner.rest() if rest else read_argument(scanner)
    return Parameter(name, default, required, rest)


def bind(macro: Macro, scanner: Scanner) -> dict[str, str]:
    """Reads the arguments of a use. Raises SourceError at what fits no parameter."""
    values: dict[str, str] = {}
    by_name = {parameter.name: parameter for parameter in macro.parameters}
    position = 0
    while not scanner.at_end():
        start = scanner.pos
        keyword = _keyword(scanner, by_name)
        if keyword is not None:
            parameter = by_name[keyword]
        elif position < len(macro.parameters):
            parameter = macro.parameters[position]
            position += 1
        else:
            hint = "; quote an argument that has a comma" if "(" in scanner.text[:start] else ""
            message = f"too many arguments for macro `{macro.name}`{hint}"
            raise scanner.error(message, start, len(scanner.text.rstrip()))
        value = scanner.rest() if parameter.rest else read_argument(scanner)
        if keyword is not None and keyword in values:
            raise scanner.error(f"two values for `{keyword}`", start)
        values[parameter.name] = value
        scanner.accept(",")
    return {parameter.name: _value(macro, parameter, values) for parameter in macro.parameters}


def _value(macro: Macro, parameter: Parameter, values: dict[str, str]) -> str:
    value = values.get(parameter.name, "")
    if value == "" and parameter.required:
        raise SourceError(f"macro `{macro.name}` needs a value for `{parameter.name}`")
    return value or parameter.default


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


def read_argument(scanner: Scanner) -> str:
    """Reads one argument: up to a comma, or a blank that separates two words outside parentheses.

    Quotes around a string go, character constants become numbers: both as GNU as does it.
    """
    scanner.skip_space()
    text, out, depth = scanner.text, list[str](), 0
    while scanner.pos < len(text):
        character = text[scanner.pos]
        if character == '"':
            out.append(_quoted(scanner, keep=bool(out) or depth > 0))
            continue
        if character == "'" and scanner.pos + 1 < len(text):
            out.append(str(scanner.character()))
            continue
        if character == ",":
            break
        if character in " \t":
            if depth == 0 and _separates(text, scanner):
                break
            scanner.pos += 1
            continue
        depth += (character in "([") - (character in ")]" and depth > 0)
        out.append(character)
        scanner.pos += 1
    return "".join(out)


def _separates(text: str, scanner: Scanner) -> bool:
    """Whether the blanks at the scanner stand between two words."""
    before = text[scanner.pos - 1] if scanner.pos else " "
    after = text[scanner.pos :].lstrip()[:1]
    return bool(_WORD.match(before)) and bool(_WORD.match(after))


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


def substitute(text: str, values: dict[str, str], counter: int) -> str:
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
