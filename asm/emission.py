"""The bytes and line rows of linked sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.asm.evaluation import Unresolved, evaluate
from paravane.asm.leb128 import leb128
from paravane.asm.model import Align, Branch, Gap, Leb, Number
from paravane.asm.padding import code_padding, nops
from paravane.asm.program import SHT_NOBITS, LineRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.asm.diagnostics import Reporter
    from paravane.asm.evaluation import Places
    from paravane.asm.model import Fixup, Node, Region, Relocation, UnitSection
    from paravane.asm.source import Statement


class Placed(Protocol):
    """An output section, as far as its bytes are concerned."""

    @property
    def kind(self) -> int: ...
    @property
    def address(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def pieces(self) -> list[tuple[UnitSection, int]]: ...


def section_bytes(
    output: Placed, relocations: Sequence[Relocation], places: Places, reporter: Reporter
) -> bytes:
    """The contents of an output section; values that do not fit are reported."""
    if output.kind == SHT_NOBITS:
        return b""
    data = bytearray()
    for section, offset in output.pieces:
        gap = offset - len(data)
        data += nops(gap, 2) if section.is_code else bytes(gap)  # as GNU ld fills between inputs
        for region in section.regions:
            address = output.address + offset + region.offset
            for fixup in region.fixups:
                _apply(fixup, region, address, places, reporter)
            data += region.data
            data += _tail(region, address + region.size, section, places, reporter)
    starts = {id(section): offset for section, offset in output.pieces}
    for relocation in relocations:
        if id(relocation.section) in starts:
            _relocate(relocation, data, output.address, starts[id(relocation.section)], places, reporter)
    return bytes(data)


def _relocate(
    relocation: Relocation, data: bytearray, base: int, start: int, places: Places, reporter: Reporter
) -> None:
    """Adds the value of a `.reloc` to what is there; its place is an address, or counted from the section."""
    where = relocation.statement.locate()
    try:
        place, value = evaluate(relocation.place, places).offset, evaluate(relocation.value, places).offset
    except Unresolved as reason:
        reporter.error(f"cannot compute this value: {reason}", where)
        return
    offset = start + place if isinstance(relocation.place, Number) else place - base
    end = offset + relocation.width
    if not start <= offset <= end <= len(data):
        reporter.error("this place is not in the section", where)
        return
    value += int.from_bytes(data[offset:end], "little")
    value -= base + offset if relocation.relative else 0
    data[offset:end] = (value & (1 << 8 * relocation.width) - 1).to_bytes(relocation.width, "little")


def _apply(fixup: Fixup, region: Region, address: int, places: Places, reporter: Reporter) -> None:
    where = fixup.statement.locate(fixup.start, fixup.end)
    value = _value(fixup.value, fixup, places, reporter)
    bits = 8 * fixup.width
    if fixup.relative:
        value -= address + fixup.offset + fixup.width
        value = ((value + (1 << 31)) & 0xFFFF_FFFF) - (1 << 31)  # EIP wraps at 4 GiB
        fits = bits >= 32 or -(1 << bits - 1) <= value < 1 << bits - 1
        message = f"target is {value} bytes away: out of reach of this instruction"
    else:
        fits = _fits(value, bits)
        message = f"value 0x{value & (1 << 64) - 1:x} does not fit into {bits} bits"
    if not fits:
        reporter.error(message, where)
    field = (value & (1 << bits) - 1).to_bytes(fixup.width, "little")
    region.data[fixup.offset : fixup.offset + fixup.width] = field


def _fits(value: int, bits: int) -> bool:
    """Whether a field can hold a value. Addresses wrap at 4 GiB, so their sums and differences may."""
    if bits == 32:
        return -(1 << 32) <= value < 1 << 33
    return bits > 32 or -(1 << bits - 1) <= value < 1 << bits


def _value(node: Node, source: Fixup | Branch | Leb, places: Places, reporter: Reporter) -> int:
    try:
        value = evaluate(node, places)
        if value.base is None:
            return value.offset
        reason = "it depends on a symbol without a value"
    except Unresolved as unresolved:
        reason = str(unresolved)
    where = source.statement.locate(source.start, source.end)
    reporter.error(f"cannot compute this value: {reason}", where)
    return 0


def _tail(region: Region, address: int, section: UnitSection, places: Places, reporter: Reporter) -> bytes:
    """The bytes after a region, at `address`."""
    tail, size = region.tail, region.tail_size
    if isinstance(tail, Branch):
        return _branch(tail, address + size, places, reporter)
    if isinstance(tail, Align):
        return _padding(tail, size, section, reporter)
    if isinstance(tail, Leb):
        return leb128(_value(tail.value, tail, places, reporter), is_signed=tail.is_signed)
    return (tail.fill * size)[:size] if isinstance(tail, Gap) else b""


def _branch(branch: Branch, next_address: int, places: Places, reporter: Reporter) -> bytes:
    target = _value(branch.target, branch, places, reporter)
    distance = target - next_address
    if branch.is_long:
        return branch.prefix + branch.long_opcode + (distance & 0xFFFFFFFF).to_bytes(4, "little")
    return branch.prefix + bytes([branch.short_opcode, distance & 0xFF])


def _padding(align: Align, size: int, section: UnitSection, reporter: Reporter) -> bytes:
    if align.fill is None:
        return code_padding(size) if section.is_code else bytes(size)
    whole, rest = divmod(size, len(align.fill))
    if rest:
        message = f"padding of {size} bytes is no multiple of the {len(align.fill)} bytes that fill it"
        reporter.error(message, align.statement.locate())
    return align.fill * whole + bytes(rest)


def line_rows(outputs: Sequence[Placed]) -> tuple[tuple[str, ...], tuple[LineRow, ...]]:
    """The files, and one row per instruction by address; those of a macro belong to the line of its use."""
    files: dict[str, int] = {}
    rows: list[LineRow] = []
    for output in outputs:
        for section, offset in output.pieces:
            for region in section.regions:
                start = output.address + offset + region.offset
                for item in region.instructions:
                    file, line = _origin(item.statement)
                    index = files.setdefault(file, len(files))
                    address = start + (region.size if item.offset is None else item.offset)
                    size = region.tail_size if item.offset is None else item.size
                    rows.append(LineRow(address, size, index, line))
    rows.sort(key=lambda row: row.address)
    return tuple(files), tuple(rows)


def _origin(statement: Statement) -> tuple[str, int]:
    """The file and line a reader of the source would name."""
    line = statement.line
    for expansion in line.expansions:
        if not expansion.included:
            return expansion.file, expansion.line
    return line.file, line.number
