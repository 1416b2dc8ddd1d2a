"""What READMEs and pages tell a newcomer to type works, and prints what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paravane.tools.status import Status
from paravane.tools.verbs import VERBS
from tests.support import runtime_reference
from tests.support.documents import ROOT, blocks, documents, follow, section, shell
from tests.support.needs import BUSYBOX, GRUB, Piece, require, tool

README = ROOT / "README.md"
NEEDED = {"writing-a-kernel.md": ("gcc", "as", "ld"), "tracing-and-debugging.md": ("gdb",)}
"""Programs that a page tells a reader to use."""


@pytest.mark.parametrize(
    "document",
    [path for path in documents() if path != README and blocks(path.read_text(encoding="utf-8"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_page_works_from_its_first_block_to_its_last(document: Path, tmp_path: Path) -> None:
    places = [Path(tool(program)).parent for program in NEEDED.get(document.name, ())]
    follow(document.read_text(encoding="utf-8"), tmp_path, places)


def test_the_first_screen_shows_a_kernel_its_boot_and_a_trace_of_it(tmp_path: Path) -> None:
    """What a reader sees without scrolling: two screens of a terminal at most."""
    text = README.read_text(encoding="utf-8")
    first = "\n".join(text.splitlines()[:100])
    shown = [block for block in blocks(first) if block.language == "asm"]
    assert [block.file for block in shown] == ["greet.S"]
    commands = [block.text for block in blocks(first) if block.language == "sh"]
    assert any("boot greet.S -- world" in command for command in commands)
    assert any("--trace -" in command for command in commands)
    follow(section(README, "A kernel, its boot, its trace"), tmp_path)


def test_the_tour_shows_what_is_printed(tmp_path: Path) -> None:
    follow(section(README, "A kernel, its boot, its trace"), tmp_path)
    follow(section(README, "Ten minutes"), tmp_path)
    assert (tmp_path / "greet.elf").is_file()
    follow(section(README, "From Python"), tmp_path)


@pytest.mark.parametrize(
    ("title", "piece", "shows"),
    [
        ("Boot a kernel nobody here wrote", GRUB, "\nhi\n"),
        ("Run unmodified applications", BUSYBOX, "b1946ac92492d2347c6235b4d2611184  -\n1\n2\n3\n"),
    ],
)
def test_real_guests_run_as_shown(title: str, piece: Piece, shows: str, tmp_path: Path) -> None:
    (block,) = blocks(section(README, title))
    place = f"$(python3 -m tests.support.needs {piece.package})"
    assert place in block.text
    assert shows in shell(block.text.replace(place, str(require(piece))), tmp_path)


def test_every_section_with_commands_is_run() -> None:
    """By one of the tests here; the commands between the ci marks by continuous integration itself."""
    followed = {
        "A kernel, its boot, its trace",
        "Ten minutes",
        "From Python",
        "Boot a kernel nobody here wrote",
        "Run unmodified applications",
    }
    text = README.read_text(encoding="utf-8")
    marked = re.search(r"^<!-- ci -->\n(.*?)^<!-- /ci -->", text, re.DOTALL | re.MULTILINE)
    assert marked is not None
    assert len(blocks(marked[1])) == 2
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    with_commands = {
        title
        for title in titles
        if any(
            block.language in ("sh", "python")
            for block in blocks(section(README, title).replace(marked[0], ""))
        )
    }
    assert with_commands == followed


def test_every_exit_status_is_told() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", section(README, "The command"), re.MULTILINE)
    told = {int(number) for row in rows for number in row.split(",")}
    assert told == {status.value for status in Status}


def test_every_command_is_told() -> None:
    told = set(re.findall(r"^\| `paravane (\w+)", section(README, "The command"), re.MULTILINE))
    assert set(VERBS) <= told


def test_links_lead_to_files() -> None:
    for document in documents():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document}: {target}"


def test_the_page_of_the_runtime_is_that_of_its_sources() -> None:
    """`python3 -m tests.support.runtime_reference` writes it anew."""
    assert runtime_reference.PAGE.read_text(encoding="utf-8") == runtime_reference.render()
