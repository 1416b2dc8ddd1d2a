"""The reader of line tables: every opcode, every kind of damage, and no input without an end."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from paravane.image.dwarf_lines import MAX_NAME, MAX_RENAMED, Line, LineTableError, read_lines, renamed

if TYPE_CHECKING:
    from collections.abc import Callable


def line_unit(body: bytes, version: int = 4) -> bytes:
    header = struct.pack("<BBBbBB", 1, 1, 1, -5, 14, 13) + bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))
    header += b"\0" + b"k.S\0\0\0\0" + b"\0"
    unit = struct.pack("<HI", version, len(header)) + header + body
    return struct.pack("<I", len(unit)) + unit


def test_every_standard_opcode_moves_the_row_as_the_standard_says() -> None:
    body = bytes((0, 5, 2, 0, 0x10, 0, 0))  # set_address 0x1000
    body += bytes((3, 9, 1))  # advance_line 9, copy
    body += bytes((8, 9, 0x34, 0x12, 2, 0x81, 1, 3, 0x7E, 1))  # const_add_pc, +0x1234, +129, line -2, copy
    body += bytes((5, 1, 6, 7, 10, 11, 12, 1, 0, 2, 4, 7))  # opcodes without effect here
    body += bytes((18 + 14,)) + bytes((0, 1, 1))  # special: one byte on, same line; end_sequence
    second = 0x1000 + 17 + 0x1234 + 129
    assert list(read_lines(line_unit(body))) == [
        Line(0x1000, "k.S", 10),
        Line(second, "k.S", 8),
        Line(second + 1, "k.S", 8),
        Line(second + 1, "", 0),
    ]


def test_several_units_follow_each_other() -> None:
    unit = line_unit(bytes((0, 5, 2, 0, 0x10, 0, 0, 1)))
    assert list(read_lines(unit * 3)) == [Line(0x1000, "k.S", 1)] * 3


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (b"\xff\xff\xff\xff" + bytes(20), "64-bit format"),
        (line_unit(b"", version=9), "version 9"),
        (line_unit(b"")[:-1], "longer than the section"),
        (line_unit(b"\0\x7f\2"), "middle of an item"),
        (line_unit(b"\2" + b"\xff" * 20), "more than 64 bits"),
        (b"\x01", "middle of an item"),
    ],
)
def test_damaged_line_tables_are_refused(table: bytes, complaint: str) -> None:
    with pytest.raises(LineTableError, match=complaint):
        list(read_lines(table))


def test_version_5_names_without_bytes_do_not_last() -> None:
    head = struct.pack("<BBBbBB", 1, 1, 1, -5, 14, 1) + b"\0" + b"\xff" * 8 + b"\x01"
    unit = struct.pack("<HBBI", 5, 4, 0, len(head)) + head
    with pytest.raises(LineTableError, match="names that take no bytes"):
        list(read_lines(struct.pack("<I", len(unit)) + unit))


def names_5(formats: bytes, count: bytes, entries: bytes) -> bytes:
    """A version 5 unit whose directories are as given; its file names and opcodes are empty."""
    head = struct.pack("<BBBbBB", 1, 1, 1, -5, 14, 1) + formats + count + entries + b"\0\0"
    unit = struct.pack("<HBBI", 5, 4, 0, len(head)) + head
    return struct.pack("<I", len(unit)) + unit


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (0x08, b"dir\0"),
        (0x0E, b"\1\0\0\0"),
        (0x1F, b"\2\0\0\0"),
        (0x0B, b"1"),
        (0x05, b"22"),
        (0x06, b"4444"),
        (0x07, b"88888888"),
        (0x0F, b"\x80\1"),
        (0x1E, bytes(16)),
        (0x09, b"\2ab"),
    ],
)
def test_version_5_forms_take_the_bytes_they_should(form: int, value: bytes) -> None:
    assert list(read_lines(names_5(bytes((1, 1, form)), b"\3", value * 3), b"xxstr\0", b"ystr\0")) == []


def test_version_5_form_that_is_unknown_is_refused() -> None:
    with pytest.raises(LineTableError, match="unknown form 0x21"):
        list(read_lines(names_5(b"\1\1\x21", b"\1", b"")))


def test_huge_shared_names_are_cut() -> None:
    files = b"\1\1\x1f" + b"\1" + bytes(4)
    head = struct.pack("<BBBbBB", 1, 1, 1, -5, 14, 13) + bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))
    head += b"\0\0" + files
    body = bytes((4, 0, 1))  # set_file 0, copy
    unit = struct.pack("<HBBI", 5, 4, 0, len(head)) + head + body
    (row,) = read_lines(struct.pack("<I", len(unit)) + unit, b"n" * 1_000_000)
    assert row.file == "n" * MAX_NAME


def test_files_are_renamed_and_nothing_else_changes() -> None:
    table = line_unit(bytes((0, 5, 2, 0, 0x10, 0, 0, 3, 9, 1, 8, 2, 0x81, 1, 40, 0, 1, 1)))
    rows = list(read_lines(table))
    for name in ("/a/longer/näme/k.S", "k"):
        names = {"k.S": name}
        renamed_rows = list(read_lines(renamed(table, names.__getitem__)))
        assert renamed_rows == [row._replace(file=name if row.line else "") for row in rows]
    assert renamed(table, lambda file: file) == table


@pytest.mark.parametrize(
    "table", [line_unit(b"") * 2, line_unit(b"", version=5), names_5(b"\1\1\x08", b"\0", b"")]
)
def test_a_table_that_others_point_into_stays_as_it_is(table: bytes) -> None:
    assert renamed(table, lambda _: "other") == table


@pytest.mark.parametrize(("files", "looked_for"), [(MAX_RENAMED, MAX_RENAMED), (100_000, MAX_RENAMED)])
def test_files_without_end_are_not_looked_for(files: int, looked_for: int) -> None:
    asked: list[str] = []

    def whole(name: str) -> str:
        asked.append(name)
        return f"/{name}"

    header = struct.pack("<BBBbBB", 1, 1, 1, -5, 14, 1) + b"\0" + b"k\0\0\0\0" * files + b"\0"
    unit = struct.pack("<HI", 4, len(header)) + header
    table = struct.pack("<I", len(unit)) + unit
    assert (renamed(table, whole) == table) == (files > MAX_RENAMED)
    assert len(asked) == looked_for


def test_a_file_in_a_folder_keeps_its_name() -> None:
    header = struct.pack("<BBBbBB", 1, 1, 1, -5, 14, 1) + b"folder\0\0" + b"k.S\0\1\0\0" + b"\0"
    unit = struct.pack("<HI", 4, len(header)) + header
    table = struct.pack("<I", len(unit)) + unit
    assert renamed(table, lambda _: "other") == table


def test_mutated_line_tables_end_in_rows_or_one_clear_error() -> None:
    chance = random.Random(3)
    unit = line_unit(bytes((0, 5, 2, 0, 0x10, 0, 0, 3, 9, 1, 8, 2, 0x81, 1, 40, 0, 1, 1)))
    calls: tuple[Callable[[bytes], object], ...] = (
        lambda table: list(read_lines(table * 3)),
        lambda table: renamed(table, lambda _: "other"),
    )
    for call in calls:
        ended = {"result": 0, "error": 0}
        for _ in range(5000):
            data = bytearray(unit)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.choice(
                    (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
                )
            try:
                call(bytes(data))
                ended["result"] += 1
            except LineTableError:
                ended["error"] += 1
        assert min(ended.values()) > 500
