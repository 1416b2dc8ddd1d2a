"""Directives that are almost right: whatever is wrong with them is said, and nothing else happens."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from paravane import asm

SNIPPETS = (Path(__file__).parents[1] / "unit" / "asm_directives.txt").read_text().split("----\n")
LINES = [line for snippet in SNIPPETS for line in snippet.split("\n")]
WORDS = [word for line in LINES for word in line.replace(",", " , ").split()]
SIGNS = "\"'\\,()%$@<>=-~!.:;#*/0179ax \t&|"
VALUES = ("-1", "0x7fffffff", "1<<40", "undefined", "0xffffffffffffffff", ".", "(. - _start)", "1 / 0")


def _mutated(choose: random.Random) -> str:
    lines = choose.choice(SNIPPETS).split("\n")
    for _ in range(choose.randrange(1, 6)):
        place = choose.randrange(len(lines))
        line = lines[place]
        column = choose.randrange(len(line) + 1)
        lines[place] = choose.choice(
            (
                line + "\n" + choose.choice(LINES),
                "",
                line[:column] + choose.choice(SIGNS) + line[column + choose.randrange(2) :],
                line + " " + choose.choice(WORDS),
                line.replace(choose.choice(WORDS), choose.choice(WORDS)),
                line.replace("1", choose.choice(VALUES)),
            )
        )
    return "_start: nop\n" + "\n".join(lines)


@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_source_is_assembled_or_refused_with_sentences(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(40):
        with contextlib.suppress(asm.AssemblyError):
            asm.assemble_text(_mutated(choose))
