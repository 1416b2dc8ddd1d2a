"""The TLB fill by itself: what it does not set whole it leaves to the engine, whatever the tables are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.native import ADDRESSES, UNDEFINED, build

pytestmark = pytest.mark.both_modes

FUZZER = Path(__file__).parents[1] / "support" / "tlb_fuzz.c"
FILLS = 30_000


@pytest.mark.slow
def test_random_tables_give_no_right_that_they_do_not_have(tmp_path: Path) -> None:
    program = tmp_path / "fuzz"
    build(program, *ADDRESSES, *UNDEFINED, str(FUZZER))
    done = subprocess.run([str(program), "1", str(FILLS)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr or done.returncode
    numbers = re.fullmatch(r"(\d+) pages, (\d+) of code, (\d+) left\n", done.stdout)
    assert numbers is not None
    assert min(map(int, numbers.groups())) > FILLS / 50
