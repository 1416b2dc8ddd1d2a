"""What the README tells a newcomer to type works, and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from paravane.tools.status import Status
from tests.support.needs import BUSYBOX, GRUB, require

if TYPE_CHECKING:
    from tests.support.needs import Piece

README = Path(__file__).parents[2] / "README.md"
ELLIPSIS = "..."


class Block(NamedTuple):
    """A fenced block: its language, its text, and the name of the file it is to be saved as, if any."""

    language: str
    text: str
    file: str


def section(title: str) -> str:
    found = re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found, f"README.md has no section {title!r}"
    return found[1]


def blocks(title: str) -> list[Block]:
    fenced = r"(?:`(?P<file>[\w.]+)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```"
    found = re.finditer(fenced, section(title), re.DOTALL | re.MULTILINE)
    return [Block(match["language"], match["text"], match["file"] or "") for match in found]


def shell(text: str, folder: Path) -> str:
    """What a shell prints in `folder`, where `paravane` and `python3` are those that run the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        check=False,
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def follow(title: str, folder: Path) -> None:
    """Save the files of a section, type its commands, and hold what they print against what is shown."""
    printed = ""
    for block in blocks(title):
        if block.file:
            (folder / block.file).write_text(block.text)
        elif block.language == "sh":
            printed = shell(block.text, folder)
        else:
            assert block.language == "text"
            assert re.fullmatch(pattern(block.text), printed), printed


def pattern(output: str) -> str:
    """An output as the README shows it: dots stand for lines when alone, else for a part of their line."""
    lines = output.splitlines()
    dots = re.escape(ELLIPSIS)
    return "".join(
        "(?:.*\n)*" if line == ELLIPSIS else re.escape(line).replace(dots, ".*") + "\n" for line in lines
    )


def test_the_tour_shows_what_is_printed(tmp_path: Path) -> None:
    follow("Ten minutes", tmp_path)
    assert (tmp_path / "greet.elf").is_file()


def test_the_python_example_runs_on_the_tours_kernel(tmp_path: Path) -> None:
    follow("Ten minutes", tmp_path)
    follow("From Python", tmp_path)


@pytest.mark.parametrize(
    ("title", "piece", "shows"),
    [
        ("Boot a kernel nobody here wrote", GRUB, "\nhi\n"),
        ("Run unmodified applications", BUSYBOX, "b1946ac92492d2347c6235b4d2611184  -\n1\n2\n3\n"),
    ],
)
def test_real_guests_run_as_shown(title: str, piece: Piece, shows: str, tmp_path: Path) -> None:
    (block,) = blocks(title)
    place = f"$(python3 -m tests.support.needs {piece.package})"
    assert place in block.text
    assert shows in shell(block.text.replace(place, str(require(piece))), tmp_path)


def test_every_exit_status_is_told() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", section("The command"), re.MULTILINE)
    told = {int(number) for row in rows for number in row.split(",")}
    assert told == {status.value for status in Status}
