"""Sources that once took minutes or gigabytes: now linear in what is written, or refused."""

from __future__ import annotations

import pytest

from paravane import asm
from paravane.asm import reader
from tests.support.work import lines_executed


def test_an_empty_repeat_costs_nothing() -> None:
    for body in ("", "# nothing\n", "/* nothing */\n"):
        program = asm.assemble_text(f"_start: nop\n.rept 1000000000\n{body}.endr\nret\n")
        assert program.sections[0].data == b"\x90\xc3"


def test_nested_empty_repeats_cost_nothing() -> None:
    text = ".rept 100000\n.irp x, 1, 2\n.endr\n.rept 1000000000\n.endr\n.endr\n"
    with pytest.raises(asm.AssemblyError, match="more than 200000 statements"):
        asm.assemble_text("_start: nop\n" + text)


def test_repeats_inside_repeats_are_bounded_by_the_text_they_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_EXPANSION", 1 << 20)  # as with the usual 8 MiB, but at once
    values = ", ".join(f"value{n:05}" for n in range(5000))
    text = f".irp a, {values}\n.irp b, {values}\n# \\a \\b\n.irp c, {values}\n.endr\n.endr\n.endr\n"
    with pytest.raises(asm.AssemblyError, match="write more than 1 MiB of text"):
        asm.assemble_text("_start: nop\n" + text)


def test_a_use_of_a_macro_costs_its_arguments_not_its_parameters() -> None:
    parameters = ", ".join(f"p{n}={n}" for n in range(20_000))
    uses = "m p19999=7\n" * 2000
    program = asm.assemble_text(f".macro m {parameters}\n.byte \\p19999\n.endm\n_start: nop\n{uses}")
    assert program.sections[0].data == b"\x90" + b"\x07" * 2000
    with pytest.raises(asm.AssemblyError, match="two parameters are named `p5`"):
        asm.assemble_text(f".macro m {parameters}, p5\n.endm\n_start: nop\n")


def test_symbols_that_stand_for_ever_larger_expressions_are_refused() -> None:
    doubling = "\n".join(f"d{n + 1} == d{n} + d{n}" for n in range(60))
    with pytest.raises(asm.AssemblyError, match="too large an expression|too deep"):
        asm.assemble_text(f"_start: nop\n{doubling}\n.long d60\n")
    with pytest.raises(asm.AssemblyError, match="is defined in terms of itself"):
        asm.assemble_text("_start: nop\na == b\nb == a\n.long a\n")


def test_a_word_that_is_unknown_a_hundred_times_is_looked_for_once() -> None:
    def work(word: str, times: int) -> int:
        def assemble() -> None:
            with pytest.raises(asm.AssemblyError, match=f"unknown instruction `{word}`"):
                asm.assemble_text("_start: nop\n" + f"{word}\n" * times)

        return lines_executed(assemble)

    once = work("frobnicate", 1)
    assert work("defrobnicate", 100) < 3 * once, "macros that were not included are used all over a source"
