"""The symbols of one translation unit: labels, assignments, numeric labels, bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from paravane.asm.diagnostics import SourceError
from paravane.asm.expressions import Binary, Number, Reference, Unary, Unresolved, Value, evaluate
from paravane.asm.program import STB_LOCAL, STT_NOTYPE

if TYPE_CHECKING:
    from paravane.asm.diagnostics import Location
    from paravane.asm.expressions import Node
    from paravane.asm.sections import Region


class Symbol:
    """One symbol: a label (`region`, `offset`), an assignment (`expression`), common, or undefined."""

    __slots__ = (
        "binding", "common", "declared_local", "defined_at", "expression", "kind", "name", "offset",
        "redefinable", "referenced_at", "region", "resolving", "size",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.binding = STB_LOCAL
        self.kind = STT_NOTYPE
        self.size: Node | None = None
        self.region: Region | None = None
        self.offset = 0
        self.expression: Node | None = None
        self.common: tuple[int, int] | None = None  # size and alignment, bytes
        self.declared_local = False
        self.redefinable = False
        self.resolving = False
        self.referenced_at: Location | None = None
        self.defined_at: Location | None = None

    @property
    def defined(self) -> bool:
        return self.region is not None or self.expression is not None or self.common is not None

    @property
    def is_temporary(self) -> bool:
        """Whether the name stays out of the symbol table: .L labels and numeric labels."""
        return self.name.startswith(".L") or not self.name or self.name[0].isdigit()


class ReadingPlaces:
    """Places while reading: a label is known relative to its region, whose size cannot change any more."""

    def place(self, symbol: Symbol) -> Value | None:
        return None if symbol.region is None else Value(symbol.region, symbol.offset)


READING = ReadingPlaces()


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


class SymbolTable:
    """Every symbol of a unit by name, in order of first appearance."""

    def __init__(self) -> None:
        self.by_name: dict[str, Symbol] = {}
        self.numeric: list[Symbol] = []  # every numeric label, defined or awaited
        self._last: dict[int, Symbol] = {}
        self._next: dict[int, Symbol] = {}

    def is_defined(self, name: str) -> bool:
        symbol = self.by_name.get(name)
        return symbol is not None and symbol.defined

    def get(self, name: str) -> Symbol:
        """The symbol of that name, created undefined when it is new."""
        symbol = self.by_name.get(name)
        if symbol is None:
            symbol = self.by_name[name] = Symbol(name)
        return symbol

    def reference(self, name: str, location: Location) -> Symbol:
        symbol = self.get(name)
        if symbol.referenced_at is None:
            symbol.referenced_at = location
        return symbol

    def define_label(self, name: str, region: Region, location: Location) -> Symbol:
        """Puts a label at the end of `region`. Raises SourceError when the name is taken."""
        symbol = self.get(name)
        _refuse_redefinition(symbol)
        symbol.region, symbol.offset, symbol.defined_at = region, region.size, location
        return symbol

    def assign(self, name: str, value: Node, location: Location, *, once: bool = False) -> Symbol:
        """Gives a symbol a value. Unless `once`, a later assignment may replace it for what follows."""
        symbol = self.get(name)
        if symbol.defined:
            if once or not symbol.redefinable:
                _refuse_redefinition(symbol)
            symbol = self._renew(symbol)
        symbol.redefinable = not once
        symbol.defined_at = location
        try:
            known = evaluate(value, READING)
        except Unresolved:
            symbol.expression = value
            return symbol
        if known.base is None:
            symbol.expression = Number(known.offset)
        elif isinstance(known.base, Symbol):
            symbol.expression = Binary("+", Reference(known.base), Number(known.offset), 1)
        else:
            symbol.region, symbol.offset = cast("Region", known.base), known.offset
        return symbol

    def _renew(self, old: Symbol) -> Symbol:
        """A fresh symbol under the old name: what referred to the old value keeps it."""
        new = Symbol(old.name)
        new.binding, new.kind, new.size, new.referenced_at = (
            old.binding,
            old.kind,
            old.size,
            old.referenced_at,
        )
        self.by_name[old.name] = new
        return new

    def define_numeric(self, number: int, region: Region, location: Location) -> None:
        symbol = self._next.pop(number, None)
        if symbol is None:
            symbol = Symbol(str(number))
            self.numeric.append(symbol)
        symbol.region, symbol.offset, symbol.defined_at = region, region.size, location
        self._last[number] = symbol

    def numeric_reference(self, number: int, direction: str, location: Location) -> Symbol | None:
        """The label `number` before (b) or after (f) this place; None when there is none before."""
        if direction == "b":
            return self._last.get(number)
        symbol = self._next.get(number)
        if symbol is None:
            symbol = self._next[number] = Symbol(str(number))
            symbol.referenced_at = location
            self.numeric.append(symbol)
        return symbol


def _refuse_redefinition(symbol: Symbol) -> None:
    if symbol.defined:
        where = symbol.defined_at
        place = "" if where is None else f" at {where.file}:{where.line}"
        raise SourceError(f"symbol `{symbol.name}` is already defined{place}")
