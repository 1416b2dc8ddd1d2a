"""What the assembler says about wrong sources: the place to the column, the expansions, a suggestion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import asm

if TYPE_CHECKING:
    from pathlib import Path


def _refusal(text: str) -> asm.AssemblyError:
    with pytest.raises(asm.AssemblyError) as caught:
        asm.assemble_text(text, name="k.S")
    return caught.value


def _message(text: str) -> str:
    return str(_refusal(text)).split("\n", maxsplit=1)[0]


def test_an_unknown_instruction_is_marked_and_a_known_one_suggested() -> None:
    assert str(_refusal("_start:\n\tmovk %eax, %ebx # comment\n")).startswith(
        "k.S:2:2: error: unknown instruction `movk`; did you mean `mov"
    )
    lines = str(_refusal("_start: nop; movk %eax, %ebx\n")).split("\n")
    assert lines[1] == "    _start: nop; movk %eax, %ebx"
    assert lines[2] == "                 ^~~~"


def test_an_error_in_a_macro_shows_the_expanded_line_and_every_use_above_it() -> None:
    text = ".macro inner x\nmovl \\x, %eaz\n.endm\n.macro outer\ninner $1\n.endm\n_start: nop\nouter\n"
    assert str(_refusal(text)) == (
        "k.S:2:10: error: there is no register `%eaz`\n"
        "    movl $1, %eaz\n"
        "             ^~~~\n"
        "  expanded from macro `inner` at k.S:5\n"
        "  expanded from macro `outer` at k.S:8"
    )


def test_an_undefined_symbol_is_marked_where_it_is_used() -> None:
    lines = str(_refusal("_start: call mesage\nmessage: ret\n")).split("\n")
    assert lines[0] == "k.S:1:14: error: undefined symbol `mesage`; did you mean `message`?"
    assert lines[2] == "                 ^~~~~~"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (".long (1 + 2", "k.S:1:7: error: expected `)` to close this `(`"),
        (".long 1 / 0", "k.S:1:9: error: division by zero"),
        (".long 1 << -1", "k.S:1:9: error: shift by a negative count"),
        (".long 08", "k.S:1:7: error: bad number `08`"),
        ('.ascii "abc', "k.S:1:8: error: string is never closed"),
        (".byte 1 +", "k.S:1:10: error: expected an expression"),
        (
            ".intel_syntax noprefix\nmov eax, 1",
            "k.S:1:1: error: `.intel_syntax` is not supported: this assembler ",
        ),
        (
            ".att_syntax noprefix",
            "k.S:1:1: error: `.att_syntax noprefix` is not supported: write registers as `%eax`",
        ),
        ("_start: .code16 # boot", "k.S:1:1: error: `.code16`: a PV kernel runs 32-bit code only"),
        (
            "mov eax,1",
            "k.S:1:5: error: `mov` does not take these operands; registers are written `%eax` and numbers",
        ),
        ("_start: .intel_syntax", "k.S:1:1: error: `.intel_syntax` is not supported"),
        ('.section .x, "a09"', "k.S:1:14: error: unknown section flag `0`"),
        (".byte '\\012", "k.S:1:7: error: a character constant has no numeric escape: write the number"),
        ('.section .x, "aq"', "k.S:1:14: error: unknown section flag `q`"),
        (".cfi_endproc", "k.S:1:1: error: a `.cfi_` directive outside `.cfi_startproc` and `.cfi_endproc`"),
        (".cfi_startproc\nnop", "k.S:1:1: error: `.cfi_startproc` is never closed with `.cfi_endproc`"),
        (".cfi_startproc\n.cfi_offset 5, -7", "k.S:2:1: error: a register is saved at a multiple of 4 bytes"),
        (".loc 1 5", "k.S:1:6: error: there is no `.file 1` before this"),
        (".weakref a, b\n.weakref b, a", "k.S:2:10: error: `b` would stand for itself"),
        (".reloc 0, R_386_GOT32, x", "k.S:1:11: error: relocation `R_386_GOT32` is not supported"),
        (".reloc 99, R_386_32, _start\n_start:", "k.S:1:1: error: this place is not in the section"),
        (".long 0\n.struct 4\n.long 5", "k.S:3:1: error: section `*ABS*` takes no bytes but zeros"),
        (
            "nop\n.balignw 4, 7",
            "k.S:2:1: error: padding of 3 bytes is no multiple of the 2 bytes that fill it",
        ),
        (".sektion foo", "k.S:1:1: error: unknown directive `.sektion`; did you mean `.section`?"),
        ("x: nop\nx: nop", "k.S:2:1: error: symbol `x` is already defined at k.S:1"),
        (".equiv a, 1\n.equiv a, 2", "k.S:2:8: error: symbol `a` is already defined at k.S:1"),
        ("jmp 1f", "k.S:1:5: error: there is no label `1:` after this"),
        ("jmp 1b", "k.S:1:5: error: there is no label `1:` before this"),
        (".if 1\nnop", "k.S:1:1: error: `.if` is never closed with `.endif`"),
        (".endif", "k.S:1:1: error: `.endif` without `.if`"),
        (".else", "k.S:1:1: error: `.else` without `.if`"),
        (".macro m\nnop", "k.S:1:1: error: `.macro` is never closed with `.endm`"),
        (".rept 3\nnop", "k.S:1:1: error: `.rept` is never closed with `.endr`"),
        ("nop /* never", "k.S:1:5: error: comment is never closed with `*/`"),
        ("movl (%eax, %ebx", "k.S:1:6: error: expected `)` to close this address"),
        ("movl (%eax,%ebx,3), %ecx", "k.S:1:17: error: scale must be 1, 2, 4 or 8"),
        ("movl (%eax,%esp), %ecx", "k.S:1:6: error: not a valid base and index"),
        ("movb %eax, %bl", "k.S:1:6: error: `movb` does not take these operands"),
        ("addl (%eax), (%ebx)", "k.S:1:6: error: `addl` takes one memory operand at most"),
        ("int $256", "k.S:1:5: error: the number does not fit into 8 bits"),
        ("lock movl %eax, (%ebx)", "k.S:1:6: error: `movl` with these operands cannot be locked"),
        ("rep rep movsb", "k.S:1:5: error: two repeat prefixes"),
        ("#include <xen.h>", "k.S:1:1: error: `#include`: there is no C preprocessor here; write `.include"),
        ("  #define FOO 1", "k.S:1:3: error: `#define`: there is no C preprocessor here; write `.equ NAME"),
        ("nop\n\0", "k.S:2:1: error: NUL byte in the source"),
        ('.include "xem.inc"', "k.S:1:10: error: cannot find `xem.inc`; did you mean `xen.inc`?"),
        ('.error "stop here"', "k.S:1:1: error: stop here"),
        (".macro m a:req\nnop\n.endm\nm", "k.S:4:1: error: macro `m` needs a value for `a`"),
        (".macro m a\nnop\n.endm\nm 1, 2", "k.S:4:6: error: too many arguments for macro `m`"),
        (".align 3", "k.S:1:8: error: alignment must be a power of two up to 2^22"),
        (".org 8\n.org 4\n_start:", "k.S:2:1: error: cannot move backwards"),
        (".set a, b\n.set b, a\n.long a\n_start:", "k.S:3:7: error: cannot compute this value"),
        (".bss\n.long 1", "k.S:2:1: error: section `.bss` takes no bytes but zeros"),
        (".code16", "k.S:1:1: error: `.code16`: a PV kernel runs 32-bit code only"),
    ],
)
def test_each_mistake_is_told_with_its_place(source: str, expected: str) -> None:
    assert _message(source + "\n").startswith(expected)


def test_a_loop_out_of_reach_is_refused_with_the_distance() -> None:
    message = _message("_start: loop far\n.skip 200\nfar: nop\n")
    assert message == "k.S:1:14: error: target is 200 bytes away: out of reach of this instruction"


def test_a_value_too_large_for_its_field_is_refused() -> None:
    assert _message("_start: nop\n.byte _start\n").startswith("k.S:2:7: error: value 0xc0100000 does not fit")


def test_a_kernel_without_entry_is_refused_with_a_suggestion() -> None:
    assert str(_refusal("start: nop\n")) == (
        "error: no entry point: define `_start`, or give a Xen ENTRY note; is it `start`?"
    )


def test_errors_end_at_a_bearable_number() -> None:
    refusal = _refusal("bogus\n" * 1000)
    assert len(refusal.diagnostics) == 21
    assert str(refusal).endswith("error: stopped after 20 errors")


def test_errors_after_the_first_are_reported_too() -> None:
    assert [d.location.line for d in _refusal("bogus\nnop\nmovl\n").diagnostics if d.location] == [1, 3]


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    source = tmp_path / "bad.S"
    source.write_bytes(b"_start: nop\n  \xff\xfe\n")
    with pytest.raises(asm.AssemblyError, match=r"bad\.S:2:3: error: not valid UTF-8 text"):
        asm.assemble([source])
    with pytest.raises(asm.AssemblyError, match=r"cannot read .*: not a file"):
        asm.assemble([tmp_path])


@pytest.mark.parametrize(
    "source",
    [
        ".macro again\nagain\nagain\n.endm\nagain",
        ".rept 100000\n.rept 100000\nnop\n.endr\n.endr",
        ".rept 1000000000\nnop\n.endr",
        '.macro grow x\ngrow "\\x\\x\\x\\x"\n.endm\ngrow abcd',
        ".long " + "(" * 100_000,
        ".long " + "-" * 100_000 + "1",
        ".long " + "a+" * 100_000 + "a",
        ".long " + "9" * 100_000,
        ".skip 0x7fffffffffffffff",
        ".fill 0x7fffffff, 8, 1",
        ".comm big, 0x7fffffff",
        ".p2align 63",
        "\n".join(f".set a{n}, a{n + 1}" for n in range(5000)) + "\n.long a0\n.set a5000, 1",
        "\n".join(f".set d{n + 1}, d{n} + d{n}" for n in range(150)) + "\n.byte d150\n.set d0, 1",
        "x: .skip y - x + 1\ny:",
        ".if 1\n" * 5000,
        ".pushsection .data\n" * 5000,
    ],
)
def test_a_source_that_would_never_end_is_refused(source: str) -> None:
    _refusal("_start:\n" + source + "\n")
