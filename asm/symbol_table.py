"""The symbols of one translation unit: labels, assignments, numeric labels, bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from paravane.asm.diagnostics import SourceError
from paravane.asm.evaluation import READING, Unresolved, evaluate
from paravane.asm.model import Binary, Number, Reference, Symbol
from paravane.asm.program import STB_LOCAL, STB_WEAK

if TYPE_CHECKING:
    from paravane.asm.diagnostics import Location
    from paravane.asm.model import Node, Region


class SymbolTable:
    """Every symbol of a unit by name, in order of first appearance."""

    def __init__(self) -> None:
        self.by_name: dict[str, Symbol] = {}
        self.numeric: list[Symbol] = []  # every numeric label, defined or awaited
        self.aliases: dict[str, str] = {}  # `.weakref`: the names that stand for others
        self._weakly: set[str] = set()  # names referred to by an alias
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
        target = name
        while target in self.aliases:
            target = self.aliases[target]
        symbol = self.get(target)
        if target != name:
            self._weakly.add(target)
            if symbol.referenced_at is None:
                return symbol
        if symbol.referenced_at is None:
            symbol.referenced_at = location
        return symbol

    def alias(self, alias: str, target: str) -> None:
        """Makes a name stand for another one, which need not exist unless it is referred to itself."""
        seen = target
        while seen in self.aliases:
            seen = self.aliases[seen]
        if seen == alias:
            raise SourceError(f"`{alias}` would stand for itself")
        _refuse_redefinition(self.get(alias))
        self.aliases[alias] = target

    def weaken(self) -> None:
        """At the end of the unit: what only aliases refer to may be missing."""
        for name in self._weakly:
            symbol = self.by_name[name]
            if not symbol.defined and symbol.referenced_at is None and symbol.binding == STB_LOCAL:
                symbol.binding = STB_WEAK

    def define_label(self, name: str, region: Region, location: Location) -> Symbol:
        """Puts a label at the end of `region`. Raises SourceError when the name is taken."""
        symbol = self.get(name)
        if name in self.aliases:
            raise SourceError(f"`{name}` stands for `{self.aliases[name]}` already")
        _refuse_redefinition(symbol)
        symbol.region, symbol.offset, symbol.defined_at = region, region.size, location
        return symbol

    def assign(self, name: str, value: Node, location: Location, *, once: bool = False) -> Symbol:
        """Gives a symbol a value. Unless `once`, a later assignment may replace it for what follows."""
        symbol = self.by_name.get(name)
        if symbol is None:
            symbol = self.by_name[name] = Symbol(name)
        elif symbol.defined:
            if once or not symbol.redefinable:
                _refuse_redefinition(symbol)
            symbol = self._renew(symbol)
        symbol.redefinable = not once
        symbol.defined_at = location
        if isinstance(value, Number):
            symbol.expression = value
            return symbol
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

    def defer(self, name: str, value: Node, location: Location) -> None:
        """Makes a symbol stand for an expression, which each use computes anew."""
        symbol = self.get(name)
        _refuse_redefinition(symbol)
        symbol.expression, symbol.deferred, symbol.defined_at = value, True, location

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
        symbol.defined_at = location
        if region.section.is_absolute:
            symbol.expression = Number(region.size)
        else:
            symbol.region, symbol.offset = region, region.size
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
