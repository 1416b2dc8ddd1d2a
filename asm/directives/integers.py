"""Directives that write integers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.evaluation import constant
from paravane.asm.expressions import parse
from paravane.asm.leb128 import leb128
from paravane.asm.model import Leb, Number

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.model import Node
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}
_WIDTHS: dict[int, tuple[str, ...]] = {
    1: ("byte", "dc.b"),
    2: ("word", "short", "hword", "value", "2byte", "dc", "dc.w"),
    4: ("long", "int", "4byte", "slong", "dc.l", "dc.a"),
    8: ("quad", "8byte"),
}
_MAX_LEB = 10  # bytes of 64 bits


def _values(unit: Unit, scanner: Scanner, width: int) -> None:
    if scanner.at_end():
        return
    while True:
        scanner.skip_space()
        start = scanner.pos
        unit.emit_value(_value(unit, scanner), width, start, scanner.pos)
        if not scanner.accept(","):
            return


def _value(unit: Unit, scanner: Scanner) -> Node:
    """An expression, or nothing, which is 0 with a warning."""
    start = scanner.pos
    if scanner.peek() in ("", ","):
        unit.warn("no expression here: 0 assumed", start, start + 1)
        return Number(0)
    node = parse(scanner, unit)
    if "@" in scanner.text[start : scanner.pos]:
        raise scanner.error("`@PLT` belongs to calls and jumps", start)
    return node


TABLE |= {f".{name}": partial(_values, width=width) for width, names in _WIDTHS.items() for name in names}


@directive(TABLE, "octa")
def _octa(unit: Unit, scanner: Scanner) -> None:
    """128 bits: a number of that size, or an expression, which has 64 bits."""
    while not scanner.at_end():
        scanner.skip_space()
        start = scanner.pos
        value = _large_number(scanner)
        if value is None:
            scanner.pos = start
            _emit_expression(unit, scanner)
        else:
            if not -(1 << 127) <= value < 1 << 128:
                unit.warn("number cut to 128 bits", start, scanner.pos)
            unit.section.emit((value & (1 << 128) - 1).to_bytes(16, "little"))
        if not scanner.accept(","):
            return


def _emit_expression(unit: Unit, scanner: Scanner) -> None:
    """64 bits of a value; GNU as gives the upper ones its sign only where a minus begins the expression."""
    start = scanner.pos
    node = _value(unit, scanner)
    value = constant(node)
    if value is not None and not scanner.text.startswith("-", start):
        node = Number(value & (1 << 64) - 1)
    unit.emit_value(node, 16, start, scanner.pos)


def _large_number(scanner: Scanner) -> int | None:
    """A signed number that is a whole operand."""
    negative = scanner.accept("-")
    if not scanner.peek().isdigit():
        return None
    value = scanner.number()
    if not isinstance(value, int) or scanner.peek() not in ("", ","):
        return None
    return -value if negative else value


def _lebs(unit: Unit, scanner: Scanner, *, is_signed: bool) -> None:
    while True:
        scanner.skip_space()
        start = scanner.pos
        node = _value(unit, scanner)
        value = constant(node)
        if value is not None:
            unit.section.emit(leb128(value, is_signed=is_signed))
        else:
            unit.section.budget.take(_MAX_LEB)
            unit.section.close_region(Leb(node, is_signed, unit.statement, start, scanner.pos))
        if not scanner.accept(","):
            return


TABLE[".uleb128"] = partial(_lebs, is_signed=False)
TABLE[".sleb128"] = partial(_lebs, is_signed=True)


def _repeated(unit: Unit, scanner: Scanner, width: int) -> None:
    """`.dcb count, value`."""
    scanner.skip_space()
    start = scanner.pos
    count = unit.constant(scanner, "the count")
    if count < 0:
        raise scanner.error("count is negative", start)
    value = unit.constant(scanner, "the value") if scanner.accept(",") else 0
    unit.section.reserve(count * width, (value & (1 << 8 * width) - 1).to_bytes(width, "little"))


_REPEATED_WIDTHS = {"": 2, ".b": 1, ".w": 2, ".l": 4}
TABLE |= {f".dcb{suffix}": partial(_repeated, width=width) for suffix, width in _REPEATED_WIDTHS.items()}
