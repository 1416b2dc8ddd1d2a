"""READMEs and pages as what they are to a reader: files to save, commands to type, and what those print.

A fenced block after "`NAME`:" is the file NAME. Otherwise `sh` is typed, `python` run, and `text` is what the
block before it printed; `json`, `txt`, `ld` and the like are only looked at.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support import forked
from tests.support.needs import BUSYBOX, GRUB, GRUB_MODULES, PROGRAMS, require

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
ELLIPSIS = "..."
LANGUAGES = frozenset({"sh", "text", "python", "asm", "c", "ld", "json", "txt"})
"""All that a document may have: what is of another language would go unread."""

_FENCED = re.compile(
    r"(?:`(?P<file>[\w.]+)`:\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)
_INDENTED = re.compile(r"(?:\A|\n)\n {4,}\S.*")
_INLINE = re.compile(r"`([^`\n]+)`")
PIECES = {
    piece.package: piece
    for piece in (
        *(GRUB, GRUB_MODULES, BUSYBOX, PROGRAMS["grub-mkstandalone"], PROGRAMS["mke2fs"]),
        PROGRAMS["qemu-system-i386"],
    )
}
"""Guests and tools of others that a document's commands ask tests.support.needs for."""


class Block(NamedTuple):
    """A fenced block: its language, its text, and the name of the file it is to be saved as, if any."""

    language: str
    text: str
    file: str


def documents() -> list[Path]:
    """Every README of the checkout, and the pages of docs; what is hidden or built is nobody's to read."""
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("*/**/README.md"), ROOT / "README.md"]
    return sorted(path for path in pages if not _is_made(path.relative_to(ROOT)))


def _is_made(path: Path) -> bool:
    return any(part.startswith(".") or part == "build" for part in path.parts)


def section(document: Path, title: str) -> str:
    """A section without its heading. Raises AssertionError when there is none."""
    pattern = rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)"
    found = re.search(pattern, document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found, f"{document} has no section {title!r}"
    return found[1]


def blocks(text: str) -> list[Block]:
    found = _FENCED.finditer(text)
    return [Block(match["language"], match["text"], match["file"] or "") for match in found]


def unfenced(text: str) -> list[str]:
    """First lines of code that is indented instead of fenced, and so would never be run."""
    return [found[0].strip() for found in _INDENTED.finditer(_FENCED.sub("", text))]


def commands_in_prose(text: str) -> list[list[str]]:
    """The words of each `paravane ...` within a sentence, without what follows ` -- `. Commands of which only
    a part is shown, as [-k PATTERN], have their brackets taken off."""
    spans = [span for span in _INLINE.findall(_FENCED.sub("", text)) if span.startswith("paravane ")]
    return [shlex.split(re.sub(r"[\[\]]", " ", span).partition(" -- ")[0]) for span in spans]


def run(command: Iterable[str], folder: Path, places: Iterable[Path] = ()) -> str:
    """What a command prints in `folder`, where `paravane` and `python3` are those that run the tests.
    `places` are other folders that programs are in."""
    folders = (forked.programs(), Path(sys.executable).parent, *places, os.environ["PATH"])
    path = os.pathsep.join(map(str, folders))
    # The options of this run of the tests are not the reader's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    if not entry_points(group="pytest11", name="paravane"):
        # A checkout may just lie on the path; the reader has installed it, and the plugin with it.
        environment["PYTEST_PLUGINS"] = "paravane.testing.plugin"
    done = subprocess.run(
        list(command),
        check=False,
        cwd=folder,
        # The machines that a document starts are not to be met by other tests.
        env=environment | {"PATH": path, "XDG_RUNTIME_DIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def shell(text: str, folder: Path, places: Iterable[Path] = ()) -> str:
    """What commands print in `folder`; one that fails ends them. Guests of others that they ask for are those
    the tests have; where one cannot be had the test is skipped."""
    for package, piece in PIECES.items():
        asked = f"$(python3 -m tests.support.needs {package})"
        if asked in text:
            text = text.replace(asked, shlex.quote(str(require(piece))))
    return run(("bash", "-euo", "pipefail", "-c", text), folder, places)


def follow(text: str, folder: Path, places: Iterable[Path] = ()) -> None:
    """Save the files of a text, type its commands, and hold what they print against what is shown."""
    printed = ""
    for block in blocks(text):
        assert block.language in LANGUAGES, f"nobody knows what to do with a block of {block.language!r}"
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            printed = shell(block.text, folder, places)
        elif block.language == "python":
            printed = run(("python3", "-c", block.text), folder)
        elif block.language == "text":
            assert re.fullmatch(pattern(block.text), printed), printed


def pattern(output: str) -> str:
    """An output as a document shows it: dots stand for lines when alone, else for a part of their line."""
    lines = output.splitlines()
    dots = re.escape(ELLIPSIS)
    return "".join(
        "(?:.*\n)*" if line == ELLIPSIS else re.escape(line).replace(dots, ".*") + "\n" for line in lines
    )
