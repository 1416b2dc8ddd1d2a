"""Directives, expressions and layouts have the bytes of GNU as: a written corpus, and generated ones."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest

from paravane import asm
from paravane.asm.program import SHT_NOBITS
from tests.unit import asm_gnu, asm_programs

CORPUS = Path(__file__).with_name("asm_directives.txt")

# Snippets that GNU as takes and this assembler does not, each with its reason. It may only become shorter.
REFUSED = {
    ".altmacro": "a second macro language; `\\@`, `.irp` and `:vararg` say the same",
    ".att_syntax noprefix": "every name of a register would be taken from the symbols",
    ".bundle_align_mode 5": "bundles are for a sandbox whose checker no kernel meets",
    ".cfi_startproc\n.cfi_label inside\n.cfi_endproc": "nothing refers into a table that the linker writes",
    ".code16": "a PV kernel has no 16-bit code",
    ".code64": "the guest's machine has 32 bits",
    ".intel_syntax noprefix\nmov eax, 1": "there is one syntax",
    ".long %eax": "a register is no number",
    ".long 0x": "digits left out are a mistake",
    ".long _start@GOT": "a linked kernel has no global offset table",
    ".long _start@GOTOFF": "a linked kernel has no global offset table",
    "addl $_GLOBAL_OFFSET_TABLE_, %ebx": "a linked kernel has no global offset table",
    ".byte '\\012": "GNU as reads it as 4812 and writes the low byte",
    ".byte 1 / 0": "a division by zero is a mistake",
    ".byte 1 << -1": "a shift by a negative count is a mistake",
    ".mri 1": "another assembler's syntax",
    ".set counter, %ecx": "a register is no number; a macro's parameter may be one",
    '.string "a\\\nb"': "a string ends on its line",
    ".type _start, @gnu_indirect_function": "no dynamic loader would ask such a function",
    ".p2align 24": "no page is larger than 4 MiB",
    "a = 1\na: nop": "one name for two things",
    ".struct 5\nnop": "a structure holds no code",
    ".rept\n.endr": "a count left out is a mistake",
}
# What both take and only GNU as and ld make something else of.
DIFFERENT = {
    ".uleb128 _start": "an address, not an offset: GNU as has no relocation for it and forgets the section",
    ".sleb128 5 <> 3": "true is -1, also here: GNU as takes it for a number of 64 bits without a sign",
    ".reloc 0, R_386_32, after + 4\n.long 7\nafter:": "GNU as adds a field's width to an addend not 0",
    ".comm a, 4\n.comm b, 4\n.comm c, 4\n.comm d, 4\n.long a, b, c, d": "GNU ld: in the order of a hash",
}
# What this assembler takes and GNU as does not: values that no relocation holds, computed when linked.
TAKEN = (".quad _start", ".long _start * 2", ".long ~_start", ".long (_start >> 12) << 2", "nop // comment")

OPERATORS = "* / % << >> | & ^ ! + - == <> != < > >= <= && ||"
BINARY = OPERATORS.split(" ")


def _snippets() -> list[str]:
    lines = CORPUS.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("# ")).split("----\n")


def _differences(text: str, folder: Path) -> list[str]:
    source = folder / "snippet.s"
    source.write_text(text + "\n")
    try:
        program = asm.assemble_text(text, name="snippet.s")
    except asm.AssemblyError as error:
        return [str(error)]
    reference = asm_gnu.link([source], program, folder)
    found = []
    for section in program.sections:
        ours = bytes(section.size) if section.kind == SHT_NOBITS else section.data
        gnu = reference.get(section.name, b"")
        if ours != gnu:
            found.append(f"{section.name}: ours {ours.hex()}, GNU {gnu.hex()}")
    return found


@pytest.mark.parametrize("number", range(len(_snippets())))
def test_a_snippet_has_the_bytes_of_gnu_as(number: int, tmp_path: Path) -> None:
    snippet = _snippets()[number]
    assert not _differences(snippet, tmp_path), snippet


def test_every_operator_and_precedence_is_that_of_gnu_as(tmp_path: Path) -> None:
    """All pairs of operators, after all unary ones, over numbers of both signs."""
    values = [
        f"{sign}{a} {first} {b} {second} {c}"
        for first, second in product(BINARY, BINARY)
        for sign, a, b, c in (("", 9, 3, 2), ("-", 7, 5, 3), ("~", 12, 1, 4), ("!", 0, 2, 1))
    ]
    assert not _differences("_start:\n" + "\n".join(f".long {value}" for value in values), tmp_path)


PIECES = (
    "jmp l{last}", "je l{last}", "jmp l{first}", ".skip {large}, 0x90", ".skip {small}, 0x90",
    ".balign {boundary}", ".p2align {power},,{small}", ".uleb128 l{last} - l{first}", "nop",
    ".balign {boundary}, 0xcc",
)  # fmt: skip


def _layout(seed: int) -> str:
    """Branches, alignments and gaps in any order: what the passes over a section decide."""
    choose = random.Random(seed)
    lines, labels = ["_start:"], choose.randrange(3, 12)
    for label in range(labels):
        for _ in range(choose.randrange(1, 6)):
            first, last = sorted((choose.randrange(labels), choose.randrange(labels)))
            sizes = {"large": choose.randrange(90, 140), "small": choose.randrange(1, 20)}
            aligned = {"boundary": choose.choice((4, 8, 16, 32)), "power": choose.randrange(2, 6)}
            lines.append(choose.choice(PIECES).format(first=first, last=last, **sizes, **aligned))
        lines.append(f"l{label}:")
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(100))
def test_a_random_layout_is_that_of_gnu_as(seed: int, tmp_path: Path) -> None:
    text = _layout(seed)
    assert not _differences(text, tmp_path), text


@pytest.mark.parametrize("seed", range(60))
def test_a_random_program_has_the_bytes_of_gnu_as(seed: int, tmp_path: Path) -> None:
    text = asm_programs.program(seed)
    assert not _differences(text, tmp_path), text


def test_floating_point_is_rounded_as_by_gnu_as(tmp_path: Path) -> None:
    choose = random.Random(7)
    numbers = [f"{choose.randrange(1000)}.{choose.randrange(10**9)}" for _ in range(200)]
    numbers += [f"{choose.random() * 10:.{n % 19 + 1}f}e{choose.randrange(-30, 30)}" for n in range(200)]
    numbers += [f"{choose.randrange(1 << 26)}.5" for _ in range(100)]
    numbers += [str((1 << 60) + n) for n in range(1, 400, 7)]
    lines = [f".{form} {', '.join(numbers)}" for form in ("float", "double", "tfloat", "bfloat16")]
    assert not _differences("_start:\n" + "\n".join(lines), tmp_path)


@pytest.mark.parametrize("snippet", sorted(REFUSED))
def test_what_is_refused_on_purpose_is_refused_with_a_sentence(snippet: str, tmp_path: Path) -> None:
    text = f"_start: nop\n{snippet}\n"
    (tmp_path / "snippet.s").write_text(text)
    assert asm_gnu.accepts(tmp_path / "snippet.s"), "GNU as refuses it too: take it off the list"
    with pytest.raises(asm.AssemblyError) as caught:
        asm.assemble_text(text)
    assert len(caught.value.diagnostics) <= 1 + snippet.count("\\\n")  # a line continued is another mistake


@pytest.mark.parametrize("snippet", sorted(DIFFERENT))
def test_what_differs_on_purpose_differs(snippet: str, tmp_path: Path) -> None:
    """It may only become less."""
    assert _differences(f"_start:\n{snippet}\n", tmp_path), "as GNU as has it: move it to the corpus"


@pytest.mark.parametrize("snippet", TAKEN)
def test_what_only_this_assembler_takes(snippet: str, tmp_path: Path) -> None:
    text = f"_start: nop\n{snippet}\n"
    (tmp_path / "snippet.s").write_text(text)
    assert not asm_gnu.accepts(tmp_path / "snippet.s"), "GNU as takes it: compare it in the corpus"
    asm.assemble_text(text)
