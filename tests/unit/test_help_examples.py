"""What the help of each command tells to type is typed, in a folder that has what it speaks of."""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, asm, guest_kernels, load_image
from paravane.migration import load
from paravane.tools.cli import main
from paravane.tools.verbs import VERBS
from tests.support import forked
from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines
from tests.support.needs import path_with

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

KERNEL = """\
    .include "runtime.inc"
    XEN_NOTES greet
    .text
main:
    PRINT "hello, "
    ret
"""

SUSPEND = guest_kernels.folder_of("suspend") / "suspend.S"

OF_A_MACHINE = {"ctl", "store"} & set(VERBS)
"""Verbs whose examples speak of a machine that runs."""

SETTLED = {*OF_A_MACHINE, "bench", "compare"}
"""Those of `bench` and `compare` take long: tests/unit/test_bench_command.py and test_compare_command.py type
them, with nothing to measure."""

CTRL_BRACKET = b"\x1d"
"""Leaves a console, and nothing else of a machine that runs minds it."""

_TRACE_VERBS = ("show", "summary", "diff", "convert")
PAGES = [
    (),
    *((verb,) for verb in VERBS if verb not in SETTLED),
    *(("trace", "x", verb) for verb in _TRACE_VERBS),
]


def examples(page: str) -> list[str]:
    """The lines to type, without what is said beside them."""
    lines = page.partition("\nexamples:\n")[2].splitlines()
    return [re.split(r"\s{2,}", line.strip())[0] for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kernels as sources, images and folders; a ramdisk and a disk; two traces of the same; saved domains; a
    recording."""
    made = tmp_path_factory.mktemp("examples")
    (made / "greet.S").write_text(KERNEL)
    (made / "start.S").write_text(KERNEL.replace('PRINT "hello, "', "call greet"))
    (made / "include").mkdir()
    (made / "include" / "words.inc").write_text(".equ WANTED, 3\n")
    (made / "main.S").write_text(
        '.include "words.inc"\n.globl greet\n.text\ngreet:\n.if DEBUG + CPUS == WANTED\nret\n.endif\n'
    )
    (made / "initrd.gz").write_bytes(bytes(5000))
    (made / "root.img").write_bytes(bytes(5120))
    (made / "data.img").write_bytes(bytes(5120))
    (made / "machines").mkdir()
    for name in ("web", "db"):
        for place in (made, made / "machines"):
            (place / f"{name}.cfg").write_text(f"name = '{name}'\nkernel = '{made}/greet.elf'\nmemory = 4\n")
    shell(made, "paravane build greet.S -o greet.elf && cp greet.elf vmlinuz")
    shell(made, "paravane boot greet.S --trace run.jsonl && cp run.jsonl other.jsonl")
    shell(made, "paravane boot greet.S --record run.rec")
    for name in ("web", "db"):
        (made / f"{name}.save").write_bytes(saved())
    shell(made, "mkdir kernels && paravane new kernels/greet && paravane new greet && rm greet/expected.txt")
    return made


def saved() -> bytes:
    """A domain that has nothing left to do but to say so when it goes on."""
    suspend = load_image(asm.build([SUSPEND]))
    with Machine(2 * Machine.size_for(4 << 20)) as machine:
        domain = machine.create(suspend, DomainConfig(memory=4 << 20))
        machine.run(timeout=HOST_TIMEOUT)
        again = machine.restore_domain(load(io.BytesIO(b"".join(machine.save_domain(domain)))))
        machine.run(timeout=HOST_TIMEOUT)
        return b"".join(machine.save_domain(again))


def shell(folder: Path, command: str, *, keys: bytes = b"") -> None:
    """Type it; what it prints is of no interest as long as it succeeds. `keys` are pressed on its terminal as
    long as it runs; without any it has none."""
    path = os.pathsep.join([str(forked.programs()), path_with("gcc", "as", "ld")])
    with ExitStack() as stack:
        printed = stack.enter_context(tempfile.TemporaryFile())
        keyboard, terminal = pty.openpty()
        stack.callback(os.close, keyboard)
        stack.callback(os.close, terminal)
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "runtime")},
            stdin=terminal if keys else subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
        )
        while process.poll() is None:
            os.write(keyboard, keys)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        printed.seek(0)
        # That two traces differ is no failure.
        assert process.returncode <= (" diff " in command), f"{command}: {printed.read().decode()}"


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The folder for one page, whose examples may build on each other."""
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    (place / ".local/share/bash-completion/completions").mkdir(parents=True)
    (place / ".zfunc").mkdir()
    return place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: " ".join(page) or "paravane")
def test_the_examples_of_a_page_can_be_typed(
    page: tuple[str, ...], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*page, "--help"]) == 0
    commands = examples(capsys.readouterr().out)
    assert commands, "a page without examples"
    for command in commands:
        assert command.startswith("paravane "), command
        # Any port will do: somebody else of this host may have that one.
        shell(copy, re.sub(r"\btcp:\d+", "tcp:0", command))


@pytest.mark.parametrize("verb", sorted(OF_A_MACHINE))
def test_the_examples_about_a_machine_can_be_typed_while_it_runs(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    (tmp_path / "data.img").write_bytes(bytes(1 << 20))
    machines = Machines(tmp_path)
    suspend = machines.kernel("suspend", SUSPEND.read_text())
    files = [machines.domain("web", suspend, vfb="vnc=0", extra="asked"), machines.domain("db", vfb="vnc=0")]
    with machines.running(*files, lines=("web | ready", "db  | ready")):
        for command in examples(capsys.readouterr().out):
            shell(tmp_path, command, keys=CTRL_BRACKET)


def test_what_is_said_beside_an_example_is_not_typed() -> None:
    page = "\nexamples:\n  paravane list        every name\n  paravane boot a -- b\n"
    assert examples(page) == ["paravane list", "paravane boot a -- b"]
