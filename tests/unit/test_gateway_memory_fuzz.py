"""The gateway's page-table hypercalls by themselves: whole or not at all, and the frame table stays true."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.native import ADDRESSES, UNDEFINED, build

pytestmark = pytest.mark.both_modes

FOLDER = Path(__file__).parents[1] / "support"
SOURCES = [str(FOLDER / f"gateway_memory_{name}.c") for name in ("fuzz", "judge", "world")]
CALLS = 60_000


@pytest.mark.slow
def test_random_page_table_work_is_done_whole_or_not_at_all(tmp_path: Path) -> None:
    program = tmp_path / "fuzz"
    build(program, *ADDRESSES, *UNDEFINED, *SOURCES)
    done = subprocess.run([str(program), "1", str(CALLS)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr or done.returncode
    served = {kind: int(number) for number, kind in re.findall(r"(\d+) ([a-z]+)", done.stdout)}
    assert len(served) == 11
    assert min(served.values()) > 50, served
