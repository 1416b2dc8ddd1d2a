"""The tables of memory rules name checks that exist, console lines that guests print, and tests that run."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = re.compile(r"`(\w+)\.py`: ((?:`[\w.]+`(?:, )?)+)")
GUEST_TOKENS = re.compile(r'`(?P<kernel>\w+)`: |"(?P<line>[^"]+)"(?P<pae> \(PAE\))?')
TESTS = re.compile(r"(\w+): ((?:`\w+`(?:, )?)+)")


class Row(NamedTuple):
    """The cells of one rule; `tests` is empty in the short table."""

    rule: str
    checks: str
    guests: str
    tests: str


class Line(NamedTuple):
    """A line that a kernel prints, and whether its two-level form has no such line."""

    kernel: str
    text: str
    pae_only: bool


def rows(readme: str, heading: str) -> list[Row]:
    text = (ROOT / readme).read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    return [Row(*(row + [""])[:4]) for row in cells]


FULL = rows("hypervisor/memory/README.md", "The rules")
SHORT = rows("README.md", "Rules a guest cannot break")
EVERY = [
    pytest.param(row, id=f"{name}-{row.rule}") for name, t in (("full", FULL), ("short", SHORT)) for row in t
]


def names(quoted: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", quoted)


def lines(row: Row) -> list[Line]:
    kernel, found = "", list[Line]()
    for token in GUEST_TOKENS.finditer(row.guests):
        kernel = token["kernel"] or kernel
        if token["line"]:
            found.append(Line(kernel, token["line"], bool(token["pae"])))
    return found


def console(kernel: str, name: str) -> set[str] | None:
    path = ROOT / "guest_kernels" / kernel / name
    return {line.strip() for line in path.read_text(encoding="utf-8").splitlines()} if path.exists() else None


def test_the_tables_are_read_whole() -> None:
    assert len(FULL) >= 30
    assert 8 <= len(SHORT) <= 12
    assert all(row.checks and row.guests for row in FULL + SHORT)
    assert all(row.tests for row in FULL)


@pytest.mark.parametrize("row", EVERY)
def test_every_check_exists_where_the_table_says(row: Row) -> None:
    checks = CHECKS.findall(row.checks)
    assert CHECKS.sub("", row.checks).strip("; ") == ""
    for module, quoted in checks:
        package = importlib.import_module(f"paravane.memory.{module}")
        for name in names(quoted):
            assert reduce(getattr, name.split("."), package) is not None


@pytest.mark.parametrize("row", EVERY)
def test_every_line_is_on_the_console_the_table_names(row: Row) -> None:
    assert GUEST_TOKENS.sub("", row.guests).strip("; ") == ""
    assert lines(row)
    for line in lines(row):
        printed = console(line.kernel, "expected.txt")
        assert printed is not None
        assert line.text in printed
        two_level = console(line.kernel, "expected-twolevel.txt")
        if two_level is not None:
            assert (line.text not in two_level) == line.pae_only


@pytest.mark.parametrize("row", FULL, ids=lambda row: row.rule)
def test_every_unit_test_exists(row: Row) -> None:
    assert TESTS.sub("", row.tests).strip("; ") == ""
    for module, quoted in TESTS.findall(row.tests):
        source = (ROOT / f"tests/unit/test_memory_{module}.py").read_text(encoding="utf-8")
        for name in names(quoted):
            assert f"\ndef test_{name}(" in source
