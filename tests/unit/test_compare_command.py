"""`paravane compare`: what it prints and draws of a comparison, which is made elsewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from paravane.abi.tlb import TlbKind
from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from paravane.tools.cli import main
from paravane.tools.compare import command
from paravane.tools.compare.comparison import PC_ONLY, SHARED, XEN_ONLY, Comparison
from paravane.tools.compare.costs import Costs, Phases
from paravane.tools.compare.paravirtual import MENDED
from paravane.tools.compare.picture import draw
from paravane.tools.compare.table import table
from paravane.tools.compare.tlb_costs import COUNTS, TlbCosts
from paravane.tools.compare.tlb_table import tlb_table
from paravane.tools.compare.tlbs import TlbComparison, every_kind
from paravane.tools.compare.ways import Modes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from paravane.tlb import TlbSpec
    from paravane.tools.compare.forms import Twice
    from paravane.tools.compare.tlbs import Built

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


def _tlb_comparison(*, with_seconds: bool) -> TlbComparison:
    def costs(kind: TlbKind) -> TlbCosts:
        exits = Counter({"#PF": 2, "int 0x3": 1, MENDED: 1, "mmuext_op": 3})
        return TlbCosts(Costs(exits, nanoseconds=1500), Counter(misses=10 * kind, evictions=1))

    of = {kind: {"other": TlbCosts(Costs(), Counter()), "work": costs(kind)} for kind in TlbKind}
    seconds = {TlbKind.hardware: 2.0, TlbKind.software: 5.0, TlbKind.tagged: 1.0}
    return TlbComparison("tlb", 16, 4, of, seconds if with_seconds else None)


@pytest.fixture
def asked_of_tlbs(monkeypatch: pytest.MonkeyPatch) -> list[TlbSpec]:
    """On which TLBs it would have been compared."""
    asked: list[TlbSpec] = []

    def compare_tlbs(
        kernel: Built, specs: Mapping[TlbKind, TlbSpec], timeout: float, *, with_seconds: bool
    ) -> TlbComparison:
        assert kernel.config.name == "tlb"
        assert timeout > 0
        asked.extend(specs.values())
        return _tlb_comparison(with_seconds=with_seconds)

    monkeypatch.setattr(command, "compare_tlbs", compare_tlbs)
    return asked


@pytest.mark.slow
def test_the_examples_of_the_help_can_be_typed(
    asked: list[Modes],
    asked_of_tlbs: list[TlbSpec],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
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
    assert asked_of_tlbs == list(every_kind(entries=16).values())
    assert len(asked) == len(examples) - 1 > 0
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


def test_the_table_of_tlbs_has_a_line_for_each_in_each_phase() -> None:
    rows = [line.split() for line in tlb_table(_tlb_comparison(with_seconds=False))]
    at = rows.index(["work", "hardware", "10", "1", "0", "0", "0", "7", "3", "1.5"])
    assert rows[at + 1] == ["software", "20", "1", "0", "0", "0", "7", "3", "1.5"]
    assert rows[at + 2] == ["tagged", "30", "1", "0", "0", "0", "7", "3", "1.5"]
    assert rows[at + 3][:3] == ["total", "hardware", "10"]


@pytest.mark.slow
def test_tlbs_as_data_and_as_a_picture(
    asked_of_tlbs: list[TlbSpec], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "tlbs.svg"
    assert main(["compare", "tlb", "--json", "--tlb-ways", "2", "-o", str(picture)]) == 0
    assert asked_of_tlbs == list(every_kind(ways=2).values())
    data = json.loads(capsys.readouterr().out)
    assert set(data) == {"kernel", "entries", "ways", "slice_instructions", "phases", "total"}
    assert (data["kernel"], data["entries"], data["ways"]) == ("tlb", 16, 4)
    assert [phase["name"] for phase in data["phases"]] == ["other", "work"]
    software = data["total"]["software"]
    assert set(software) == {"exits", "reasons", "hypercalls", "nanoseconds", *COUNTS}
    assert (software["exits"], software["hypercalls"], software["misses"]) == (7, 3, 20)
    assert b"<svg" in picture.read_bytes()


@pytest.mark.slow
def test_the_name_of_a_phase_is_drawn_as_it_is(tmp_path: Path) -> None:
    """And not as a formula."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / "compare.svg"
    costs = {"$\\frac{1$": Costs()}
    draw(Comparison("twice", Modes(Policy.VTLB, Sensitive.REWRITE), costs, costs), picture)
    assert b"<svg" in picture.read_bytes()


def test_the_name_of_a_kernel_cannot_steer_a_terminal() -> None:
    modes = Modes(Policy.VTLB, Sensitive.REWRITE)
    two = replace(_comparison(modes, with_lines=False, with_seconds=False), kernel="\x1b[2J")
    three = replace(_tlb_comparison(with_seconds=False), kernel="\x1b[2J")
    for lines in (table(two), tlb_table(three)):
        assert lines[0].startswith("\\x1b[2J on ")


@pytest.mark.slow
def test_how_long_the_host_took_with_each_tlb_is_told_where_it_is_asked_for(
    asked_of_tlbs: list[TlbSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "tlb", "--host-time"]) == 0
    assert capsys.readouterr().out.endswith(
        "\nhost: with the software TLB it takes 2.5 times as long as with the hardware one here, now, and "
        "with the tagged one 0.5 times\n"
    )
    assert main(["compare", "tlb", "--host-time", "--json"]) == 0
    seconds = json.loads(capsys.readouterr().out)["host_seconds"]
    assert seconds == {"hardware": 2.0, "software": 5.0, "tagged": 1.0}
    assert len(asked_of_tlbs) == 6


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("tlb", "--shadow", "wp"), "--shadow is for a kernel with `bare`: tlb has `tlb`"),
        (("tlb", "--sensitive", "state"), "--sensitive is for a kernel with `bare`: tlb has `tlb`"),
        (("tlb", "--lines"), "--lines is for a kernel with `bare`: tlb has `tlb`"),
        (("tlb", "--tlb-ways", "3"), "64 entries make no whole sets of 3"),
        (("tlb", "--tlb-entries", "513"), "a TLB has from 1 to 512 entries, not 513"),
        (("twice", "--tlb-ways", "2"), "--tlb-ways is for a kernel with `tlb`: twice has `bare`"),
        (
            ("hello",),
            "hello is not for Xen and a bare PC both, nor for several TLBs: such a kernel has a folder, and "
            "`bare` or `tlb` in its kernel.toml",
        ),
    ],
)
def test_options_have_to_be_for_what_is_compared(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words]) == 2
    assert capsys.readouterr().err == f"paravane: {sentence}\n"
