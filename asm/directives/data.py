"""Directives that put bytes into the current section."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import LocatedError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.directives.files import find_file
from paravane.asm.evaluation import constant
from paravane.asm.expressions import parse
from paravane.asm.model import MAX_OUTPUT, Gap

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}


def _values(unit: Unit, scanner: Scanner, width: int) -> None:
    if scanner.at_end():
        return
    while True:
        scanner.skip_space()
        start = scanner.pos
        node = parse(scanner, unit)
        unit.emit_value(node, width, start, scanner.pos)
        if not scanner.accept(","):
            return


@directive(TABLE, "byte")
def _byte(unit: Unit, scanner: Scanner) -> None:
    _values(unit, scanner, 1)


@directive(TABLE, "word", "short", "hword", "value", "2byte")
def _word(unit: Unit, scanner: Scanner) -> None:
    _values(unit, scanner, 2)


@directive(TABLE, "long", "int", "4byte")
def _long(unit: Unit, scanner: Scanner) -> None:
    _values(unit, scanner, 4)


@directive(TABLE, "quad", "8byte")
def _quad(unit: Unit, scanner: Scanner) -> None:
    _values(unit, scanner, 8)


@directive(TABLE, "octa")
def _octa(unit: Unit, scanner: Scanner) -> None:
    """128-bit numbers: literals only, for expressions have 64 bits."""
    while True:
        negative = scanner.accept("-")
        start = scanner.pos
        value = scanner.number()
        if not isinstance(value, int) or value >> 128:
            raise scanner.error("expected a number of at most 128 bits", start, start + 1)
        value = -value if negative else value
        unit.section.emit((value & (1 << 128) - 1).to_bytes(16, "little"))
        if not scanner.accept(","):
            return


@directive(TABLE, "ascii")
def _ascii(unit: Unit, scanner: Scanner) -> None:
    _strings(unit, scanner, b"")


@directive(TABLE, "asciz", "string", "string8")
def _asciz(unit: Unit, scanner: Scanner) -> None:
    _strings(unit, scanner, b"\0")


def _strings(unit: Unit, scanner: Scanner, end: bytes) -> None:
    while not scanner.at_end():
        unit.section.emit(scanner.string())
        while scanner.peek() == '"':
            unit.section.emit(scanner.string())
        unit.section.emit(end)
        if not scanner.accept(","):
            return


def _floats(unit: Unit, scanner: Scanner, code: str) -> None:
    while True:
        scanner.skip_space()
        start = scanner.pos
        while scanner.pos < len(scanner.text) and scanner.text[scanner.pos] not in ", \t":
            scanner.pos += 1
        try:
            value = float(scanner.text[start : scanner.pos])
            packed = struct.pack(code, value)
        except (ValueError, OverflowError):
            raise scanner.error("expected a decimal floating-point number", start, scanner.pos + 1) from None
        if not math.isfinite(value):
            raise scanner.error("expected a finite number", start)
        unit.section.emit(packed)
        if not scanner.accept(","):
            return


@directive(TABLE, "float", "single")
def _float(unit: Unit, scanner: Scanner) -> None:
    _floats(unit, scanner, "<f")


@directive(TABLE, "double")
def _double(unit: Unit, scanner: Scanner) -> None:
    _floats(unit, scanner, "<d")


@directive(TABLE, "skip", "space")
def _skip(unit: Unit, scanner: Scanner) -> None:
    """`.skip size[, fill]`: the size may depend on labels that come later."""
    scanner.skip_space()
    start = scanner.pos
    amount = parse(scanner, unit)
    end = scanner.pos
    fill = unit.constant(scanner, "the fill") & 0xFF if scanner.accept(",") else 0
    size = constant(amount)
    if size is None:
        unit.section.close_region(Gap(amount, bytes([fill]), False, unit.statement))
        return
    if size < 0:
        raise scanner.error("size is negative", start, end)
    unit.section.reserve(size, bytes([fill]))


@directive(TABLE, "zero")
def _zero(unit: Unit, scanner: Scanner) -> None:
    _skip(unit, scanner)


@directive(TABLE, "fill")
def _fill(unit: Unit, scanner: Scanner) -> None:
    """`.fill repeat[, size[, value]]`: of each unit of `size` bytes the value takes four at most."""
    scanner.skip_space()
    start = scanner.pos
    repeat = unit.constant(scanner, "the repeat count")
    size = value = 0
    has_size = scanner.accept(",")
    size = unit.constant(scanner, "the size") if has_size and scanner.peek() != "," else 1
    if scanner.accept(","):
        value = unit.constant(scanner, "the value")
    if repeat < 0 or size < 0:
        raise scanner.error("repeat count and size must not be negative", start)
    size = min(size, 8)
    pattern = (value & (1 << 8 * min(size, 4)) - 1).to_bytes(size, "little") if size else b""
    if pattern:
        unit.section.reserve(repeat * size, pattern)


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
    first = skip or 0
    unit.section.emit(content[first:] if count is None else content[first : first + count])
