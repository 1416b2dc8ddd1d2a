"""Which definition of a symbol the units of a program share, and which of their sections are linked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.evaluation import Unresolved, evaluate
from paravane.asm.model import Binary, Branch, Gap, Leb, Reference, Unary, Value
from paravane.asm.program import SHF_EXCLUDE, STB_LOCAL, STB_WEAK
from paravane.asm.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.asm.diagnostics import Reporter
    from paravane.asm.model import Node, Symbol, Tail
    from paravane.asm.unit import Unit


class LinkedPlaces:
    """Places at the end: every symbol is an address or a number."""

    def __init__(self) -> None:
        self.globals: dict[str, Symbol] = {}
        self.discarded: set[int] = set()  # ids of sections that another unit's group has in their place
        self.section_addresses: dict[int, int] = {}  # by id of UnitSection: all live as long as the link

    def place(self, symbol: Symbol) -> Value | None:
        if symbol.binding != STB_LOCAL or not symbol.defined:
            winner = self.globals.get(symbol.name)
            if winner is None:
                return Value(None, 0) if symbol.binding == STB_WEAK else None
            if winner.expression is not None and winner is not symbol:
                return evaluate_symbol(winner, self)
            symbol = winner
        if symbol.region is None:
            return None
        base = self.section_addresses.get(id(symbol.region.section))
        if base is None:
            raise Unresolved(f"`{symbol.name}` is in a section that is not linked")
        return Value(None, base + symbol.region.offset + symbol.offset)

    def is_discarded(self, symbol: Symbol) -> bool:
        return symbol.region is not None and id(symbol.region.section) in self.discarded


def evaluate_symbol(symbol: Symbol, places: LinkedPlaces) -> Value:
    """The value of a symbol that is an assignment. Raises Unresolved for a circle of definitions."""
    if symbol.resolving or symbol.expression is None:
        raise Unresolved(f"`{symbol.name}` is defined in terms of itself")
    symbol.resolving = True
    try:
        return evaluate(symbol.expression, places)
    finally:
        symbol.resolving = False


def resolve(units: Sequence[Unit], places: LinkedPlaces, reporter: Reporter) -> None:
    """Finds what is left out and who wins each global name; reports what is missing or defined twice."""
    _choose_groups(units, places)
    _collect_globals(units, places, reporter)
    _check_undefined(units, places, reporter)


def _choose_groups(units: Sequence[Unit], places: LinkedPlaces) -> None:
    """Of all COMDAT groups of a name the first unit's is linked."""
    owners: dict[str, Unit] = {}
    for unit in units:
        for section in unit.sections.values():
            group = section.group
            is_first = group is None or not group.is_comdat or owners.setdefault(group.name, unit) is unit
            if section.flags & SHF_EXCLUDE or not is_first:
                places.discarded.add(id(section))


def _collect_globals(units: Sequence[Unit], places: LinkedPlaces, reporter: Reporter) -> None:
    """One winner per global name: a definition beats common storage, which beats a weak definition."""
    for unit in units:
        for symbol in unit.symbols.by_name.values():
            if symbol.binding == STB_LOCAL or not symbol.defined or places.is_discarded(symbol):
                continue
            other = places.globals.get(symbol.name)
            if other is None or _strength(symbol) > _strength(other):
                places.globals[symbol.name] = symbol
            elif _strength(symbol) == _strength(other) == 2:
                where = other.defined_at
                at = f" at {where.file}:{where.line}" if where else ""
                reporter.error(f"symbol `{symbol.name}` is already defined{at}", symbol.defined_at)
            elif symbol.common and other.common:
                other.common = _larger(symbol.common, other.common)


def _strength(symbol: Symbol) -> int:
    if symbol.binding == STB_WEAK:
        return 0
    return 1 if symbol.common is not None else 2


def _larger(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    return max(left[0], right[0]), max(left[1], right[1])


def _check_undefined(units: Sequence[Unit], places: LinkedPlaces, reporter: Reporter) -> None:
    for unit in units:
        used = _used_symbols(unit, places)
        for symbol in unit.symbols.by_name.values():
            if symbol.defined or symbol.referenced_at is None or symbol.binding == STB_WEAK:
                continue
            if used is not None and id(symbol) not in used:
                continue
            if symbol.name not in places.globals:
                reporter.error(_undefined(symbol.name, unit, units), symbol.referenced_at)


def _used_symbols(unit: Unit, places: LinkedPlaces) -> set[int] | None:
    """Ids of the symbols that what is linked of a unit refers to; None when all of it is linked."""
    sections = unit.sections.values()
    if not any(id(section) in places.discarded for section in sections):
        return None
    nodes = [symbol.expression for symbol in unit.symbols.by_name.values() if symbol.expression is not None]
    for section in sections:
        if id(section) not in places.discarded:
            for region in section.regions:
                nodes += [fixup.value for fixup in region.fixups]
                nodes += _tail_expression(region.tail)
    used: set[int] = set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, Reference):
            used.add(id(node.symbol))
        elif isinstance(node, Unary):
            nodes.append(node.operand)
        elif isinstance(node, Binary):
            nodes += [node.left, node.right]
    return used


def _tail_expression(tail: Tail | None) -> list[Node]:
    if isinstance(tail, Branch):
        return [tail.target]
    if isinstance(tail, Gap):
        return [tail.amount]
    return [tail.value] if isinstance(tail, Leb) else []


def _undefined(name: str, unit: Unit, units: Sequence[Unit]) -> str:
    message = f"undefined symbol `{name}`"
    for other in units:
        if other is not unit and other.symbols.is_defined(name):
            return f"{message}; it is local to {other.name}: add `.globl {name}` there"
    names = {
        known
        for other in units
        for known, symbol in other.symbols.by_name.items()
        if symbol.defined and not known.startswith(".L")
    }
    return message + did_you_mean(name, names)
