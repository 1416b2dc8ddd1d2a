"""Directives, expressions, macros, relaxation and linking: what a program holds after assembly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import asm
from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_NOTE,
    STB_GLOBAL,
    STB_LOCAL,
    STB_WEAK,
    STT_FILE,
    STT_FUNC,
)

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.asm.program import Program, Section, Symbol


def _program(text: str, base: int = asm.DEFAULT_BASE) -> Program:
    return asm.assemble_text("_start:\n" + text + "\n", name="k.S", base=base)


def _section(program: Program, name: str) -> Section:
    return next(section for section in program.sections if section.name == name)


def _data(text: str) -> bytes:
    return _section(_program("nop\n.data\n" + text), ".data").data


def _code(text: str) -> bytes:
    return _section(_program(text, base=0), ".text").data


def _symbol(program: Program, name: str) -> Symbol:
    return next(symbol for symbol in program.symbols if symbol.name == name and symbol.kind != STT_FILE)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("2 | 4 + 1", 7),
        ("1 + 2 == 3", -1),
        ("5 ! 2", -3),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("-1 >> 60", 15),
        ("1 && 2", 1),
        ("0 || 0", 0),
        ("!5", 0),
        ("~0", -1),
        ("'a' + '\\n", 107),
        ("0b1010 + 017 + 0x1F", 56),
        ("1 << 64", 0),
        ("later - earlier", 4),
    ],
)
def test_expressions_have_the_values_of_gnu_as(expression: str, value: int) -> None:
    data = _data(f"earlier: .long {expression}\nlater:")
    assert int.from_bytes(data, "little", signed=True) == value


def test_data_directives_write_their_widths() -> None:
    assert _data(".byte 1, -1\n.word 2\n.long 3\n.quad 4") == bytes.fromhex("01ff02000300000004") + bytes(7)
    assert _data(".octa 0x10000000000000000000000000000002").hex() == "02" + "00" * 14 + "10"
    assert _data(".float 1.5\n.double -2") == bytes.fromhex("0000c03f00000000000000c0")
    assert _data('.ascii "a\\n\\0", "\\x41\\101"\n.asciz "b" "c"\n.string "é"') == b"a\n\0AAbc\0\xc3\xa9\0"
    assert _data(".fill 2, 3, 0x112233\n.skip 2, 7\n.zero 1") == bytes.fromhex("332211332211070700")


def test_what_is_left_out_or_cut_is_warned_about() -> None:
    program = _program("nop\n.octa 0x1" + "0" * 31 + "7\n.byte 1,,2\n", base=0)
    assert _section(program, ".text").data == b"\x90\x07" + bytes(15) + b"\1\0\2"
    assert "k.S:3:7: warning: number cut to 128 bits" in program.warnings[0]
    assert "k.S:4:9: warning: no expression here: 0 assumed" in program.warnings[1]


def test_the_first_unit_has_a_comdat_group_and_the_others_refer_to_it(tmp_path: Path) -> None:
    sources = [tmp_path / "a.S", tmp_path / "b.S"]
    for n, source in enumerate(sources):
        source.write_text(
            f".globl start{n}\nstart{n}: call shared\n"
            '.section .text.shared, "axG", @progbits, shared, comdat\n'
            f".globl shared\nshared: movb ${n}, %al\nret\n.text\n"
        )
    sources[0].write_text("_start: nop\n" + sources[0].read_text())
    program = asm.assemble(sources, base=0)
    assert _section(program, ".text").data.hex(" ") == "90 e8 05 00 00 00 e8 00 00 00 00"
    assert _section(program, ".text.shared").data == b"\xb0\x00\xc3"


def test_a_symbol_local_to_a_group_that_is_not_linked_is_named(tmp_path: Path) -> None:
    sources = [tmp_path / "a.S", tmp_path / "b.S"]
    group = '.section .g, "axG", @progbits, g, comdat\nhidden: ret\n.text\n'
    sources[0].write_text("_start: nop\n" + group)
    sources[1].write_text(group + "call hidden\n")
    with pytest.raises(asm.AssemblyError, match="`hidden` is in a section that is not linked"):
        asm.assemble(sources)


def test_print_is_a_note_and_no_warning() -> None:
    assert _program('.print "half done"').warnings[0].startswith("k.S:2:1: note: half done")


def test_an_address_may_be_shifted_and_masked_for_a_page_table() -> None:
    program = _program(".data\n.long (_start >> 12) << 2, _start & 0xfff\n.quad _start - 0xC0000000 + 0x67")
    assert _section(program, ".data").data == (0x300400).to_bytes(4, "little") + bytes(4) + bytes.fromhex(
        "6700100000000000"
    )


def test_truncated_data_is_warned_about() -> None:
    program = _program("nop\n.data\n.byte 300")
    assert _section(program, ".data").data == b"\x2c"
    assert "k.S:4:7: warning: value 0x12c truncated to 0x2c" in program.warnings[0]


def test_sections_are_placed_by_permission_on_fresh_pages() -> None:
    text = (
        ".data\n.long 1\n.bss\n.skip 8\n.section .rodata\n.byte 1\n"
        '.section .note.Xen,"",@note\n.long 0,0,0\n.text\nnop'
    )
    program = _program(text)
    assert [section.name for section in program.sections] == [
        ".text",
        ".note.Xen",
        ".rodata",
        ".data",
        ".bss",
    ]
    assert [section.address & 0xFFF for section in program.sections] == [0, 0, 12, 0, 0]
    assert program.sections[0].address == asm.DEFAULT_BASE
    assert [section.flags for section in program.sections] == [
        SHF_ALLOC | SHF_EXECINSTR,
        SHF_ALLOC,
        SHF_ALLOC,
        SHF_ALLOC | SHF_WRITE,
        SHF_ALLOC | SHF_WRITE,
    ]
    assert _section(program, ".note.Xen").kind == SHT_NOTE
    assert (_section(program, ".bss").kind, _section(program, ".bss").size) == (SHT_NOBITS, 8)


def test_pushed_and_previous_sections_come_back() -> None:
    program = _program("nop\n.pushsection .data\n.byte 1\n.popsection\nnop\n.data\n.byte 2\n.previous\nnop")
    assert _section(program, ".text").data == b"\x90\x90\x90"
    assert _section(program, ".data").data == b"\1\2"


def test_alignment_pads_code_with_nops_and_data_with_zeros() -> None:
    assert _code("ret\n.balign 4\nret").hex(" ") == "c3 8d 76 00 c3"
    assert _code("ret\n.balign 16\nret").hex(" ") == "c3" + 2 * " 8d b4 26 00 00 00 00" + " 90 c3"
    assert _code("ret\n.balign 32\nret").hex(" ").startswith("c3 eb 1d 8d b4 26")
    assert _data(".byte 1\n.balign 4\n.byte 2\n.p2align 2, 0xaa\n.byte 3") == bytes.fromhex(
        "0100000002aaaaaa03"
    )
    assert _data(".byte 1\n.balign 8, 0, 3\n.byte 2") == b"\1\2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jmp 1f\n.skip 127\n1:", "eb7f"),
        ("jmp 1f\n.skip 128\n1:", "e980000000"),
        ("je 1f\n.skip 128\n1:", "0f8480000000"),
        ("1: .skip 126\njmp 1b", "eb80"),
        ("1: .skip 127\njmp 1b", "e97cffffff"),
        ("call 1f\n1:", "e800000000"),
        ("1: loop 1b", "e2fe"),
        ("jcxz 1f\n1:", "67e300"),
    ],
)
def test_a_branch_takes_the_shortest_form_that_reaches(text: str, expected: str) -> None:
    code, branch = _code(text), bytes.fromhex(expected)
    assert code.startswith(branch) or code.endswith(branch)


def test_a_branch_that_grows_makes_another_one_grow() -> None:
    code = _code("jmp 2f\n.skip 123\njmp 3f\n2:\n.skip 128\n3:")
    assert len(code) == 5 + 123 + 5 + 128
    assert code[:5] == bytes.fromhex("e980000000")


def test_a_branch_to_a_weak_symbol_is_long_and_takes_the_strong_definition(tmp_path: Path) -> None:
    first, second = tmp_path / "a.S", tmp_path / "b.S"
    first.write_text("_start: jmp w\n.weak w\nw: nop\n")
    second.write_text(".globl w\nw: ret\n")
    program = asm.assemble([first, second], base=0)
    assert _section(program, ".text").data == bytes.fromhex("e90100000090c3")


def test_units_share_globals_and_keep_locals(tmp_path: Path) -> None:
    first, second = tmp_path / "a.S", tmp_path / "b.S"
    first.write_text(".globl _start\n_start: call other\nlocal: jmp local\n")
    second.write_text(".globl other\nother: call local\nlocal: ret\n")
    program = asm.assemble([first, second], base=0)
    assert _section(program, ".text").data == bytes.fromhex("e802000000ebfee800000000c3")
    assert [s.value for s in program.symbols if s.name == "local"] == [5, 12]
    assert _symbol(program, "other").binding == STB_GLOBAL
    second.write_text(".globl _start\n_start: ret\nother: ret\n")
    with pytest.raises(asm.AssemblyError) as caught:
        asm.assemble([first, second])
    assert f"symbol `_start` is already defined at {first}:2" in str(caught.value)
    assert f"undefined symbol `other`; it is local to {second}: add `.globl other` there" in str(caught.value)


def test_symbols_carry_type_size_and_binding() -> None:
    program = _program(
        ".globl f\n.type f, @function\nf: nop\nret\n.size f, . - f\n.weak g\ng: .Lhidden: nop\n.set k, 5\n"
        ".comm shared, 12, 8\n.bss\n.byte 0\n"
    )
    function = _symbol(program, "f")
    assert (function.kind, function.size, function.binding) == (STT_FUNC, 2, STB_GLOBAL)
    assert _symbol(program, "g").binding == STB_WEAK
    assert _symbol(program, "_start").binding == STB_LOCAL
    assert not any(symbol.name == ".Lhidden" for symbol in program.symbols)
    assert _symbol(program, "shared").value == _section(program, ".bss").address + 8
    assert _section(program, ".bss").size == 20
    local = [symbol.binding == STB_LOCAL for symbol in program.symbols]
    assert local == sorted(local, reverse=True)


def test_common_storage_is_aligned_to_its_size_up_to_sixteen() -> None:
    program = _program("nop\n.comm a, 3\n.comm b, 5000\n.comm c, 1\n.comm d, 8\n")
    base = _section(program, ".bss").address
    assert [_symbol(program, name).value - base for name in "abcd"] == [0, 16, 5016, 5024]
    assert [_symbol(program, name).size for name in "abcd"] == [3, 5000, 1, 8]


def test_the_entry_is_start_or_the_note() -> None:
    assert _program("nop").entry == asm.DEFAULT_BASE
    note = '.section .note.Xen,"a",@note\n.long 4, 4, 1\n.asciz "Xen"\n.long begin\n.text\nnop\nbegin: nop\n'
    assert asm.assemble_text(note, base=0x1000).entry == 0x1001


def test_defines_are_symbols_of_every_unit(tmp_path: Path) -> None:
    source = tmp_path / "a.S"
    source.write_text(".ifdef COUNT\n_start: movl $COUNT, %eax\n.endif\n")
    program = asm.assemble([source], defines={"COUNT": 7}, base=0)
    assert program.sections[0].data == bytes.fromhex("b807000000")


def test_included_files_are_found_beside_the_source_and_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "near").mkdir()
    (tmp_path / "far").mkdir()
    source = tmp_path / "near" / "k.S"
    source.write_text('.include "a.inc"\n.include "b.inc"\n.data\n.incbin "blob", 1, 2\n')
    (tmp_path / "near" / "a.inc").write_text("_start: nop\n")
    (tmp_path / "far" / "b.inc").write_text("ret\n")
    (tmp_path / "far" / "blob").write_bytes(b"wxyz")
    program = asm.assemble([source], include=[tmp_path / "far"])
    assert _section(program, ".text").data == b"\x90\xc3"
    assert _section(program, ".data").data == b"xy"
    assert [program.files[row.file].rsplit("/", 1)[1] for row in program.lines] == ["a.inc", "b.inc"]


def test_a_line_row_covers_each_instruction_and_a_macro_counts_for_its_use() -> None:
    program = _program(".macro two\nnop\nret\n.endm\nnop\ntwo\n.rept 2\ncld\n.endr\njmp _start", base=0)
    assert [(row.address, row.size, row.line) for row in program.lines] == [
        (0, 1, 6), (1, 1, 7), (2, 1, 7), (3, 1, 8), (4, 1, 8), (5, 2, 11),
    ]  # fmt: skip
    assert program.files == ("k.S",)


def test_macro_arguments_bind_by_place_by_name_and_by_rest() -> None:
    macro = ".macro m a, b=9, c:vararg\n.byte \\a, \\b\n.ifnb \\c\n.byte \\c\n.endif\n.endm\n"
    assert _data(macro + "m 1") == b"\1\x09"
    assert _data(macro + "m 1, 2, 3, 4") == b"\1\2\3\4"
    assert _data(macro + "m b=1, a=2") == b"\2\1"
    assert _data(macro + "m 1 2") == b"\1\2"
    assert _data(macro + "m (1 + 1), 2") == b"\2\2"


def test_macros_define_labels_with_the_counter_and_paste_with_parentheses() -> None:
    text = ".macro m n\nl\\n\\()_\\@: .long l\\n\\()_\\@\n.endm\nm 1\nm 2\n"
    program = _program("nop\n.data\n" + text)
    base = _section(program, ".data").address
    assert (_symbol(program, "l1_0").value, _symbol(program, "l2_1").value) == (base, base + 4)


def test_exitm_and_purgem_end_macros() -> None:
    assert _data(".macro m\n.byte 1\n.if 1\n.exitm\n.endif\n.byte 2\n.endm\nm\n.byte 3") == b"\1\3"
    with pytest.raises(asm.AssemblyError, match="unknown instruction `m`"):
        _data(".macro m\n.endm\n.purgem m\nm")


def test_conditions_choose_one_branch() -> None:
    chain = ".if {0} == 1\n.byte 1\n.elseif {0} == 2\n.byte 2\n.else\n.byte 3\n.endif\n"
    assert [_data(chain.format(n)) for n in (1, 2, 3)] == [b"\1", b"\2", b"\3"]
    assert _data(".if 0\n.if 1\n.byte 1\n.endif\nnot even code\n.else\n.byte 2\n.endif") == b"\2"


def test_a_reassigned_symbol_keeps_its_value_for_what_came_before() -> None:
    assert _data("x = 1\n.byte x\nx = x + 1\n.byte x\n.set y, z\nz = 5\n.byte y") == b"\1\2\5"


def test_an_assignment_may_rest_on_a_later_one_with_a_warning() -> None:
    program = _program("nop\n.equ a, b * 2\n.equ c, a + 1\n.equ b, 20\n.data\n.byte c", base=0)
    assert _section(program, ".data").data == b"\x29"
    assert program.warnings[0].startswith("k.S:4:6: warning: `c` rests on a symbol defined later")


def test_immediates_of_late_symbols_are_full_size_and_known_ones_short() -> None:
    assert _code("addl $late, %ebx\n.set late, 1\naddl $late, %ebx") == bytes.fromhex("81c30100000083c301")


def test_listing_shows_addresses_bytes_and_source() -> None:
    text = "_start:\nmovl $1, %eax # one\nret\n"
    lines = asm.listing(asm.assemble_text(text, name="k.S", base=0x1000), {"k.S": text}).split("\n")
    assert lines[0] == "section .text: 0x00001000-0x00001006"
    assert lines[1] == "00001000 <_start>:"
    assert lines[2] == "00001000  b8 01 00 00 00           k.S:2            movl $1, %eax # one"
    assert lines[3] == "00001005  c3                       k.S:3            ret"


def test_build_gives_an_elf_image(tmp_path: Path) -> None:
    source = tmp_path / "k.S"
    source.write_text("_start: nop\n")
    image = asm.build([source], base=0x2000)
    assert image[:4] == b"\x7fELF"
    assert int.from_bytes(image[24:28], "little") == 0x2000


def test_every_line_of_a_thousand_has_its_row() -> None:
    lines = [f"l{n}: movl $l{n}, {4 * n}(%ebx,%esi,4)\naddl ${n}, %eax\njne l{n // 2}" for n in range(350)]
    program = _program("\n".join(lines))
    assert len(program.lines) == 1050


def test_an_instruction_is_read_where_it_stands_though_it_has_been_read_before() -> None:
    """What has the same bytes everywhere is encoded once; warnings, columns and macros are of each place."""
    program = _program("mov $1, (%eax)\nnop; mov $1, (%eax)\n.macro hlt\nnop\n.endm\nhlt")
    assert [warning.partition(": ")[0] for warning in program.warnings] == ["k.S:2:1", "k.S:3:6"]
    assert _code("hlt") == b"\xf4"
    assert _section(program, ".text").data == bytes.fromhex("c70001000000 90 c70001000000 90")
    # The second one is known, and its label is defined all the same; a target is not what its number says.
    assert _code("1: inc %eax\ninc %eax\n2: inc %eax\njmp 2b") == bytes.fromhex("40 40 40 ebfd")
    assert _code("call 5\ncall 5") == bytes.fromhex("e800000000 e8fbffffff")


def test_a_long_line_of_digits_is_refused_at_once() -> None:
    with pytest.raises(asm.AssemblyError, match="number is too long"):
        _program(f"push ${'9' * 4000}x")
