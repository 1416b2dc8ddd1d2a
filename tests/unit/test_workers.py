"""Processes that work for a command, and what becomes of them when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import until_equal

ENDLESS = """
import time
from paravane.tools.workers import each
for _ in each(time.sleep, [10000.0, 10000.0], 2, str):
    pass
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pids: list[int]) -> bool:
    def over(pid: int) -> bool:
        """It has ended; whoever inherited it may not have asked for its status yet."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    return all(map(over, pids))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_workers_end_with_the_command_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS], env=dict(os.environ)) as process:
        until_equal(lambda: len(children(process.pid)), 2)
        workers = children(process.pid)
        process.kill()
    until_equal(lambda: gone(workers), True)
