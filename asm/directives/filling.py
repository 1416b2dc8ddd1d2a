"""Directives that fill: gaps, alignment, origins and code that does nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.evaluation import constant
from paravane.asm.expressions import parse
from paravane.asm.model import Binary, Gap, Number
from paravane.asm.padding import MAX_NOP, code_padding

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}
_MAX_ALIGN = 22  # as a power of two: 4 MiB, the largest page
_MAX_FILL = 8  # bytes of a `.fill` unit, of which a value takes four
_DS_WIDTHS = {"": 2, ".b": 1, ".w": 2, ".l": 4, ".s": 4, ".d": 8, ".x": 10, ".p": 10}
_NOP = b"\x90"


@directive(TABLE, "skip", "space", "zero")
def _skip(unit: Unit, scanner: Scanner) -> None:
    """`.skip size[, fill]`: the size may depend on labels that come later."""
    scanner.skip_space()
    start = scanner.pos
    amount = parse(scanner, unit)
    end = scanner.pos
    fill = unit.constant(scanner, "the fill") & 0xFF if _has_another(scanner) else 0
    size = constant(amount)
    if size is None:
        unit.section.close_region(Gap(amount, bytes([fill]), False, unit.statement))
    elif size < 0:
        unit.warn("negative size: nothing is skipped", start, end)
    else:
        unit.section.reserve(size, bytes([fill]))


def _has_another(scanner: Scanner) -> bool:
    """Whether an operand follows; a comma at the end leaves it out."""
    return scanner.accept(",") and not scanner.at_end()


def _ds(unit: Unit, scanner: Scanner, width: int) -> None:
    """`.ds count[, fill]`."""
    scanner.skip_space()
    start = scanner.pos
    count = unit.constant(scanner, "the count")
    fill = unit.constant(scanner, "the fill") if scanner.accept(",") else 0
    if count < 0:
        raise scanner.error("count is negative", start)
    unit.section.reserve(count * width, (fill & (1 << 8 * width) - 1).to_bytes(width, "little"))


TABLE |= {f".ds{suffix}": partial(_ds, width=width) for suffix, width in _DS_WIDTHS.items()}


@directive(TABLE, "fill")
def _fill(unit: Unit, scanner: Scanner) -> None:
    """`.fill repeat[, size[, value]]`: of each unit of `size` bytes the value takes four at most."""
    scanner.skip_space()
    start = scanner.pos
    amount = parse(scanner, unit)
    end = scanner.pos
    value = 0
    has_size = scanner.accept(",")
    size = unit.constant(scanner, "the size") if has_size and scanner.peek() not in (",", "") else 1
    if scanner.accept(","):
        value = unit.constant(scanner, "the value")
    if not 0 <= size <= _MAX_FILL:
        unit.warn(f"the size of a unit is from 0 to {_MAX_FILL} bytes", start)
    size = min(max(size, 0), _MAX_FILL)
    pattern = (value & (1 << 8 * min(size, 4)) - 1).to_bytes(size, "little")
    repeat = constant(amount)
    if not size:
        return
    if repeat is None:
        whole = Binary("*", amount, Number(size), 1)
        unit.section.close_region(Gap(whole, pattern, False, unit.statement))
    elif repeat < 0:
        unit.warn("negative repeat count: nothing is filled", start, end)
    else:
        unit.section.reserve(repeat * size, pattern)


@directive(TABLE, "org")
def _org(unit: Unit, scanner: Scanner) -> None:
    """`.org place[, fill]`: a number counts from the start of the section in this unit."""
    node = parse(scanner, unit)
    fill = unit.constant(scanner, "the fill") & 0xFF if scanner.accept(",") else 0
    unit.move_to(node, bytes([fill]))


def _align(unit: Unit, scanner: Scanner, width: int, *, power: bool) -> None:
    """`.align boundary[, fill[, limit]]`: at most `limit` bytes of padding, or none."""
    scanner.skip_space()
    start = scanner.pos
    boundary = 0 if scanner.at_end() else unit.constant(scanner, "the boundary")
    if power:
        if not 0 <= boundary <= _MAX_ALIGN:
            raise scanner.error(f"alignment must be from 2^0 to 2^{_MAX_ALIGN}", start)
        boundary = 1 << boundary
    boundary = boundary or 1
    if boundary < 0 or boundary & (boundary - 1) or boundary > 1 << _MAX_ALIGN:
        raise scanner.error(f"alignment must be a power of two up to 2^{_MAX_ALIGN}", start)
    fill, limit = None, 0
    if scanner.accept(","):
        if scanner.peek() not in (",", ""):
            value = unit.constant(scanner, "the fill")
            fill = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
        if _has_another(scanner):
            limit = unit.constant(scanner, "the limit")
    if fill == _NOP and unit.section.is_code:
        fill = None  # padding with NOPs is padding with the best of them
    unit.align(boundary, fill, max(limit, 0))


for _suffix, _width in (("", 1), ("w", 2), ("l", 4)):
    TABLE[f".balign{_suffix}"] = partial(_align, width=_width, power=False)
    TABLE[f".p2align{_suffix}"] = partial(_align, width=_width, power=True)
TABLE[".align"] = TABLE[".balign"]


@directive(TABLE, "nop")
def _nop(unit: Unit, scanner: Scanner) -> None:
    """`.nop [size]`: one-byte NOPs."""
    size = 1 if scanner.at_end() else unit.constant(scanner, "the size")
    unit.section.reserve(max(size, 1), _NOP)


@directive(TABLE, "nops")
def _nops(unit: Unit, scanner: Scanner) -> None:
    """`.nops size[, largest]`: instructions that do nothing, each of at most `largest` bytes."""
    size = unit.constant(scanner, "the size")
    largest = unit.constant(scanner, "the size of one instruction") if scanner.accept(",") else 0
    if not 0 <= largest <= MAX_NOP:
        raise scanner.error(f"one instruction has from 0 to {MAX_NOP} bytes", 0)
    if size < 0:
        raise scanner.error("size is negative", 0)
    unit.section.budget.take(size)
    unit.section.budget.left += size  # taken again by what is written
    unit.section.emit(code_padding(size, largest or MAX_NOP))
