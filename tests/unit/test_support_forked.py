"""A forked command behaves as one that `subprocess.Popen` has started."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import forked
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SPIN = '.include "runtime.inc"\nXEN_NOTES spin\n.text\nmain: PRINT "spins\\n"\n1: jmp 1b\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "spin.S"
    path.write_text(SPIN)
    return path


def test_its_streams_and_its_status_are_the_commands() -> None:
    with forked.start(("--version",)) as process:
        printed, said = process.communicate(timeout=HOST_TIMEOUT)
    assert printed.startswith(b"paravane ")
    assert said == b""
    assert process.stdin is None
    assert (process.poll(), process.wait(), process.returncode) == (0, 0, 0)
    assert process.communicate() == (b"", b""), "they are closed"


def test_it_is_seen_running_and_takes_a_signal(source: Path) -> None:
    with forked.start(("boot", str(source))) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"spins\n"
        assert process.poll() is None
        assert process.returncode is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        os.kill(process.pid, 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(HOST_TIMEOUT) == -signal.SIGTERM
        process.kill()


def test_one_that_takes_too_long_is_killed(source: Path) -> None:
    with forked.start(("boot", str(source)), stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(b"typed", timeout=0.01)
        assert process.wait() == -signal.SIGKILL


def test_nothing_survives_when_all_are_killed(source: Path) -> None:
    process = forked.start(("boot", str(source)))
    assert process.stdout is not None
    assert process.stdout.readline() == b"spins\n"
    forked.kill_all()
    assert process.returncode == -signal.SIGKILL
    assert process.stdout.closed


def test_streams_may_be_files(tmp_path: Path) -> None:
    path = tmp_path / "printed"
    with path.open("wb") as file, forked.start(("--version",), stdout=file.fileno()) as process:
        assert process.stdout is None
        assert process.wait(HOST_TIMEOUT) == 0
    assert path.read_bytes().startswith(b"paravane ")
