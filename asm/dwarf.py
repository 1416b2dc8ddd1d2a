"""DWARF 4 for assembled programs: one compile unit whose line table maps addresses to source lines.

Chapter numbers in comments are those of the DWARF Debugging Information Format, version 4.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from paravane.asm.leb128 import sleb128, uleb128

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.asm.program import LineRow, Program

PRODUCER = "paravane asm"
VERSION = 4
ADDRESS_SIZE = 4

# 6.2.5: the line number program. A special opcode advances address and line at once.
LINE_BASE, LINE_RANGE, OPCODE_BASE = -5, 14, 13
STANDARD_OPCODE_LENGTHS = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))
DW_LNS_copy, DW_LNS_advance_pc, DW_LNS_advance_line, DW_LNS_set_file = 1, 2, 3, 4
DW_LNE_end_sequence, DW_LNE_set_address = 1, 2

# 7.5: the one debugging information entry.
DW_TAG_compile_unit, DW_CHILDREN_no = 0x11, 0
DW_AT_name, DW_AT_stmt_list, DW_AT_low_pc, DW_AT_language = 0x03, 0x10, 0x11, 0x13
DW_AT_producer, DW_AT_ranges = 0x25, 0x55
DW_FORM_addr, DW_FORM_data2, DW_FORM_strp, DW_FORM_sec_offset = 0x01, 0x05, 0x0E, 0x17
DW_LANG_Mips_Assembler = 0x8001  # what every toolchain says for assembly, whatever the processor

UNIT_ATTRIBUTES = (
    (DW_AT_producer, DW_FORM_strp),
    (DW_AT_language, DW_FORM_data2),
    (DW_AT_name, DW_FORM_strp),
    (DW_AT_stmt_list, DW_FORM_sec_offset),
    (DW_AT_low_pc, DW_FORM_addr),
    (DW_AT_ranges, DW_FORM_sec_offset),
)


def debug_sections(program: Program) -> list[tuple[str, bytes]]:
    """The .debug_* sections of a program as (name, bytes); none when it has no line rows."""
    if not program.lines:
        return []
    sequences = _sequences(program.lines)
    strings = _text(PRODUCER) + _text(program.files[0])
    return [
        (".debug_line", _line_table(program.files, sequences)),
        (".debug_info", _unit(name_offset=len(PRODUCER) + 1)),
        (".debug_abbrev", _abbreviations()),
        (".debug_str", strings),
        (".debug_ranges", _ranges(sequences)),
    ]


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"


def _sequences(rows: Iterable[LineRow]) -> list[list[LineRow]]:
    """Rows in address order, cut at every gap: padding and data between code belong to no line."""
    sequences: list[list[LineRow]] = []
    for row in sorted((row for row in rows if row.size), key=lambda row: row.address):
        if sequences and sequences[-1][-1].address + sequences[-1][-1].size == row.address:
            sequences[-1].append(row)
        else:
            sequences.append([row])
    return sequences


def _sequence_end(sequence: list[LineRow]) -> int:
    return sequence[-1].address + sequence[-1].size


def _line_table(files: tuple[str, ...], sequences: list[list[LineRow]]) -> bytes:
    """.debug_line (6.2.4): header with the file names as given, then one program for each sequence."""
    names = b"".join(_text(name) + bytes(3) for name in files)  # directory, time and length unknown: 0
    tables = STANDARD_OPCODE_LENGTHS + b"\0" + names + b"\0"
    fixed = struct.pack("<BBBbBB", 1, 1, 1, LINE_BASE, LINE_RANGE, OPCODE_BASE)
    header = fixed + tables
    body = b"".join(_sequence_program(sequence) for sequence in sequences)
    unit = struct.pack("<HI", VERSION, len(header)) + header + body
    return struct.pack("<I", len(unit)) + unit


def _sequence_program(sequence: list[LineRow]) -> bytes:
    """The opcodes of one sequence: only rows that change file or line matter, the rest they imply."""
    out = bytearray((0, 1 + ADDRESS_SIZE, DW_LNE_set_address))
    out += struct.pack("<I", sequence[0].address)
    address, file, line = sequence[0].address, 0, 1
    first = True
    for row in sequence:
        if not first and (row.file, row.line) == (file, line):
            continue
        if row.file != file:
            out += bytes((DW_LNS_set_file,)) + uleb128(row.file + 1)
        out += _advance(row.address - address, row.line - line)
        address, file, line, first = row.address, row.file, row.line, False
    out += bytes((DW_LNS_advance_pc,)) + uleb128(_sequence_end(sequence) - address)
    return bytes(out) + bytes((0, 1, DW_LNE_end_sequence))


def _advance(address: int, line: int) -> bytes:
    """One row `address` bytes and `line` lines further, as a special opcode when it fits (6.2.5.1)."""
    if LINE_BASE <= line < LINE_BASE + LINE_RANGE:
        special = line - LINE_BASE + LINE_RANGE * address + OPCODE_BASE
        if special <= 0xFF:
            return bytes((special,))
    out = b""
    if line:
        out += bytes((DW_LNS_advance_line,)) + sleb128(line)
    if address:
        out += bytes((DW_LNS_advance_pc,)) + uleb128(address)
    return out + bytes((DW_LNS_copy,))


def _unit(name_offset: int) -> bytes:
    """.debug_info (7.5.1.1): the attributes in UNIT_ATTRIBUTES order; low_pc 0 is the base of the ranges."""
    entry = uleb128(1) + struct.pack("<IHIIII", 0, DW_LANG_Mips_Assembler, name_offset, 0, 0, 0)
    unit = struct.pack("<HIB", VERSION, 0, ADDRESS_SIZE) + entry
    return struct.pack("<I", len(unit)) + unit


def _abbreviations() -> bytes:
    pairs = b"".join(uleb128(name) + uleb128(form) for name, form in UNIT_ATTRIBUTES)
    return uleb128(1) + uleb128(DW_TAG_compile_unit) + bytes((DW_CHILDREN_no,)) + pairs + bytes(3)


def _ranges(sequences: list[list[LineRow]]) -> bytes:
    """.debug_ranges (2.17.3): pairs of start and end, closed by a pair of zeros."""
    bounds = [(sequence[0].address, _sequence_end(sequence)) for sequence in sequences]
    pairs = [struct.pack("<II", start, min(end, 0xFFFFFFFF)) for start, end in bounds]
    return b"".join(pairs) + bytes(8)
