"""The gateway's page-table hypercalls by themselves: whole or not at all, and the frame table stays true."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.native import build

FUZZER = Path(__file__).parents[1] / "support" / "gateway_memory_fuzz.c"
# What is undefined ends the program; that takes no library of the compiler's.
FLAGS = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
CALLS = 100_000


@pytest.mark.slow
def test_random_page_table_work_is_done_whole_or_not_at_all(tmp_path: Path) -> None:
    program = tmp_path / "fuzz"
    build(program, *FLAGS, str(FUZZER))
    done = subprocess.run([str(program), "1", str(CALLS)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout or done.returncode
    *served, begun = (int(word) for word in done.stdout.replace(",", "").split() if word.isdigit())
    assert min(served) > 500
    assert begun > 100
