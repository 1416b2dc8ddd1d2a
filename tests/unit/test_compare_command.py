"""`paravane compare`: what it prints and draws of a comparison, which is made elsewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from paravane.tools.cli import main
from paravane.tools.compare import command
from paravane.tools.compare.comparison import PC_ONLY, SHARED, XEN_ONLY, Comparison
from paravane.tools.compare.costs import Costs, Phases
from paravane.tools.compare.table import table
from paravane.tools.compare.ways import Modes

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.tools.compare.forms import Twice

LINES = {SHARED: {"cpu": 30, ".": 2}, XEN_ONLY: {"memory": 20}, PC_ONLY: {"full": 40}}


def _comparison(modes: Modes, *, with_lines: bool, with_seconds: bool) -> Comparison:
    none = Costs()
    return Comparison(
        "twice",
        modes,
        {"other": none, "work": Costs(Counter(multicall=2), entries=7)},
        {"other": none, "work": Costs(Counter({"iret": 3, "int n": 4}), instructions=3, flushes=1)},
        LINES if with_lines else None,
        (2.0, 5.0) if with_seconds else None,
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Modes]:
    """How it would have been compared."""
    modes: list[Modes] = []

    def compare(
        kernel: Twice, how: Modes, timeout: float, *, with_lines: bool, with_seconds: bool
    ) -> Comparison:
        assert kernel.name == "twice"
        assert timeout > 0
        modes.append(how)
        return _comparison(how, with_lines=with_lines, with_seconds=with_seconds)

    monkeypatch.setattr(command, "compare", compare)
    return modes


@pytest.mark.slow
def test_the_examples_of_the_help_can_be_typed(
    asked: list[Modes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing to count: that takes long."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--help"]) == 0
    examples = capsys.readouterr().out.partition("\nexamples:\n")[2].splitlines()
    for line in examples:
        name, *words = shlex.split(re.split(r"\s{2,}", line.strip())[0])
        assert (name, words[0]) == ("paravane", "compare")
        assert main(words) == 0
        told = capsys.readouterr()
        assert "work" in told.out
        assert told.err == ""
    assert len(asked) == len(examples) > 0
    assert b"<svg" in (tmp_path / "compare.svg").read_bytes()


@pytest.mark.slow
def test_figures_of_the_host_are_told_where_they_are_asked_for_alone(
    asked: list[Modes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "twice", "--json"]) == 0
    assert "host_seconds" not in json.loads(capsys.readouterr().out)
    words = ("--host-time", "--lines", "--shadow", "wp", "--sensitive", "state")
    assert main(["compare", "twice", "--json", *words]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["host_seconds"] == {"xen": 2.0, "pc": 5.0}
    assert data["lines"] == LINES
    assert (data["shadow"], data["sensitive"]) == ("wp", "state")
    assert main(["compare", "twice", *words]) == 0
    out = capsys.readouterr().out
    assert out.endswith("\nhost: the bare PC takes 2.5 times as long as Xen here, now\n")
    assert re.search(r"^total +32 +20 +40$", out, re.MULTILINE)
    assert len(asked) == 3


def test_the_table_has_both_ways_side_by_side_and_the_reasons() -> None:
    modes = Modes(Policy.VTLB, Sensitive.REWRITE)
    lines = table(_comparison(modes, with_lines=False, with_seconds=False))
    rows = [line.split() for line in lines]
    assert ["work", "2", "7", "3.5", "0", "3", "7", "0", "0", "1", "0", "0"] in rows
    assert ["other", "0", "0", "-", *"00000000"] in rows
    assert "  bare PC:  4 int n; 3 iret" in lines
    assert "  Xen:      none" in lines


def test_a_number_without_a_phase_is_that_of_none() -> None:
    phases = Phases(("other", "work"))
    assert phases.at(1) is phases.costs["work"]
    assert phases.at(2) is phases.at(0xFFFFFFFF) is phases.at(None) is phases.costs["other"]
