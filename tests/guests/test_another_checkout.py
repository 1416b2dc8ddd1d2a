"""A run by instruction count leaves the same trace wherever Paravane and the kernel are, whoever runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import paravane
from paravane.tools.status import Status
from tests.support.boot import HOST_TIMEOUT
from tests.support.needs import path_with

if TYPE_CHECKING:
    from collections.abc import Mapping

KERNEL = """\
    .include "runtime.inc"
    .include "parts/fails.inc"
    XEN_NOTES kernel
    .text
main:
    PRINT "about to fail\\n"
    call fails
    ret
"""
PART = """\
    .pushsection .text, "ax"
fails:
    ud2
    ret
    .popsection
"""
IN_C = """\
#include <paravane.h>

int main(void)
{
    print_string("about to fail\\n");
    __builtin_trap();
}
"""
CONFIG = """\
name = "{0}"
kernel = "{0}"
memory = 8
disk = ["file.img,xvda,ro"]
"""
FILES = {
    "parts/fails.inc": PART,
    "one.S": KERNEL,
    "two.c": IN_C,
    "one.cfg": CONFIG.format("one.S"),
    "two.cfg": CONFIG.format("two.c"),
}
RUNS = {
    "a kernel that builds another": ("boot", "domain0"),
    "two of one's own, in assembly and in C": ("run", "one.cfg", "two.cfg"),
}


class Place(NamedTuple):
    """A checkout of Paravane, a folder of kernels, and what is around the command that runs there."""

    package: Path
    folder: Path
    environment: Mapping[str, str]

    def traced(self, *words: str) -> tuple[int, bytes, bytes]:
        """Status, console and trace of a run."""
        trace = self.folder / "trace"
        where = [str(self.folder / word) if word in FILES else word for word in words]
        options = (
            "--deterministic",
            "--trace",
            str(trace),
            "--trace-format",
            "json",
            "--trace-events",
            "all",
        )
        done = subprocess.run(
            [sys.executable, "-m", "paravane", *where, *options],
            cwd=self.folder.parent,
            env={**self.environment, "PYTHONPATH": str(self.package.parent)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HOST_TIMEOUT,
            check=False,
        )
        return done.returncode, done.stdout, trace.read_bytes()


def with_kernels(folder: Path) -> Path:
    (folder / "parts").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "file.img").write_bytes(bytes(1 << 20))
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Place:
    package, folder = (
        Path(paravane.__file__).parent,
        with_kernels(tmp_path_factory.mktemp("here") / "kernels"),
    )
    return Place(package, folder, {**os.environ, "PATH": path_with("gcc", "as", "ld")})


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A copy with a longer path, used by somebody else."""
    top = tmp_path_factory.mktemp("elsewhere") / "a longer pläce" / "with more" / "folders"
    package = shutil.copytree(Path(paravane.__file__).parent, top / "paravane")
    for name in ("home", "tmp"):
        (top / name).mkdir()
    environment = {
        "PATH": path_with("gcc", "as", "ld"),
        "HOME": str(top / "home"),
        "TMPDIR": str(top / "tmp"),
        "USER": "somebody",
        "LC_ALL": "C",
        "LANG": "tr_TR.UTF-8",
        "TZ": "Asia/Kolkata",
        "PYTHONHASHSEED": "77",
        "COLUMNS": "40",
    }
    # Which of the two serves the traps is no part of the place.
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PARAVANE_")}
    return Place(package, with_kernels(top / "other" / "sources"), environment)


@pytest.mark.parametrize("name", RUNS)
def test_the_trace_is_the_same_in_another_checkout(name: str, here: Place, elsewhere: Place) -> None:
    status, printed, trace = here.traced(*RUNS[name])
    assert status in (Status.OK, Status.CRASHED)
    assert elsewhere.traced(*RUNS[name]) == (status, printed, trace)
    assert trace.count(b'"file":') > 4
    assert trace.count(b"\n") > 500
