"""What READMEs and pages tell a newcomer to type works, and prints what they say."""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

import pytest

from paravane.tools.status import Status
from paravane.tools.verbs import NAMES, VERBS, Verb
from tests.support import runtime_reference
from tests.support.documents import (
    ROOT,
    blocks,
    commands_in_prose,
    documents,
    follow,
    section,
    shell,
    unfenced,
)
from tests.support.grub import lines
from tests.support.needs import tool
from tests.support.page import Page

README = ROOT / "README.md"
NEEDED = {
    "docs/testing-a-kernel.md": ("gcc", "as", "ld"),
    "docs/tracing-and-debugging.md": ("gdb",),
    "docs/writing-a-kernel.md": ("gcc", "as", "ld"),
}
"""Programs that a page tells a reader to use."""


@pytest.mark.parametrize(
    "document",
    [path for path in documents() if path != README and blocks(path.read_text(encoding="utf-8"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_page_works_from_its_first_block_to_its_last(document: Path, tmp_path: Path) -> None:
    places = [Path(tool(program)).parent for program in NEEDED.get(str(document.relative_to(ROOT)), ())]
    follow(document.read_text(encoding="utf-8"), tmp_path, places)


def test_the_first_screen_shows_a_kernel_its_boot_and_a_trace_of_it() -> None:
    """What a reader sees without scrolling: two screens of a terminal at most. The tour follows it."""
    text = README.read_text(encoding="utf-8")
    first = "\n".join(text.splitlines()[:100])
    shown = [block for block in blocks(first) if block.language == "asm"]
    assert [block.file for block in shown] == ["greet.S"]
    commands = [block.text for block in blocks(first) if block.language == "sh"]
    assert any("boot greet.S -- world" in command for command in commands)
    assert any("--trace -" in command for command in commands)


def test_the_tour_shows_what_is_printed(tmp_path: Path) -> None:
    follow(section(README, "A kernel, its boot, its trace"), tmp_path)
    follow(section(README, "Ten minutes"), tmp_path)
    follow(section(README, "A tour"), tmp_path)
    assert (tmp_path / "greet.elf").is_file()
    follow(section(README, "From Python"), tmp_path)
    follow(section(README, "A test of one's own"), tmp_path)


@pytest.mark.parametrize(
    ("title", "shows"),
    [
        ("Boot a kernel nobody here wrote", "\nhi\n"),
        ("Run unmodified applications", "b1946ac92492d2347c6235b4d2611184  -\n1\n2\n3\n"),
    ],
)
def test_real_guests_run_as_shown(title: str, shows: str, tmp_path: Path) -> None:
    (block,) = blocks(section(README, title))
    assert "$(python3 -m tests.support.needs " in block.text
    assert shows in shell(block.text, tmp_path)


def test_grub_passes_its_script_on_a_disk_as_shown(tmp_path: Path) -> None:
    """Twice, and the second time it finds what the first one has left; coreutils has the same sum."""
    (block,) = blocks(section(README, "Give it a disk"))
    printed = lines(shell(block.text, tmp_path))
    digest = hashlib.sha256((tmp_path / "files" / "greeting").read_bytes()).hexdigest()
    assert [line for line in printed if digest in line] == [digest, digest, f"{digest}  files/greeting"]
    boots = [line for line in printed if line.startswith("boots before this one:")]
    assert boots == ["boots before this one:", "boots before this one: x"]
    for line in (
        "(memdisk) (xen/xvda)",
        "lost+found/ greeting grubenv kernel",
        "a kernel from the disk says hello",
    ):
        assert printed.count(line) == 2, line


def test_consoles_are_elsewhere_as_shown(tmp_path: Path) -> None:
    follow(section(README, "Put its console elsewhere"), tmp_path)


def test_two_domains_meet_on_a_network_as_shown(tmp_path: Path) -> None:
    (block,) = blocks(section(README, "Put two domains on a network"))
    assert "the server says: hello from another domain" in shell(block.text, tmp_path)
    assert (tmp_path / "net.pcap").stat().st_size > 24, "more than the header of a capture (pcap-savefile(5))"


def test_a_trace_becomes_a_page_as_shown(tmp_path: Path) -> None:
    follow(section(README, "A trace as a page"), tmp_path)
    assert Page((tmp_path / "everything.html").read_bytes()).island["tables"]["live"] > 0


def test_a_picture_is_drawn_as_shown(tmp_path: Path) -> None:
    (block,) = blocks(section(README, "Look at it"))
    shown = shell(block.text, tmp_path)
    assert "paint: VNC at 127.0.0.1:59" in shown
    assert "a picture of 320 by 200 pixels" in shown


def test_one_kernel_is_compared_as_shown(tmp_path: Path) -> None:
    readme = ROOT / "tools" / "compare" / "README.md"
    follow(section(readme, "What one sees"), tmp_path)
    follow(section(readme, "Three TLBs"), tmp_path)


def test_no_code_goes_unread_because_it_is_not_fenced() -> None:
    found = {str(path.relative_to(ROOT)): unfenced(path.read_text(encoding="utf-8")) for path in documents()}
    assert {path: lines for path, lines in found.items() if lines} == {}
    assert unfenced("Type:\n\n    paravane list\n\n```sh\n\n    inside\n```\n") == ["paravane list"]


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_sentences_have_a_verb_and_options_that_exist(document: Path) -> None:
    known = {name: _options_of(verb) for name, verb in NAMES.items()}
    for _, verb, *words in commands_in_prose(document.read_text(encoding="utf-8")):
        if verb == "..." or verb.startswith("-"):
            continue
        assert verb in known, f"{document}: there is no `paravane {verb}`"
        for word in words:
            assert not word.startswith("-") or word in known[verb], f"{document}: {verb} has no {word}"


def _options_of(verb: Verb) -> set[str]:
    parser = argparse.ArgumentParser()
    verb.define(parser)
    parsers = [parser]
    found: set[str] = set()
    while parsers:
        for action in parsers.pop()._actions:
            found.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    return found


def test_every_section_with_commands_is_run() -> None:
    """By one of the tests here; the commands between the ci marks by continuous integration itself."""
    followed = {
        "A kernel, its boot, its trace",
        "Ten minutes",
        "From Python",
        "A test of one's own",
        "Boot a kernel nobody here wrote",
        "Give it a disk",
        "Put its console elsewhere",
        "Put two domains on a network",
        "Look at it",
        "Run unmodified applications",
        "A trace as a page",
        "A tour",
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
