"""What `--help` promises to be: options in groups with names, and every variable that the code reads."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

import paravane
import paravane.tools
from paravane.tools.commands import whole_parser

_READ = re.compile(r"""(?:environ\.get\(|environ\[|getenv\()["'](\w+)["']""")


def _command(name: str) -> argparse.ArgumentParser:
    (choices,) = (action.choices for action in whole_parser()._actions if isinstance(action.choices, dict))
    command = choices[name]
    assert isinstance(command, argparse.ArgumentParser)
    return command


@pytest.mark.parametrize("name", ["boot", "trace"])
def test_each_option_of_a_command_with_many_is_in_a_group_with_a_name_of_its_own(name: str) -> None:
    command = _command(name)
    in_general = {option for action in command._optionals._group_actions for option in action.option_strings}
    assert in_general == {"-h", "--help"}


def test_boot_explains_each_of_its_options() -> None:
    assert [action.dest for action in _command("boot")._actions if not action.help] == []


def test_help_names_each_variable_of_the_environment_that_is_read() -> None:
    folders = {Path(module.__file__ or "").parent for module in (paravane, paravane.tools)}
    sources = {path for folder in folders for path in folder.rglob("*.py")}
    read = {name for source in sources for name in _READ.findall(source.read_text())}
    assert "XDG_CACHE_HOME" in read
    part = whole_parser().format_help().partition("\nenvironment:\n")[2]
    assert read <= set(re.findall(r"^  (\w+)", part, re.MULTILINE))


def test_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    for columns in ("60", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        lines.append(len(_command("boot").format_help().splitlines()))
    narrow, wide = lines
    assert narrow > wide
