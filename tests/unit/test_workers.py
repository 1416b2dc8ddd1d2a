"""Processes that work for a command, and what becomes of them when it is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paravane.tools import workers
from paravane.tools.status import UsageError
from paravane.tools.workers import each
from tests.support.patience import until_equal

ENDLESS = """
import time
from paravane.tools.status import UsageError
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
        found = children(process.pid)
        process.kill()
    until_equal(lambda: gone(found), True)


@pytest.mark.slow
def test_what_is_raised_comes_back_as_it_is() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(each(int, ["1", "no"], 2, len))


@pytest.mark.slow
def test_one_that_is_killed_takes_what_it_had_and_no_more() -> None:
    found = dict(each(signal.raise_signal, [0, signal.SIGKILL, 0], 2, RuntimeError))
    assert found.keys() == {0, 1, 2}
    assert (found[0], found[2]) == (None, None)
    assert str(found[1]) == "the process that ran it ended by SIGKILL"


def test_without_any_process_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(found: list[workers._Worker]) -> workers._Worker:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(workers, "_start", none)
    with pytest.raises(UsageError, match="no process can be started: Resource temporarily"):
        list(each(abs, [-1, -2], 2, len))


@pytest.mark.slow
def test_as_many_do_it_as_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has as many files open as it may starts no more of them."""
    started: list[workers._Worker] = []
    start = workers._start

    def once(found: list[workers._Worker]) -> workers._Worker:
        if started:
            raise OSError(errno.EMFILE, "Too many open files")
        started.append(start(found))
        return started[0]

    monkeypatch.setattr(workers, "_start", once)
    assert dict(each(abs, [-1, -2, -3], 100, len)) == {0: 1, 1: 2, 2: 3}
