"""Directives about symbols: values, binding, type, size, common storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.expressions import parse
from paravane.asm.model import MAX_OUTPUT, Align, Number
from paravane.asm.program import STB_GLOBAL, STB_LOCAL, STB_WEAK, STT_FUNC, STT_NOTYPE, STT_OBJECT

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}
_KINDS = {
    "function": STT_FUNC, "STT_FUNC": STT_FUNC, "object": STT_OBJECT, "STT_OBJECT": STT_OBJECT,
    "notype": STT_NOTYPE, "STT_NOTYPE": STT_NOTYPE, "gnu_unique_object": STT_OBJECT,
}  # fmt: skip


def _named_value(unit: Unit, scanner: Scanner, *, once: bool) -> None:
    scanner.skip_space()
    start = scanner.pos
    name = scanner.expect_name()
    end = scanner.pos
    scanner.expect(",")
    unit.assign(name, parse(scanner, unit), start, end, once=once)


@directive(TABLE, "set", "equ")
def _set(unit: Unit, scanner: Scanner) -> None:
    _named_value(unit, scanner, once=False)


@directive(TABLE, "equiv", "eqv")
def _equiv(unit: Unit, scanner: Scanner) -> None:
    _named_value(unit, scanner, once=True)


def _bind(unit: Unit, scanner: Scanner, binding: int) -> None:
    while True:
        scanner.skip_space()
        start = scanner.pos
        name = scanner.expect_name()
        symbol = unit.symbols.get(name)
        if symbol.is_temporary or name == ".":
            raise scanner.error(f"`{name}` is always local", start)
        if symbol.binding != STB_WEAK or binding == STB_WEAK:
            symbol.binding = binding
            symbol.declared_local = binding == STB_LOCAL
        if not scanner.accept(","):
            return


@directive(TABLE, "globl", "global")
def _globl(unit: Unit, scanner: Scanner) -> None:
    _bind(unit, scanner, STB_GLOBAL)


@directive(TABLE, "weak")
def _weak(unit: Unit, scanner: Scanner) -> None:
    _bind(unit, scanner, STB_WEAK)


@directive(TABLE, "local")
def _local(unit: Unit, scanner: Scanner) -> None:
    _bind(unit, scanner, STB_LOCAL)


@directive(TABLE, "extern", "hidden", "protected", "internal")
def _visibility(_unit: Unit, scanner: Scanner) -> None:
    """Undefined symbols are external anyway, and an executable exports nothing."""
    scanner.expect_name()
    while scanner.accept(","):
        scanner.expect_name()


@directive(TABLE, "type")
def _type(unit: Unit, scanner: Scanner) -> None:
    """`.type name, @function`, also with `%`, quotes or an ELF name."""
    name = scanner.expect_name()
    scanner.accept(",")
    scanner.skip_space()
    start = scanner.pos
    if scanner.peek() == '"':
        kind = scanner.string().decode("utf-8", "replace")
    else:
        if not scanner.accept("@"):
            scanner.accept("%")
        kind = scanner.expect_name("a symbol type")
    if kind not in _KINDS:
        raise scanner.error(f"symbol type `{kind}` is not supported: write @function or @object", start)
    unit.symbols.get(name).kind = _KINDS[kind]


@directive(TABLE, "size")
def _size(unit: Unit, scanner: Scanner) -> None:
    name = scanner.expect_name()
    scanner.expect(",")
    unit.symbols.get(name).size = parse(scanner, unit)


def _storage(unit: Unit, scanner: Scanner) -> tuple[str, int, int]:
    """Reads `name, size[, alignment]`."""
    name = scanner.expect_name()
    scanner.expect(",")
    scanner.skip_space()
    start = scanner.pos
    size = unit.constant(scanner, "the size")
    align = unit.constant(scanner, "the alignment") if scanner.accept(",") else 0
    if not 0 <= size <= MAX_OUTPUT:
        raise scanner.error(f"size must be from 0 to {MAX_OUTPUT >> 20} MiB", start)
    if align < 0 or align & (align - 1) or align > 1 << 22:
        raise scanner.error("alignment must be a power of two up to 2^22", start)
    return name, size, align


@directive(TABLE, "comm", "common")
def _comm(unit: Unit, scanner: Scanner) -> None:
    name, size, align = _storage(unit, scanner)
    if align == 0:
        align = min(16, 1 << max(size - 1, 0).bit_length())
    symbol = unit.symbols.get(name)
    if symbol.defined and symbol.common is None:
        raise SourceError(f"symbol `{name}` is already defined")
    unit.section.budget.take(size + align)
    previous = symbol.common or (0, 1)
    symbol.common = (max(size, previous[0]), max(align, previous[1]))
    symbol.defined_at = unit.statement.locate()
    symbol.kind, symbol.size = STT_OBJECT, Number(symbol.common[0])
    if symbol.binding == STB_LOCAL and not symbol.declared_local:
        symbol.binding = STB_GLOBAL


@directive(TABLE, "lcomm")
def _lcomm(unit: Unit, scanner: Scanner) -> None:
    """Storage in .bss that only this unit sees."""
    name, size, align = _storage(unit, scanner)
    align = align or min(8, 1 << max(size.bit_length() - 1, 0))
    section = unit.open_section(".bss")
    section.align = max(section.align, align)
    if align > 1:
        section.budget.take(align - 1)
        section.close_region(Align(align, None, 0, unit.statement))
    symbol = unit.symbols.define_label(name, section.region, unit.statement.locate())
    symbol.kind, symbol.size = STT_OBJECT, Number(size)
    section.reserve(size)


@directive(TABLE, "file", "ident", "loc", "cfi_startproc", "cfi_endproc", "version", "arch")
def _accepted(_unit: Unit, scanner: Scanner) -> None:
    """What compilers write and this assembler has no use for."""
    scanner.rest()
