"""The parser of expressions: GNU as's operators and precedence, over numbers and symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.asm.diagnostics import SourceError
from paravane.asm.evaluation import MAX_DEPTH, Unresolved, compute, unary_value
from paravane.asm.model import Binary, Number, Reference, Unary

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.asm.lexer import Scanner
    from paravane.asm.model import Node, Symbol


class Names(Protocol):
    """What the parser asks of the unit being read."""

    def reference(self, name: str, start: int, end: int) -> Node: ...

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
        return Number(unary_value(character, operand.value))
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
    end = scanner.pos
    if scanner.text.startswith("@", end):
        scanner.pos += 1
        operator = (scanner.name() or "").lower()
        if operator != "plt":
            raise scanner.error(f"`@{operator}` is not supported: a linked kernel has no such table", start)
        # A linked program calls a function that it has itself directly, as GNU ld makes it.
    return names.reference(name, start, end)


def rebuild(node: Node, replace: Callable[[Symbol], Node], depth: int = 0) -> Node:
    """The expression with every symbol replaced, computed as far as it can be. Raises SourceError."""
    if depth > MAX_DEPTH:
        raise SourceError("expression is too deep")
    if isinstance(node, Reference):
        return replace(node.symbol)
    if isinstance(node, Unary):
        operand = rebuild(node.operand, replace, depth + 1)
        if isinstance(operand, Number):
            return Number(unary_value(node.operator, operand.value))
        return Unary(node.operator, operand, _deeper(operand))
    if isinstance(node, Binary):
        left = rebuild(node.left, replace, depth + 1)
        right = rebuild(node.right, replace, depth + 1)
        if isinstance(left, Number) and isinstance(right, Number):
            try:
                return Number(compute(node.operator, left.value, right.value))
            except Unresolved as reason:
                raise SourceError(str(reason)) from None
        return Binary(node.operator, left, right, max(_deeper(left), _deeper(right)))
    return node


def _deeper(node: Node) -> int:
    depth = depth_of(node) + 1
    if depth > MAX_DEPTH:
        raise SourceError("expression is too deep")
    return depth
