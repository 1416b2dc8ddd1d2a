"""Reads `.debug_line`, DWARF versions 2 to 5 in the 32-bit format, from files that nobody vouches for.

pyelftools is no help: a version 5 header can count names of no bytes each without end, and it makes
them all.
Every loop consumes bytes of the section, so time and memory are bounded by its size whatever the bytes say.
Section numbers in comments are those of the DWARF 5 standard.
"""

from __future__ import annotations

import os
from dataclasses import field
from enum import IntEnum
from typing import TYPE_CHECKING

from paravane.classes import NamedTuple, dataclass
from paravane.text import file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_NAME = 512  # bytes of a file name; many entries may share one huge string

MAX_RENAMED = 4096  # files of one table: each may be looked for in several folders

DW_LNCT_path, DW_LNCT_directory_index = 1, 2


class _Form(IntEnum):
    """DW_FORM_*: how a value is stored (7.5.6)."""

    data2, data4, data8, string, block = 0x05, 0x06, 0x07, 0x08, 0x09
    data1, strp, udata, data16, line_strp = 0x0B, 0x0E, 0x0F, 0x1E, 0x1F


class _Opcode(IntEnum):
    """DW_LNS_*, the standard opcodes that matter here (6.2.5.2)."""

    extended, copy, advance_pc, advance_line, set_file = 0, 1, 2, 3, 4
    const_add_pc, fixed_advance_pc = 8, 9


END_SEQUENCE, SET_ADDRESS = b"\x01", b"\x02"  # DW_LNE_*, the extended opcodes (6.2.5.3)
_FIXED_SIZES = {int(_Form.data1): 1, int(_Form.data2): 2, int(_Form.data4): 4, int(_Form.data8): 8}


class LineTableError(ValueError):
    """The line table is damaged or of an unknown kind; the message is one sentence."""


class Line(NamedTuple):
    """From `address` on the code comes from `line` of `file`; line 0 ends what the table knows."""

    address: int
    file: str
    line: int


@dataclass(slots=True)
class _Cursor:
    data: bytes
    at: int
    end: int

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if size < 0 or self.at > self.end:
            raise LineTableError(f"it ends in the middle of an item at offset {start:#x}")
        return self.data[start : self.at]

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def uleb(self) -> int:
        """7.6: seven bits a byte; ten bytes hold any 64-bit number."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise LineTableError(f"it has a number of more than 64 bits at offset {self.at - 10:#x}")

    def sleb(self) -> int:
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def string(self) -> bytes:
        zero = self.data.find(b"\0", self.at, self.end)
        if zero < 0:
            raise LineTableError(f"it has a string without an end at offset {self.at:#x}")
        return self.take(zero + 1 - self.at)[:-1]


@dataclass(slots=True)
class _Unit:
    """The header of one line number program (6.2.4) and the names it gives to file numbers."""

    min_instruction: int
    line_base: int
    line_range: int
    opcode_base: int
    argument_counts: bytes
    directories: list[str] = field(default_factory=list)
    files: dict[int, str] = field(default_factory=dict)

    def add_file(self, number: int, name: str, directory: int) -> None:
        folder = self.directories[directory] if directory < len(self.directories) else ""
        self.files[number] = f"{folder}/{name}" if folder and not name.startswith("/") else name


def read_lines(lines: bytes, line_strings: bytes = b"", strings: bytes = b"") -> Iterator[Line]:
    """All rows of all line number programs in a `.debug_line` section, in file order.

    `line_strings` and `strings` are the `.debug_line_str` and `.debug_str` sections that version 5 refers to.
    Raises LineTableError at the first thing that makes no sense; the rows before it are good.
    """
    at = 0
    while at < len(lines):
        head = _Cursor(lines, at, len(lines))
        length = head.number(4)
        if length >= 0xFFFFFFF0:
            raise LineTableError("it is in the 64-bit format, which 32-bit kernels have no use for")
        if head.at + length > len(lines):
            raise LineTableError(f"the unit at offset {at:#x} is longer than the section")
        cursor = _Cursor(lines, head.at, head.at + length)
        yield from _run(cursor, _read_header(cursor, line_strings, strings))
        at = cursor.end


def renamed(lines: bytes, whole: Callable[[str], str]) -> bytes:
    """A `.debug_line` section in which the files that are in no folder have the names that `whole` makes of
    theirs. As it was, unless it is one unit of version 2 to 4 (other sections tell where further ones start,
    and version 5 keeps its names elsewhere) with at most MAX_RENAMED files. Raises LineTableError."""
    cursor = _Cursor(lines, 0, len(lines))
    if cursor.number(4) != len(lines) - 4 or not 2 <= (version := cursor.number(2)) <= 4:
        return lines
    program = cursor.at + 4 + cursor.number(4)
    tables = cursor.at
    cursor.take(5 if version >= 4 else 4)  # all that comes before the opcode base
    cursor.take(cursor.number(1) - 1)
    while cursor.string():
        pass  # a folder
    files = cursor.at
    named, count = bytearray(), 0
    while name := cursor.string():
        if (count := count + 1) > MAX_RENAMED:
            return lines
        start = cursor.at
        in_folder = cursor.uleb()
        cursor.uleb()  # time
        cursor.uleb()  # length
        named += (name if in_folder else os.fsencode(whole(os.fsdecode(name)))) + b"\0"
        named += lines[start : cursor.at]
    if cursor.at > program:
        raise LineTableError("its header does not end where it says")
    head = lines[tables:files] + named + lines[cursor.at - 1 : program]
    unit = lines[4:6] + len(head).to_bytes(4, "little") + head + lines[program:]
    return len(unit).to_bytes(4, "little") + unit


def _read_header(cursor: _Cursor, line_strings: bytes, strings: bytes) -> _Unit:
    version = cursor.number(2)
    if not 2 <= version <= 5:
        raise LineTableError(f"it has version {version}; versions 2 to 5 are known")
    if version == 5 and cursor.number(2) != 4:  # address size 4, no segment selectors
        raise LineTableError("its addresses are not plain 32-bit ones")
    length = cursor.number(4)
    program = cursor.at + length
    min_instruction = cursor.number(1)
    cursor.take(2 if version >= 4 else 1)  # operations per instruction, default_is_stmt
    line_base, line_range, opcode_base = cursor.number(1, signed=True), cursor.number(1), cursor.number(1)
    if not line_range or not opcode_base:
        raise LineTableError("its header has a zero line range or opcode base")
    unit = _Unit(min_instruction, line_base, line_range, opcode_base, cursor.take(opcode_base - 1))
    if version == 5:
        _read_names_5(cursor, unit, line_strings, strings)
    else:
        _read_names_2(cursor, unit)
    if not cursor.at <= program <= cursor.end:
        raise LineTableError("its header does not end where it says")
    cursor.at = program
    return unit


def _read_names_2(cursor: _Cursor, unit: _Unit) -> None:
    """Versions 2 to 4: strings until an empty one; directory 0 is the compilation's, which is not here."""
    unit.directories.append("")
    while name := cursor.string():
        unit.directories.append(file_name(name, MAX_NAME))
    number = 0
    while name := cursor.string():
        number += 1
        directory = cursor.uleb()
        cursor.uleb()  # time
        cursor.uleb()  # length
        unit.add_file(number, file_name(name, MAX_NAME), directory)


def _read_names_5(cursor: _Cursor, unit: _Unit, line_strings: bytes, strings: bytes) -> None:
    """6.2.4.1: entries whose fields and forms the header describes; directory 0 is the compilation's."""
    for name, _ in _read_entries(cursor, line_strings, strings):
        unit.directories.append(name)
    for number, (name, directory) in enumerate(_read_entries(cursor, line_strings, strings)):
        unit.add_file(number, name, directory)


def _read_entries(cursor: _Cursor, line_strings: bytes, strings: bytes) -> Iterator[tuple[str, int]]:
    formats = [(cursor.uleb(), cursor.uleb()) for _ in range(cursor.number(1))]
    count = cursor.uleb()
    if count and not formats:
        raise LineTableError("its header counts names that take no bytes")
    for _ in range(count):
        name, directory = "", 0
        for content, form in formats:
            value = _read_form(cursor, form, line_strings, strings)
            if content == DW_LNCT_path and isinstance(value, bytes):
                name = file_name(value, MAX_NAME)
            elif content == DW_LNCT_directory_index and isinstance(value, int):
                directory = value
        yield name, directory


def _read_form(cursor: _Cursor, form: int, line_strings: bytes, strings: bytes) -> bytes | int:
    """One value; every form known here takes at least one byte, so a huge count cannot last."""
    if form in _FIXED_SIZES:
        return cursor.number(_FIXED_SIZES[form])
    match form:
        case _Form.string:
            return cursor.string()
        case _Form.strp:
            return _string_at(strings, cursor.number(4))
        case _Form.line_strp:
            return _string_at(line_strings, cursor.number(4))
        case _Form.udata:
            return cursor.uleb()
        case _Form.data16:
            return cursor.take(16)
        case _Form.block:
            return cursor.take(cursor.uleb())
    raise LineTableError(f"its header has a name in the unknown form {form:#x}")


def _string_at(table: bytes, offset: int) -> bytes:
    return table[offset : offset + MAX_NAME].partition(b"\0")[0]


def _run(cursor: _Cursor, unit: _Unit) -> Iterator[Line]:
    """The state machine of 6.2.2, as far as address, file and line go."""
    address, file, line = 0, 1, 1
    step = unit.min_instruction
    while cursor.at < cursor.end:
        opcode = cursor.number(1)
        if opcode >= unit.opcode_base:
            advance, delta = divmod(opcode - unit.opcode_base, unit.line_range)
            address, line = address + advance * step, line + unit.line_base + delta
            yield _row(unit, address, file, line)
            continue
        match opcode:
            case _Opcode.extended:
                body = cursor.take(cursor.uleb())
                if body[:1] == END_SEQUENCE:
                    yield Line(address & 0xFFFFFFFF, "", 0)
                    address, file, line = 0, 1, 1
                elif body[:1] == SET_ADDRESS:
                    address = int.from_bytes(body[1:5], "little")
            case _Opcode.copy:
                yield _row(unit, address, file, line)
            case _Opcode.advance_pc:
                address += cursor.uleb() * step
            case _Opcode.advance_line:
                line += cursor.sleb()
            case _Opcode.set_file:
                file = cursor.uleb()
            case _Opcode.const_add_pc:
                address += (255 - unit.opcode_base) // unit.line_range * step
            case _Opcode.fixed_advance_pc:
                address += cursor.number(2)
            case _:
                for _ in range(unit.argument_counts[opcode - 1]):
                    cursor.uleb()


def _row(unit: _Unit, address: int, file: int, line: int) -> Line:
    return Line(address & 0xFFFFFFFF, unit.files.get(file, "?"), max(1, line))
