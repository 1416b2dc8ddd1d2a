"""The ELF writer, judged by readers that are not ours: pyelftools, readelf and gdb."""

from __future__ import annotations

import io
import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from elftools.elf.segments import NoteSegment

from paravane.asm.elf_writer import ElfWriterError, write_elf
from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_PROGBITS,
    STB_GLOBAL,
    STB_LOCAL,
    STB_WEAK,
    STT_FILE,
    STT_FUNC,
    STT_NOTYPE,
    STT_OBJECT,
    LineRow,
    Program,
    Section,
    Symbol,
)
from tests.support.needs import tool

if TYPE_CHECKING:
    from pathlib import Path

    from elftools.dwarf.lineprogram import LineProgram

TEXT_AT, RODATA_AT, DATA_AT, BSS_AT = 0xC0100000, 0xC0101000, 0xC0102000, 0xC0102010
CODE = bytes.fromhex("b801000000") + b"\xcd\x82" + b"\x90" * 9 + b"\xc3"
PF_X, PF_W, PF_R = 1, 2, 4


def note(name: str, kind: int, desc: bytes, address: int) -> Section:
    header = (4).to_bytes(4, "little") + len(desc).to_bytes(4, "little") + kind.to_bytes(4, "little")
    data = header + b"Xen\0" + desc + bytes(-len(desc) % 4)
    return Section(name, SHT_NOTE, SHF_ALLOC, 4, address, data, len(data))


VERSION_NOTE = note(".note.Xen", 5, b"xen-3.0\0", RODATA_AT)
ENTRY_NOTE = note(".note.Xen.more", 1, TEXT_AT.to_bytes(4, "little"), RODATA_AT + VERSION_NOTE.size)
STRING_AT = RODATA_AT + VERSION_NOTE.size + ENTRY_NOTE.size


def sample(source: str = "k.S", macros: str = "inc/m.inc") -> Program:
    """A kernel with all kinds of sections; its line rows leave the padding between two runs of code out."""
    return Program(
        entry=TEXT_AT,
        sections=(
            Section(".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 16, TEXT_AT, CODE, len(CODE)),
            VERSION_NOTE,
            ENTRY_NOTE,
            Section(".rodata", SHT_PROGBITS, SHF_ALLOC, 1, STRING_AT, b"hi\0", 3),
            Section(".data", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 4, DATA_AT, b"\1\2\3\4" * 3, 12),
            Section(".bss", SHT_NOBITS, SHF_ALLOC | SHF_WRITE, 16, BSS_AT, b"", 0x5000),
            Section(".comment", SHT_PROGBITS, 0, 1, 0, b"built here\0", 11),
        ),
        symbols=(
            Symbol("_start", TEXT_AT, 17, 0, STB_GLOBAL, STT_FUNC),
            Symbol("local_loop", TEXT_AT + 7, 0, 0, STB_LOCAL, STT_NOTYPE),
            Symbol("counter", DATA_AT, 4, 4, STB_GLOBAL, STT_OBJECT),
            Symbol("SIZE", 0x1234, 0, None, STB_LOCAL, STT_NOTYPE),
            Symbol("handler", TEXT_AT + 16, 1, 0, STB_WEAK, STT_FUNC),
        ),
        files=(source, macros),
        lines=(
            LineRow(TEXT_AT, 5, 0, 3),
            LineRow(TEXT_AT + 5, 2, 1, 400),
            LineRow(TEXT_AT + 16, 1, 0, 5),
        ),
    )


def parse(program: Program) -> ELFFile:
    return ELFFile(io.BytesIO(write_elf(program)))


def run(name: str, *arguments: str) -> str:
    command = [tool(name), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert "arning" not in result.stderr, result.stderr
    return result.stdout


def symbol_table(program: Program) -> SymbolTableSection:
    table = parse(program).get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    return table


def line_program(program: Program) -> LineProgram:
    (unit,) = parse(program).get_dwarf_info().iter_CUs()
    lines = unit.dwarfinfo.line_program_for_CU(unit)
    assert lines is not None
    return lines


def image_file(tmp_path: Path, program: Program) -> str:
    path = tmp_path / "kernel.elf"
    path.write_bytes(write_elf(program))
    return str(path)


def test_header_says_i386_executable_with_entry() -> None:
    header = parse(sample()).header
    assert (header.e_type, header.e_machine, header.e_entry) == ("ET_EXEC", "EM_386", TEXT_AT)
    assert header.e_ident.EI_CLASS == "ELFCLASS32"


def test_sections_keep_name_address_and_bytes() -> None:
    elf = parse(sample())
    for section in sample().sections:
        found = elf.get_section_by_name(section.name)
        assert found is not None
        assert (found["sh_addr"], found["sh_size"], found["sh_flags"]) == (
            section.address,
            section.size,
            section.flags,
        )
        if section.kind != SHT_NOBITS:
            assert found.data() == section.data


def test_one_load_per_permission_group_at_congruent_offsets() -> None:
    loads = [s.header for s in parse(sample()).iter_segments() if s.header.p_type == "PT_LOAD"]
    assert [(h.p_vaddr, h.p_flags) for h in loads] == [
        (TEXT_AT, PF_R | PF_X),
        (RODATA_AT, PF_R),
        (DATA_AT, PF_R | PF_W),
    ]
    assert all(h.p_offset % 4096 == h.p_vaddr % 4096 and h.p_paddr == h.p_vaddr for h in loads)
    assert (loads[2].p_filesz, loads[2].p_memsz) == (12, BSS_AT + 0x5000 - DATA_AT)


def test_segment_file_bytes_are_the_sections_bytes() -> None:
    elf = parse(sample())
    text, rodata, data = (s for s in elf.iter_segments() if s.header.p_type == "PT_LOAD")
    assert text.data() == CODE
    assert rodata.data() == VERSION_NOTE.data + ENTRY_NOTE.data + b"hi\0"
    assert data.data() == b"\1\2\3\4" * 3


def test_gaps_between_sections_of_one_segment_are_zero() -> None:
    late = Section(".late", SHT_PROGBITS, SHF_ALLOC, 16, STRING_AT + 13, b"late", 4)
    program = replace(sample(), sections=(*sample().sections, late))
    rodata = [s for s in parse(program).iter_segments() if s.header.p_vaddr == RODATA_AT][0]
    assert rodata.data().endswith(b"hi\0" + bytes(10) + b"late")


def test_sections_pages_apart_do_not_fill_the_file() -> None:
    far = Section(".far", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 4, 0xF0000000, b"far!", 4)
    image = write_elf(replace(sample(), sections=(*sample().sections, far)))
    assert len(image) < 0x10000
    last = [s for s in ELFFile(io.BytesIO(image)).iter_segments() if s.header.p_vaddr == 0xF0000000]
    assert [s.data() for s in last] == [b"far!"]


def test_file_bytes_after_bss_start_a_segment_of_their_own() -> None:
    after = Section(".after", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 4, BSS_AT + 0x5000, b"tail", 4)
    elf = parse(replace(sample(), sections=(*sample().sections, after)))
    writable = [s for s in elf.iter_segments() if s.header.p_flags == PF_R | PF_W]
    assert [(s.header.p_vaddr, s.data()) for s in writable] == [
        (DATA_AT, b"\1\2\3\4" * 3),
        (BSS_AT + 0x5000, b"tail"),
    ]


def test_bss_alone_has_memory_but_no_file_bytes() -> None:
    bss = Section(".bss", SHT_NOBITS, SHF_ALLOC | SHF_WRITE, 4096, 0xC0200123, b"", 0x3000)
    program = Program(TEXT_AT, (sample().sections[0], bss), ())
    load = list(parse(program).iter_segments())[-1].header
    assert (load.p_filesz, load.p_memsz, load.p_offset % 4096) == (0, 0x3000, 0x123)


def test_neighbouring_notes_share_one_note_segment() -> None:
    (segment,) = [s for s in parse(sample()).iter_segments() if s.header.p_type == "PT_NOTE"]
    assert segment.header.p_vaddr == RODATA_AT
    assert segment.data() == VERSION_NOTE.data + ENTRY_NOTE.data
    assert isinstance(segment, NoteSegment)
    assert [(n.n_name, n.n_descdata) for n in segment.iter_notes()] == [
        ("Xen", b"xen-3.0\0"),
        ("Xen", TEXT_AT.to_bytes(4, "little")),
    ]


def test_note_that_is_not_loaded_still_has_a_note_segment() -> None:
    loose = replace(VERSION_NOTE, flags=0, address=0)
    elf = parse(Program(TEXT_AT, (sample().sections[0], loose), ()))
    (segment,) = [s for s in elf.iter_segments() if s.header.p_type == "PT_NOTE"]
    assert segment.data() == VERSION_NOTE.data
    assert (segment.header.p_vaddr, segment.header.p_memsz) == (0, 0)


def test_symbols_come_locals_first_with_values_and_bindings() -> None:
    table = symbol_table(sample())
    symbols = list(table.iter_symbols())
    assert [s.name for s in symbols] == ["", "k.S", "local_loop", "SIZE", "_start", "counter", "handler"]
    assert table["sh_info"] == 4
    by_name = {s.name: s for s in symbols}
    assert by_name["k.S"]["st_info"].type == "STT_FILE"
    assert (by_name["SIZE"]["st_value"], by_name["SIZE"]["st_shndx"]) == (0x1234, "SHN_ABS")
    assert (by_name["counter"]["st_shndx"], by_name["counter"]["st_size"]) == (5, 4)
    assert by_name["handler"]["st_info"].bind == "STB_WEAK"


def test_file_symbols_of_the_program_are_kept_as_given() -> None:
    units = (
        Symbol("a.S", 0, 0, None, STB_LOCAL, STT_FILE),
        Symbol("in_a", TEXT_AT, 0, 0, STB_LOCAL, STT_NOTYPE),
        Symbol("b.S", 0, 0, None, STB_LOCAL, STT_FILE),
    )
    table = symbol_table(replace(sample(), symbols=units))
    assert [s.name for s in table.iter_symbols()] == ["", "a.S", "in_a", "b.S"]


def test_same_program_gives_same_bytes() -> None:
    assert write_elf(sample()) == write_elf(sample())


def test_line_table_has_each_change_of_line_and_ends_at_gaps() -> None:
    program = line_program(sample())
    states = [entry.state for entry in program.get_entries() if entry.state is not None]
    assert [(s.address - TEXT_AT, s.file, s.line, s.end_sequence) for s in states] == [
        (0, 1, 3, False),
        (5, 2, 400, False),
        (7, 2, 400, True),
        (16, 1, 5, False),
        (17, 1, 5, True),
    ]
    assert [entry.name for entry in program["file_entry"]] == [b"k.S", b"inc/m.inc"]


@pytest.mark.parametrize("step", [1, 17, 18, 127, 128, 5000])
@pytest.mark.parametrize("jump", [-400, -65, -64, -5, -1, 8, 9, 63, 64, 70000])
def test_line_program_reaches_any_address_and_line(step: int, jump: int) -> None:
    rows = (LineRow(TEXT_AT, step, 0, 1000), LineRow(TEXT_AT + step, 1, 0, 1000 + jump))
    entries = line_program(replace(sample(), lines=rows)).get_entries()
    states = [entry.state for entry in entries if entry.state is not None]
    found = [(s.address - TEXT_AT, s.line) for s in states if not s.end_sequence]
    assert found == [(0, 1000), (step, 1000 + jump)]


def test_no_line_rows_means_no_debug_sections() -> None:
    elf = parse(replace(sample(), lines=()))
    assert [s.name for s in elf.iter_sections() if s.name.startswith(".debug")] == []


def test_readelf_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    path = image_file(tmp_path, sample())
    text = run("readelf", "-W", "-a", "--debug-dump=info,abbrev,decodedline,Ranges", path)
    assert "R E 0x1000" in text
    assert "DW_LANG" in text or "MIPS assembler" in text
    assert re.search(rf"k\.S +3 +{TEXT_AT:#x}", text)
    assert re.search(rf"m\.inc +400 +{TEXT_AT + 5:#x}", text)


def test_gdb_maps_addresses_to_lines_and_lists_source(tmp_path: Path) -> None:
    source = tmp_path / "k.S"
    source.write_text("# one\n_start:\n    mov $1, %eax\n\nhandler: ret\n")
    path = image_file(tmp_path, sample(str(source), str(tmp_path / "m.inc")))
    commands = (f"info line *{TEXT_AT + 16:#x}", "info line k.S:3", "list k.S:3,3", "info address counter")
    options = [word for command in commands for word in ("-ex", command)]
    output = run("gdb", "-nx", "-batch", *options, path)
    assert f'Line 5 of "{source}" starts at address {TEXT_AT + 16:#x} <handler>' in output
    assert f'Line 3 of "{source}" starts at address {TEXT_AT:#x} <_start>' in output
    assert "3\t    mov $1, %eax" in output
    assert f"at {DATA_AT:#x}" in output


def test_gdb_knows_no_line_for_padding(tmp_path: Path) -> None:
    path = image_file(tmp_path, sample())
    output = run("gdb", "-nx", "-batch", "-ex", f"info line *{TEXT_AT + 9:#x}", path)
    assert "No line number information" in output


def test_overlapping_sections_are_refused() -> None:
    clash = Section(".clash", SHT_PROGBITS, SHF_ALLOC, 1, DATA_AT + 4, b"x", 1)
    with pytest.raises(ElfWriterError, match=r"section \.clash at 0xc0102004 overlaps section \.data"):
        write_elf(replace(sample(), sections=(*sample().sections, clash)))


def test_section_past_four_gigabytes_is_refused() -> None:
    high = Section(".high", SHT_NOBITS, SHF_ALLOC, 1, 0xFFFFFFFF, b"", 2)
    with pytest.raises(ElfWriterError, match=r"section \.high .* leaves the 32-bit address space"):
        write_elf(replace(sample(), sections=(high,)))


def test_section_may_end_at_four_gigabytes() -> None:
    top = Section(".top", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 1, 0xFFFFFFFF, b"\xc3", 1)
    program = Program(0xFFFFFFFF, (top,), (), ("k.S",), (LineRow(0xFFFFFFFF, 1, 0, 1),))
    (load,) = parse(program).iter_segments()
    assert load.data() == b"\xc3"


def test_line_row_of_an_unknown_file_is_refused() -> None:
    with pytest.raises(ElfWriterError, match="beyond the 2 files"):
        write_elf(replace(sample(), lines=(LineRow(TEXT_AT, 1, 2, 1),)))


def test_too_many_sections_are_refused() -> None:
    section = Section(".x", SHT_PROGBITS, 0, 1, 0, b"", 0)
    with pytest.raises(ElfWriterError, match="65280 sections"):
        write_elf(Program(0, (section,) * 65280, ()))
