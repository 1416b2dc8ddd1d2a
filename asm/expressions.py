"""Expressions: GNU as's operators and precedence, over numbers, symbols and places in sections.

A value is a 64-bit number relative to a base: None for an absolute number, or whatever object stands for a
place that is not yet known (a region while reading, a section after layout, an undefined symbol).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from paravane.asm.diagnostics import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.asm.lexer import Scanner
    from paravane.asm.symbols import Symbol

MAX_DEPTH = 100  # nested parentheses, unary operators and definitions by definition
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Number:
    value: int


@dataclass(frozen=True, slots=True)
class Reference:
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: Node
    depth: int


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Node
    right: Node
    depth: int


Node = Number | Reference | Unary | Binary


class Value(NamedTuple):
    """`offset` bytes after `base`; an absolute number when `base` is None."""

    base: object | None
    offset: int


class Unresolved(Exception):
    """An expression has no single value at this stage; `str()` says why."""


class Places(Protocol):
    """What a stage (reading, layout, linking) knows about symbols."""

    def place(self, symbol: Symbol) -> Value | None:
        """Where a label is, or None for a symbol that this stage knows no place of."""


class Names(Protocol):
    """What the parser asks of the unit being read."""

    def reference(self, name: str, start: int, end: int) -> Symbol: ...

    def numeric_reference(self, number: int, direction: str, start: int, end: int) -> Symbol: ...

    def here(self) -> Symbol: ...


_RANKS = {
    "||": 1, "&&": 2,
    "==": 3, "!=": 3, "<>": 3, "<": 3, ">": 3, "<=": 3, ">=": 3,
    "+": 4, "-": 4,
    "|": 5, "^": 5, "&": 5, "!": 5,
    "*": 6, "/": 6, "%": 6, "<<": 6, ">>": 6,
}  # fmt: skip
_OPERATORS = sorted(_RANKS, key=len, reverse=True)
_STARTS = frozenset(operator[0] for operator in _RANKS)


def depth_of(node: Node) -> int:
    return node.depth if isinstance(node, Unary | Binary) else 0


def parse(scanner: Scanner, names: Names, depth: int = 0) -> Node:
    """Reads one expression; raises SourceError at what is not one."""
    return _binary(scanner, names, 1, depth)


def _binary(scanner: Scanner, names: Names, rank: int, depth: int) -> Node:
    left = _unary(scanner, names, depth)
    while True:
        operator = _peek_operator(scanner)
        if operator is None or _RANKS[operator] < rank:
            return left
        start = scanner.pos
        scanner.pos += len(operator)
        right = _binary(scanner, names, _RANKS[operator] + 1, depth + 1)
        left = _fold(operator, left, right, start, scanner)


def _peek_operator(scanner: Scanner) -> str | None:
    if scanner.peek() not in _STARTS:
        return None
    for operator in _OPERATORS:
        if scanner.text.startswith(operator, scanner.pos):
            return operator
    return None


def _fold(operator: str, left: Node, right: Node, start: int, scanner: Scanner) -> Node:
    """The node of a binary operation; numbers are computed at once."""
    if isinstance(left, Number) and isinstance(right, Number):
        try:
            return Number(compute(operator, left.value, right.value))
        except Unresolved as reason:
            raise SourceError(str(reason), start, scanner.pos) from None
    depth = max(depth_of(left), depth_of(right)) + 1
    if depth > MAX_DEPTH:
        raise SourceError("expression is too deep", start, start + len(operator))
    return Binary(operator, left, right, depth)


def _unary(scanner: Scanner, names: Names, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise scanner.error("expression is nested too deeply")
    character = scanner.peek()
    if character == "" or character not in "-~!+":
        return _primary(scanner, names, depth)
    start = scanner.pos
    scanner.pos += 1
    operand = _unary(scanner, names, depth + 1)
    if isinstance(operand, Number):
        return Number(_unary_value(character, operand.value))
    if character == "+":
        return operand
    if depth_of(operand) >= MAX_DEPTH:
        raise SourceError("expression is too deep", start, scanner.pos)
    return Unary(character, operand, depth_of(operand) + 1)


def _primary(scanner: Scanner, names: Names, depth: int) -> Node:
    character, start = scanner.peek(), scanner.pos
    if character == "(":
        scanner.pos += 1
        inner = parse(scanner, names, depth + 1)
        if not scanner.accept(")"):
            raise scanner.error("expected `)` to close this `(`", start, start + 1)
        return inner
    if character == "'":
        return Number(scanner.character())
    number = scanner.number()
    if isinstance(number, tuple):
        return Reference(names.numeric_reference(*number, start, scanner.pos))
    if number is not None:
        return Number(number)
    return _named(scanner, names, start)


def _named(scanner: Scanner, names: Names, start: int) -> Node:
    name = scanner.name()
    if name is None:
        raise scanner.error("expected an expression")
    if name == ".":
        return Reference(names.here())
    if scanner.text.startswith("@", scanner.pos):
        raise scanner.error("relocation operators such as `@GOT` have no use in a linked kernel", start)
    return Reference(names.reference(name, start, scanner.pos))


def wrap(value: int) -> int:
    """A result as 64-bit arithmetic leaves it; unsigned values are kept where they fit."""
    if -(1 << 63) <= value <= _MASK:
        return value
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _unary_value(operator: str, value: int) -> int:
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
        return Value(None, _unary_value(node.operator, value.offset))
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
