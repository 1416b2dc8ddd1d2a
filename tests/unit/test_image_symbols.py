"""Names and source lines of a kernel's addresses."""

import struct

import pytest

from paravane.abi.elfnote import ElfNote
from paravane.asm.elf_writer import write_elf
from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHT_NOTE,
    SHT_PROGBITS,
    LineRow,
    Program,
    Section,
)
from paravane.image import Image, load_image
from paravane.image import lines as lines_module
from paravane.image.elf import MAX_SYMBOL_NAME, MAX_SYMBOLS, SYMBOL_SIZE
from paravane.text import file_name, printable
from paravane.tools.disasm import disassemble
from paravane.tools.info import describe
from tests.support.elfwriter import (
    SHN_ABS,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_LOCAL,
    STT_FILE,
    STT_SECTION,
    ElfSection,
    ElfSymbol,
    kernel,
    xen_notes,
)
from tests.support.work import lines_executed
from tests.unit.test_image_dwarf_lines import line_unit

BASE = 0x1000
COPY = 1
"""DW_LNS_copy: another row of the line table (DWARF 4, 6.2.5.2)."""


def with_symbols(*symbols: ElfSymbol) -> Image:
    elf = kernel(bytes(0x100))
    elf.sections = [ElfSection(".text", SHT_PROGBITS, b"", {"sh_flags": SHF_EXECINSTR, "sh_size": 0x80})]
    elf.symbols = list(symbols)
    return load_image(elf.pack())


def symbol_entry(name: int, value: int) -> bytes:
    return struct.pack("<IIIBBH", name, value, 0, 0x12, 0, 1)


def with_lines() -> Program:
    notes = xen_notes({ElfNote.VIRT_BASE: 0, ElfNote.ENTRY: BASE})
    sections = (
        Section(".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 16, BASE, b"\x90" * 32, 32),
        Section(".note.Xen", SHT_NOTE, SHF_ALLOC, 4, 2 * BASE, notes, len(notes)),
    )
    rows = (LineRow(BASE, 1, 0, 10), LineRow(BASE + 1, 4, 0, 11), LineRow(BASE + 16, 2, 1, 3))
    return Program(BASE, sections, (), ("kernel.S", "lib/print.inc"), rows)


def test_an_address_has_the_nearest_symbol_below() -> None:
    image = with_symbols(ElfSymbol("second", 0x20), ElfSymbol("first", 0x10))
    assert image.symbol_at(0x10) == ("first", 0)
    assert image.symbol_at(0x1F) == ("first", 15)
    assert image.symbol_at(0x24) == ("second", 4)
    assert image.symbol_at(0x0F) is None
    assert image.symbol_at(0x100) is None
    assert image.symbols.address_of("second") == 0x20
    assert image.symbols.address_of("third") is None


def test_a_global_symbol_wins_over_a_local_one() -> None:
    image = with_symbols(
        ElfSymbol("entry", 0x10),
        ElfSymbol("alias", 0x10, binding=STB_LOCAL),
        ElfSymbol("entry", 0x30, binding=STB_LOCAL),
    )
    assert image.symbol_at(0x10) == ("entry", 0)
    assert image.symbols.address_of("entry") == 0x10


def test_symbols_that_name_no_address_are_left_out() -> None:
    image = with_symbols(
        ElfSymbol("kernel.c", 0, kind=STT_FILE),
        ElfSymbol(".text", 0, kind=STT_SECTION),
        ElfSymbol("elsewhere", 0, section=0),
        ElfSymbol("constant", 0, section=SHN_ABS),
    )
    assert len(image.symbols) == 0


def test_symbol_names_cannot_drive_a_terminal() -> None:
    image = with_symbols(ElfSymbol("\x1b]0;title\x07\n", 0x10), ElfSymbol("\u202ereversed", 0x20))
    assert image.symbol_at(0x10) == ("\\x1b]0;title\\x07\\x0a", 0)
    assert image.symbol_at(0x20) == ("\\xe2\\x80\\xaereversed", 0)
    assert printable(b"\xff\x1b[2J\x7f\xc3\xa9cut", 8) == "\\xff\\x1b[2J\\x7f\\xc3\\xa9"
    assert file_name(b"\xff\x1b[2J\x7f\xc3\xa9cut", 8) == "\\xff\\x1b[2J\\x7f\u00e9"
    assert file_name(b"\xe2\x80\xae\xc3\xa9", 4) == "\\u202e\\xc3", "what turns a line round; a half letter"


def test_symbol_names_end_with_their_table_and_are_cut() -> None:
    elf = kernel(bytes(0x100))
    entries = (symbol_entry(0, 0), symbol_entry(1, 0x10), symbol_entry(900, 0x20), symbol_entry(1000, 0x30))
    table = {"sh_link": 2, "sh_entsize": 0}
    elf.sections = [
        ElfSection(".symtab", SHT_SYMTAB, b"".join(entries) + b"part", table),
        ElfSection(".strtab", SHT_STRTAB, b"\0" + b"n" * 999),
    ]
    image = load_image(elf.pack())
    assert image.symbol_at(0x10) == ("n" * MAX_SYMBOL_NAME, 0)
    assert image.symbol_at(0x20) == ("n" * 100, 0)
    assert image.symbol_at(0x30) == ("n" * 100, 0x10)
    assert image.symbols.problem == ""


def test_too_large_a_symbol_table_is_told_and_harms_nothing() -> None:
    elf = kernel(bytes(0x100))
    elf.sections = [
        ElfSection(".symtab", SHT_SYMTAB, bytes(SYMBOL_SIZE * (MAX_SYMBOLS + 1)), {"sh_link": 2}),
        ElfSection(".strtab", SHT_STRTAB, b"\0"),
    ]
    image = load_image(elf.pack())
    assert image.symbol_at(0) is None
    assert (
        image.symbols.problem == "its symbols cannot be read: the symbol table has more than 262144 entries"
    )
    assert (
        list(disassemble(elf.pack()))[0]
        == "; there are no labels: the symbol table has more than 262144 entries"
    )
    assert f"0; {image.symbols.problem}\n" in describe(image)


def test_an_image_without_a_symbol_table_has_no_symbols() -> None:
    image = load_image(kernel().pack())
    assert len(image.symbols) == 0
    assert image.symbol_at(0) is None


def test_code_is_what_executable_sections_hold() -> None:
    image = with_symbols(ElfSymbol("start", 0))
    assert image.is_code(0x7F)
    assert not image.is_code(0x80)


def test_without_sections_code_is_the_file_bytes_of_executable_segments() -> None:
    image = load_image(kernel(bytes(0x40), memory_size=0x80).pack())
    assert image.is_code(0x3F)
    assert not image.is_code(0x40)


def test_an_address_has_the_source_line_of_its_instruction() -> None:
    image = load_image(write_elf(with_lines()))
    assert image.line_at(BASE) == ("kernel.S", 10)
    assert image.line_at(BASE + 4) == ("kernel.S", 11)
    assert image.line_at(BASE + 17) == ("lib/print.inc", 3)
    assert image.line_at(BASE + 8) is None
    assert image.line_at(BASE + 18) is None
    assert image.line_at(0x100000) is None
    assert image.lines.problem == ""


def test_a_file_with_whole_names_is_the_same_otherwise() -> None:
    image = load_image(write_elf(with_lines()))
    whole = load_image(lines_module.with_whole_names(image.elf, lambda name: f"/sources/{name}"))
    assert whole.line_at(BASE + 4) == ("/sources/kernel.S", 11)
    assert whole.line_at(BASE + 17) == ("/sources/lib/print.inc", 3)
    assert [row for row, _ in whole.lines.rows()] == [row for row, _ in image.lines.rows()]
    assert [one for one in whole.elf.sections if whole.elf.section_name(one) != ".debug_line"] == [
        one for one in image.elf.sections if image.elf.section_name(one) != ".debug_line"
    ]
    plain = load_image(kernel().pack()).elf
    assert lines_module.with_whole_names(plain, lambda _: "") == plain.data


def test_damaged_line_tables_are_told_and_harm_nothing() -> None:
    data = write_elf(with_lines())
    table = load_image(data).elf.section_named(".debug_line")
    assert table is not None
    problems = set()
    for position in range(table.sh_offset, table.sh_offset + table.sh_size):
        broken = bytearray(data)
        broken[position] ^= 0xFF
        image = load_image(bytes(broken))
        image.line_at(BASE)
        load_image(lines_module.with_whole_names(image.elf, lambda name: f"/{name}"))
        problems.add(image.lines.problem)
    assert any("damaged" in problem for problem in problems)


@pytest.mark.parametrize(
    ("limit", "value", "problem"),
    [
        ("MAX_TABLE", 1 << 20, "its line tables are larger than 1 MiB"),
        ("MAX_ROWS", 5000, "its line tables have more than 5000 rows"),
    ],
)
def test_too_large_line_tables_are_told_and_cost_no_more_than_allowed(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int, problem: str
) -> None:
    """A million rows of one address, so that nothing but their number tells that they are many."""
    monkeypatch.setattr(lines_module, limit, value)
    elf = kernel(bytes(0x100))
    elf.sections = [ElfSection(".debug_line", SHT_PROGBITS, line_unit(bytes((COPY,)) * (1 << 20)))]
    image = load_image(elf.pack())
    assert lines_executed(lambda: image.lines) < 200_000
    assert image.lines.problem == problem
    assert f"; {problem}\n" in describe(image)


def test_an_image_without_line_tables_has_no_lines() -> None:
    image = load_image(kernel().pack())
    assert image.line_at(0) is None
    assert len(image.lines) == 0
