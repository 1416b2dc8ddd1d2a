"""The bytes and line rows of linked sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.asm.evaluation import Unresolved, evaluate
from paravane.asm.model import Align, Branch, Gap
from paravane.asm.program import SHT_NOBITS, LineRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.asm.diagnostics import Reporter
    from paravane.asm.evaluation import Places
    from paravane.asm.model import Fixup, Node, Region, UnitSection
    from paravane.asm.source import Statement

# The multi-byte NOPs of the Intel SDM (volume 2, NOP), by length.
_NOPS = [
    b"", b"\x90", b"\x66\x90", b"\x0f\x1f\x00", b"\x0f\x1f\x40\0", b"\x0f\x1f\x44\0\0",
    b"\x66\x0f\x1f\x44\0\0", b"\x0f\x1f\x80\0\0\0\0", b"\x0f\x1f\x84\0\0\0\0\0",
    b"\x66\x0f\x1f\x84\0\0\0\0\0",
]  # fmt: skip


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


def nops(size: int) -> bytes:
    """`size` bytes of code that does nothing, in as few instructions as possible."""
    longest = len(_NOPS) - 1
    return _NOPS[longest] * (size // longest) + _NOPS[size % longest]


def section_bytes(output: Placed, places: Places, reporter: Reporter) -> bytes:
    """The contents of an output section; values that do not fit are reported."""
    if output.kind == SHT_NOBITS:
        return b""
    data = bytearray()
    for section, offset in output.pieces:
        gap = offset - len(data)
        data += nops(gap) if section.is_code else bytes(gap)
        for region in section.regions:
            address = output.address + offset + region.offset
            for fixup in region.fixups:
                _apply(fixup, region, address, places, reporter)
            data += region.data
            data += _tail(region, address + region.size, section, places, reporter)
    return bytes(data)


def _apply(fixup: Fixup, region: Region, address: int, places: Places, reporter: Reporter) -> None:
    where = fixup.statement.locate(fixup.start, fixup.end)
    value = _value(fixup.value, fixup, places, reporter)
    bits = 8 * fixup.width
    if fixup.relative:
        value -= address + fixup.offset + fixup.width
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


def _value(node: Node, source: Fixup | Branch, places: Places, reporter: Reporter) -> int:
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
    """The bytes behind a region, at `address`."""
    tail, size = region.tail, region.tail_size
    if isinstance(tail, Branch):
        return _branch(tail, address + size, places, reporter)
    if isinstance(tail, Align):
        return _padding(tail, size, section)
    return (tail.fill * size)[:size] if isinstance(tail, Gap) else b""


def _branch(branch: Branch, next_address: int, places: Places, reporter: Reporter) -> bytes:
    target = _value(branch.target, branch, places, reporter)
    distance = target - next_address
    if branch.is_long:
        return branch.prefix + branch.long_opcode + (distance & 0xFFFFFFFF).to_bytes(4, "little")
    return branch.prefix + bytes([branch.short_opcode, distance & 0xFF])


def _padding(align: Align, size: int, section: UnitSection) -> bytes:
    if align.fill is None:
        return nops(size) if section.is_code else bytes(size)
    whole, rest = divmod(size, len(align.fill))
    return bytes(rest) + align.fill * whole


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
