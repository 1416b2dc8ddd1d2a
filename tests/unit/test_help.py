"""What `--help` promises to be: options in groups with names, and every variable that the code reads."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import paravane
import paravane.tools
from paravane.tools.commands import whole_parser
from paravane.tools.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ = re.compile(r"""(?:environ\.get\(|environ\[|getenv\()(["']?)(\w+)\1""")


def _variables(source: str) -> Iterator[str]:
    """Those of the environment that it reads, by their names or by constants of its own."""
    for quote, name in _READ.findall(source):
        constant = re.search(rf"""^{name}(?:: Final)? = ["'](\w+)["']$""", source, re.MULTILINE)
        if quote:
            yield name
        elif constant:
            yield constant[1]


def _below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of its commands, each once, and of theirs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield command
                yield from _below(command)


COMMANDS = {parser.prog: parser for parser in (whole_parser(), *_below(whole_parser()))}
STATUSES = {status.value for status in Status}


def _command(name: str) -> argparse.ArgumentParser:
    return COMMANDS[f"paravane {name}"]


@pytest.mark.parametrize("prog", [prog for prog in COMMANDS if prog != "paravane"])
def test_each_option_is_explained_in_a_group_with_a_name_of_its_own(prog: str) -> None:
    command = COMMANDS[prog]
    in_general = {option for action in command._optionals._group_actions for option in action.option_strings}
    assert in_general == {"-h", "--help"}
    options = [action for action in command._actions if not isinstance(action, argparse._SubParsersAction)]
    assert [action.dest for action in options if not action.help] == []


@pytest.mark.parametrize("prog", COMMANDS)
def test_a_page_has_its_parts_in_order_and_fits_a_terminal(
    prog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    page = COMMANDS[prog].format_help()
    assert max(map(len, page.splitlines())) <= 110
    titles = re.findall(r"^(exit status|files|environment|examples):$", page, re.MULTILINE)
    assert titles == [
        title for title in ("exit status", "files", "environment", "examples") if title in titles
    ]
    # Of a verb's own verbs, as those of `ctl`, the examples may be on its page.
    assert "examples" in titles or len(prog.split()) > 2
    told = re.findall(r"^ +(\d+)  \S", page.partition("exit status:\n")[2].partition("\n\n")[0], re.MULTILINE)
    assert sorted(map(int, told)) == [int(status) for status in told]
    assert STATUSES.issuperset(map(int, told))


def test_help_names_each_variable_of_the_environment_that_is_read() -> None:
    # In a checkout the folders of the package may be links.
    folders = os.walk(Path(paravane.__file__ or "").parent, followlinks=True)
    sources = [Path(folder, name) for folder, _, names in folders for name in names if name.endswith(".py")]
    read = {name for source in sources for name in _variables(source.read_text())}
    assert read >= {"XDG_CACHE_HOME", "PARAVANE_NATIVE"}
    part = whole_parser().format_help().partition("\nenvironment:\n")[2]
    assert read <= set(re.findall(r"^  (\w+)", part, re.MULTILINE))


def test_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    for columns in ("60", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        lines.append(len(_command("boot").format_help().splitlines()))
    narrow, wide = lines
    assert narrow > wide
