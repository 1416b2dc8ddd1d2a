"""Directives about symbols: values, binding, type, size, and relocations by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.evaluation import constant
from paravane.asm.expressions import parse
from paravane.asm.model import Number, Relocation
from paravane.asm.program import STB_GLOBAL, STB_LOCAL, STB_WEAK, STT_FUNC, STT_NOTYPE, STT_OBJECT

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}
_KINDS = {
    "function": STT_FUNC, "object": STT_OBJECT, "tls_object": STT_OBJECT, "notype": STT_NOTYPE,
    "common": STT_OBJECT, "gnu_unique_object": STT_OBJECT,
    "STT_FUNC": STT_FUNC, "STT_OBJECT": STT_OBJECT, "STT_TLS": STT_OBJECT, "STT_NOTYPE": STT_NOTYPE,
    "STT_COMMON": STT_OBJECT,
}  # fmt: skip
# Bytes that a relocation changes, and whether it is relative to its place, by the names of the i386 ABI and
# by those that GNU as has for all processors.
_RELOCATIONS = {
    "R_386_NONE": (0, False), "R_386_32": (4, False), "R_386_PC32": (4, True), "R_386_PLT32": (4, True),
    "R_386_16": (2, False), "R_386_PC16": (2, True), "R_386_8": (1, False), "R_386_PC8": (1, True),
    "BFD_RELOC_NONE": (0, False), "BFD_RELOC_32": (4, False), "BFD_RELOC_32_PCREL": (4, True),
    "BFD_RELOC_16": (2, False), "BFD_RELOC_16_PCREL": (2, True), "BFD_RELOC_8": (1, False),
    "BFD_RELOC_8_PCREL": (1, True),
}  # fmt: skip


def _named_value(unit: Unit, scanner: Scanner, *, once: bool = False, deferred: bool = False) -> None:
    """`.set name, expression`."""
    scanner.skip_space()
    start = scanner.pos
    name = scanner.expect_name()
    end = scanner.pos
    scanner.expect(",")
    unit.assign(name, parse(scanner, unit), start, end, once=once, deferred=deferred)


TABLE |= dict.fromkeys((".set", ".equ"), _named_value)
TABLE |= dict.fromkeys((".equiv", ".lsym"), partial(_named_value, once=True))
TABLE[".eqv"] = partial(_named_value, deferred=True)


def _bind(unit: Unit, scanner: Scanner, binding: int) -> None:
    while True:
        scanner.skip_space()
        start = scanner.pos
        name = scanner.expect_name()
        symbol = unit.symbols.get(name)
        if name == ".":
            raise scanner.error("`.` is the current address: no symbol", start)
        if symbol.binding != STB_WEAK or binding == STB_WEAK:
            symbol.binding = binding
            symbol.declared_local = binding == STB_LOCAL
        if not scanner.accept(","):
            return


TABLE |= dict.fromkeys((".globl", ".global", ".xdef"), partial(_bind, binding=STB_GLOBAL))
TABLE[".weak"] = partial(_bind, binding=STB_WEAK)
TABLE[".local"] = partial(_bind, binding=STB_LOCAL)


@directive(TABLE, "weakref")
def _weakref(unit: Unit, scanner: Scanner) -> None:
    """`.weakref alias, target`: what refers to the alias refers to the target, which may be missing."""
    scanner.skip_space()
    start = scanner.pos
    alias = scanner.expect_name()
    scanner.expect(",")
    target = scanner.expect_name()
    try:
        unit.symbols.alias(alias, target)
    except SourceError as error:
        raise scanner.error(error.message, start) from None


@directive(TABLE, "hidden", "protected", "internal")
def _visibility(_unit: Unit, scanner: Scanner) -> None:
    """An executable exports nothing: visibility has no effect."""
    scanner.expect_name()
    while scanner.accept(","):
        scanner.expect_name()


@directive(TABLE, "extern", "xref", "symver", "vtable_inherit", "vtable_entry")
def _accepted(_unit: Unit, scanner: Scanner) -> None:
    """Undefined symbols are external anyway, and versions belong to shared objects."""
    scanner.rest()


@directive(TABLE, "type")
def _type(unit: Unit, scanner: Scanner) -> None:
    """`.type name, @function`, also with `%`, quotes, or an ELF name."""
    name = scanner.expect_name()
    scanner.accept(",")
    scanner.skip_space()
    start = scanner.pos
    if scanner.peek() in ("@", "%"):
        scanner.pos += 1
    kind = scanner.expect_name("a symbol type")
    if kind not in _KINDS:
        raise scanner.error(f"symbol type `{kind}` is not supported: write @function or @object", start)
    unit.symbols.get(name).kind = _KINDS[kind]


@directive(TABLE, "size")
def _size(unit: Unit, scanner: Scanner) -> None:
    name = scanner.expect_name()
    scanner.expect(",")
    unit.symbols.get(name).size = parse(scanner, unit)


@directive(TABLE, "reloc")
def _reloc(unit: Unit, scanner: Scanner) -> None:
    """`.reloc place, R_386_32[, value]`: adds a value to what is at a place of this section."""
    place = parse(scanner, unit)
    scanner.expect(",")
    scanner.skip_space()
    start = scanner.pos
    name = scanner.expect_name("a relocation")
    if name not in _RELOCATIONS:
        known = ", ".join(n for n in _RELOCATIONS if n.startswith("R_"))
        raise scanner.error(f"relocation `{name}` is not supported: {known} are", start)
    width, relative = _RELOCATIONS[name]
    value = parse(scanner, unit) if scanner.accept(",") else Number(0)
    if constant(value) is not None:
        return  # GNU as writes a relocation without a symbol, which changes nothing
    unit.relocations.append(Relocation(unit.section, place, width, relative, value, unit.statement))
