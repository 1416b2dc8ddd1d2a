"""Rows of `.org`: tables with gaps, as system-call tables are written."""

import struct

from paravane.asm import assemble_text

TABLE = """
    .globl _start
    .text
_start:
    ret
.macro ROW number
    .org table + 4 * \\number
    .long \\number
.endm
    .section .rodata.table, "a"
    .balign 16
table:
    .irp number, 1, 2, 3, 7, 8, 20
    ROW \\number
    .endr
    .org table + 4 * 24
"""


def test_table_of_origins_has_each_entry_at_its_place() -> None:
    program = assemble_text(TABLE)
    (section,) = [section for section in program.sections if section.name == ".rodata.table"]
    words = struct.unpack("<24I", section.data)
    assert words == tuple(number if number in {1, 2, 3, 7, 8, 20} else 0 for number in range(24))
