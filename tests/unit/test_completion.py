"""The completion script, asked by a real bash what it would complete."""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import pytest

from paravane.tools.cli import main

if TYPE_CHECKING:
    from pathlib import Path

ASK = """
source "$1"; shift
COMP_WORDS=(paravane "$@"); COMP_CWORD=$#
$(complete -p paravane | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "script.bash"
    with path.open("w") as stream, redirect_stdout(stream):
        assert main(("completion", "bash")) == 0
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("bo",), {"boot"}),
        (("boot", "hel"), {"hello"}),
        (("boot", "kern"), {"kernel.S"}),
        (("boot", "hello", "--ramd"), {"--ramdisk"}),
        (("boot", "hello", "--ramdisk", "kern"), {"kernel.S"}),
        (("boot", "hello", "--clock", "v"), {"virtual"}),
        (("boot", "hello", "--reco"), {"--record"}),
        (("replay", "reco"), {"recorded"}),
        (("bench", "traps", "mem"), {"memory"}),
        (("bench", "traps", "--gateway", "py"), {"python"}),
        (("bench", "traps", "--json", "kern"), {"kernel.S"}),
        (("compare", "twi"), {"twice"}),
        (("compare", "twice", "--shadow", "w"), {"wp"}),
        (("compare", "twice", "-o", "kern"), {"kernel.S"}),
        (("trace", "kern"), {"kernel.S"}),
        (("report", "kern"), {"kernel.S"}),
        (("report", "kernel.S", "--image", "hel"), {"hello"}),
        (("report", "kernel.S", "--so"), {"--sources"}),
        (("tour", "1", "--ex"), {"--exercise"}),
        (("explore", "hello", "--dec"), {"--decisions"}),
        (("explore", "hello", "--das"), {"--dask"}),
        (("explore", "hello", "--fau"), {"--faults"}),
        (("store", "wri"), {"write"}),
        (("store", "--socket", "kern"), {"kernel.S"}),
    ],
)
def test_bash_completes(words: tuple[str, ...], completed: set[str], script: Path, tmp_path: Path) -> None:
    (tmp_path / "kernel.S").touch()
    (tmp_path / "recorded").mkdir()
    done = subprocess.run(
        ["bash", "-c", ASK, "ask", str(script), *words],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert set(done.stdout.split()) == completed, done.stderr


def test_without_shtab_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(("completion", "bash")) == 1
    assert (
        capsys.readouterr().err == "paravane: scripts are made by shtab: pip install 'paravane[completion]'\n"
    )
