"""Directives that reserve storage: common symbols, which units share, and local ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.model import MAX_OUTPUT, Align, Number
from paravane.asm.program import STB_GLOBAL, STB_LOCAL, STT_OBJECT

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}


def _storage(unit: Unit, scanner: Scanner) -> tuple[str, int, int]:
    """Reads `name, size[, alignment]`; the first comma may be missing."""
    name = scanner.expect_name()
    scanner.accept(",")
    scanner.skip_space()
    start = scanner.pos
    size = unit.constant(scanner, "the size")
    align = unit.constant(scanner, "the alignment") if scanner.accept(",") else 0
    if not 0 <= size <= MAX_OUTPUT:
        raise scanner.error(f"size must be from 0 to {MAX_OUTPUT >> 20} MiB", start)
    if align < 0 or align & (align - 1) or align > 1 << 22:
        raise scanner.error("alignment must be a power of two up to 2^22", start)
    return name, size, align


@directive(TABLE, "comm", "common", "common.s", "largecomm", "tls_common")
def _comm(unit: Unit, scanner: Scanner) -> None:
    name, size, align = _storage(unit, scanner)
    if align == 0:
        align = min(16, 1 << max(size - 1, 0).bit_length())
    symbol = unit.symbols.get(name)
    if symbol.defined and symbol.common is None:
        raise SourceError(f"symbol `{name}` is already defined")
    unit.section.budget.take(size + align)
    if symbol.common is not None and symbol.common[0] != size:
        unit.warn(f"`{name}` keeps the size it has, {symbol.common[0]}")
    symbol.common = symbol.common or (size, align)
    symbol.defined_at = unit.statement.locate()
    symbol.kind, symbol.size = STT_OBJECT, Number(symbol.common[0])
    if symbol.binding == STB_LOCAL and not symbol.declared_local:
        symbol.binding = STB_GLOBAL


@directive(TABLE, "lcomm")
def _lcomm(unit: Unit, scanner: Scanner) -> None:
    """`.lcomm name, size`: storage in .bss that only this unit sees, aligned as its size is."""
    name, size, align = _storage(unit, scanner)
    if align:
        raise SourceError(
            "`.lcomm` takes no alignment: write `.local NAME` and `.comm NAME, SIZE, ALIGNMENT`"
        )
    align = min(8, 1 << max(size.bit_length() - 1, 0))
    section = unit.open_section(".bss")
    section.align = max(section.align, align)
    if align > 1:
        section.budget.take(align - 1)
        section.close_region(Align(align, None, 0, unit.statement))
    symbol = unit.symbols.define_label(name, section.region, unit.statement.locate())
    symbol.kind, symbol.size = STT_OBJECT, Number(size)
    section.reserve(size)
