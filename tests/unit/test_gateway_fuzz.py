"""The native gateway by itself: whatever it is given, it serves a trap whole or changes nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from paravane import gateway
from tests.support.needs import path_with, tool

FOLDER = Path(gateway.__file__).parent
FUZZER = Path(__file__).parents[1] / "support" / "gateway_fuzz.c"
# What is undefined ends the program; that takes no library of the compiler's.
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
TRAPS = 40_000


@pytest.mark.slow
def test_random_traps_are_served_whole_or_not_at_all(tmp_path: Path) -> None:
    program = tmp_path / "fuzz"
    environment = {**os.environ, "PATH": path_with("gcc", "as", "ld")}
    sources = [str(FOLDER / "gateway.c"), str(FUZZER)]
    build = [tool("gcc"), *FLAGS, f"-I{FOLDER}", "-o", str(program), *sources]
    subprocess.run(build, check=True, env=environment)
    done = subprocess.run([str(program), "1", str(TRAPS)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout or done.returncode
    calls, _, _, hypercalls, _ = done.stdout.split()
    assert int(calls) > 1000
    assert int(hypercalls) > 1000
