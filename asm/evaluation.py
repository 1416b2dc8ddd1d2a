"""The value of an expression at a stage: while reading, during layout, after linking.

A value is a 64-bit number relative to a base: None for an absolute number, or whatever object stands for a
place that is not yet known (a region while reading, a section after layout, an undefined symbol).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.asm.model import Binary, Number, Reference, Unary, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.asm.model import Node, Symbol

MAX_DEPTH = 100  # nested parentheses, unary operators and definitions by definition
_MASK = (1 << 64) - 1


class Unresolved(Exception):
    """An expression has no single value at this stage; `str()` says why."""


class Places(Protocol):
    """What a stage (reading, layout, linking) knows about symbols."""

    def place(self, symbol: Symbol) -> Value | None:
        """Where a label is, or None for a symbol that this stage knows no place of."""


class ReadingPlaces:
    """Places while reading: a label is known relative to its region, whose size cannot change any more."""

    def place(self, symbol: Symbol) -> Value | None:
        return None if symbol.region is None else Value(symbol.region, symbol.offset)


READING = ReadingPlaces()


def wrap(value: int) -> int:
    """A result as 64-bit arithmetic leaves it; unsigned values are kept where they fit."""
    if -(1 << 63) <= value <= _MASK:
        return value
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def unary_value(operator: str, value: int) -> int:
    if operator == "-":
        return wrap(-value)
    if operator == "~":
        return ~value
    return int(value == 0) if operator == "!" else value


_COMPUTE: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "&": lambda a, b: a & b,
    "!": lambda a, b: a | ~b,
    "==": lambda a, b: -int(a == b),
    "!=": lambda a, b: -int(a != b),
    "<>": lambda a, b: -int(a != b),
    "<": lambda a, b: -int(a < b),
    ">": lambda a, b: -int(a > b),
    "<=": lambda a, b: -int(a <= b),
    ">=": lambda a, b: -int(a >= b),
    "&&": lambda a, b: int(a != 0 and b != 0),
    "||": lambda a, b: int(a != 0 or b != 0),
}


def compute(operator: str, left: int, right: int) -> int:
    """One operation on absolute numbers; comparisons give -1 or 0, as in GNU as. Raises Unresolved."""
    if operator in ("/", "%"):
        if right == 0:
            raise Unresolved("division by zero")
        quotient = abs(left) // abs(right)
        quotient = quotient if (left < 0) == (right < 0) else -quotient
        return wrap(quotient if operator == "/" else left - quotient * right)
    if operator in ("<<", ">>"):
        if right < 0:
            raise Unresolved("shift by a negative count")
        if right > 63:
            return 0
        return wrap(left << right) if operator == "<<" else (left & _MASK) >> right
    return wrap(_COMPUTE[operator](left, right))


Memo = dict[int, Value]  # by id of a Symbol: definitions that double at each step stay cheap


def evaluate(node: Node, places: Places, depth: int = 0, memo: Memo | None = None) -> Value:
    """The value of an expression at a stage. Raises Unresolved."""
    if isinstance(node, Number):
        return Value(None, node.value)
    if depth > 2 * MAX_DEPTH:
        raise Unresolved("definitions are nested too deeply")
    memo = {} if memo is None else memo
    if isinstance(node, Reference):
        return _symbol_value(node.symbol, places, depth, memo)
    if isinstance(node, Unary):
        value = evaluate(node.operand, places, depth + 1, memo)
        if value.base is not None:
            raise Unresolved(f"`{node.operator}` needs an absolute value")
        return Value(None, unary_value(node.operator, value.offset))
    left = evaluate(node.left, places, depth + 1, memo)
    right = evaluate(node.right, places, depth + 1, memo)
    return _combine(node.operator, left, right)


def _symbol_value(symbol: Symbol, places: Places, depth: int, memo: Memo) -> Value:
    if symbol.expression is None:
        value = places.place(symbol)
        return Value(symbol, 0) if value is None else value
    known = memo.get(id(symbol))
    if known is not None:
        return known
    if symbol.resolving:
        raise Unresolved(f"`{symbol.name}` is defined in terms of itself")
    symbol.resolving = True
    try:
        value = evaluate(symbol.expression, places, depth + 1, memo)
    finally:
        symbol.resolving = False
    memo[id(symbol)] = value
    return value


def _combine(operator: str, left: Value, right: Value) -> Value:
    if left.base is None and right.base is None:
        return Value(None, compute(operator, left.offset, right.offset))
    if operator == "+" and (left.base is None or right.base is None):
        return Value(left.base or right.base, wrap(left.offset + right.offset))
    if operator == "-" and right.base is None:
        return Value(left.base, wrap(left.offset - right.offset))
    if left.base is right.base and operator in ("-", "==", "!=", "<>", "<", ">", "<=", ">="):
        return Value(None, compute(operator, left.offset, right.offset))
    raise Unresolved("the value is not known here")


def constant(node: Node) -> int | None:
    """The absolute value of an expression, as far as it is known while reading."""
    if isinstance(node, Number):
        return node.value
    try:
        value = evaluate(node, READING)
    except Unresolved:
        return None
    return value.offset if value.base is None else None


def rests_on_pending(node: Node) -> bool:
    """Whether an expression uses an assignment whose own value still waits for a symbol."""
    if isinstance(node, Reference):
        return node.symbol.expression is not None and constant(node) is None
    if isinstance(node, Unary):
        return rests_on_pending(node.operand)
    return isinstance(node, Binary) and (rests_on_pending(node.left) or rests_on_pending(node.right))
