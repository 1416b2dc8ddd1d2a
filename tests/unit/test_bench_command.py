"""`paravane bench`: what well-behaved guests keep beside others, by the accounting, and the tables."""

from __future__ import annotations

import json
import re
import shlex
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import count
from multiprocessing import active_children
from typing import TYPE_CHECKING

import pytest

from paravane.gateway.native import SWITCH
from paravane.sched import POLICIES
from paravane.tools.bench import costs, guests, isolation, pool, scale, sched, trial
from paravane.tools.bench.turns import in_turn
from paravane.tools.cli import main
from paravane.tools.status import Status
from tests.unit.test_help_examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from paravane.tools.bench.row import Row

pytestmark = pytest.mark.slow

AT_LEAST = {
    "computes": 0,
    "storms events": 10_000,
    "storms faults": 10_000,
    "flaps page tables": 10_000,
    "floods its console": 500,
}
"""Entries into the hypervisor in a second, without which nobody was bothered."""


@pytest.fixture
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the time that `bench isolation` measures, counted as the whole is."""
    monkeypatch.setattr(isolation, "SECONDS", 0.4)


@pytest.mark.usefixtures("shorter")
@pytest.mark.parametrize("kind", guests.HOSTILE)
def test_well_behaved_guests_keep_their_share(kind: str) -> None:
    found = isolation.measure(kind)
    assert found.worst >= isolation.ENOUGH
    assert found.hostile <= 110
    assert found.entries >= AT_LEAST[kind]


@pytest.mark.usefixtures("shorter")
@pytest.mark.parametrize("policy", ["credit", "rr"])
@pytest.mark.parametrize("kind", ["storms events", "floods its console"])
def test_so_they_do_under_the_other_policies(kind: str, policy: str) -> None:
    assert isolation.measure(kind, policy).worst >= isolation.ENOUGH


def test_the_figures_of_the_policies_are_what_they_promise() -> None:
    found = {policy: sched.measure(policy, 1.0) for policy in POLICIES}
    for policy in ("bvt", "credit"):
        assert found[policy].shares == pytest.approx((100 / 7, 200 / 7, 400 / 7), abs=3)
        assert found[policy].waits[0] < 1000
    assert found["rr"].shares == pytest.approx((100 / 3,) * 3, abs=2)
    assert found["rr"].waits[0] > 10_000
    assert found["credit"].capped == pytest.approx(sched.CAP, abs=0.5)
    assert found["bvt"].capped is None
    rows = sched.table(list(found), list(found.values()))
    assert [row[0] for row in rows] == ["policy", "(fair)", *found]
    assert len({len(row) for row in rows}) == 1


def test_an_idle_domain_takes_little() -> None:
    """No figure of time: that is the host's. Memory is what the kernel says of this process."""
    found = scale.idle(4)
    assert 0 < found.memory <= trial.MEMORY + (4 << 20)
    assert found.everything > found.memory


@pytest.mark.parametrize("load", scale.LOADS)
def test_many_domains_do_what_they_are_counted_for(load: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "SECONDS", 0.05)
    with scale._working(load, 3 if load != "events in pairs" else 4) as turn:
        # On a busy host a turn may be over before anybody had any of it.
        assert any(turn() > 0 for _ in range(400))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[object]]:
    """Has nothing measured; gives what would have been."""
    asked: list[object] = []

    def isolated(kind: str, policy: str, *, host: bool) -> isolation.Figures:
        asked.append((kind, policy, host))
        return isolation.Figures((100.0, 89.9, 100.0), None if host else 95.0, 110.0, 5.0)

    def scaled(load: str) -> list[list[float]]:
        return [[100.0 * len(load), 200.0, 300.0 + domains] for domains in scale.DOMAINS]

    def idle(domains: int) -> scale.Idle:
        return scale.Idle(3 << 20, (3 << 20) * domains, 0.005, 0.002)

    def cost(row: Row, gateways: Sequence[str], rounds: int) -> costs.Cost:
        asked.append((row.name, *gateways, rounds))
        return costs.Cost(row, 5e-8, dict.fromkeys(gateways, 1.5e-6))

    def each(measure: Callable[[object], object], points: list[object], jobs: int, **_: bool) -> list[object]:
        asked.append(jobs)
        return [measure(point) for point in points]

    monkeypatch.setattr(isolation, "measure", isolated)
    monkeypatch.setattr(scale, "measure", scaled)
    monkeypatch.setattr(scale, "idle", idle)
    monkeypatch.setattr(costs, "measure", cost)
    monkeypatch.setattr(pool, "each", each)
    return lambda: asked


def test_the_examples_of_the_help_can_be_typed(
    quick: Callable[[], list[object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With next to nothing to measure: that takes long."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sched, "measure", partial(sched.measure, seconds=0.2))
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--help"]) == 0
    typed = examples(capsys.readouterr().out)
    assert quick() == []
    for line in typed:
        name, verb, *words = shlex.split(line)
        assert (name, verb) == ("paravane", "bench")
        assert main([verb, *words]) in (Status.OK, Status.ERRORS), line  # some shares are not kept here
        told = capsys.readouterr().err
        assert re.fullmatch(r"(paravane: native gateway: no: .*: Python alone is measured\n)?", told)
    assert len(quick()) > len(typed)


def test_a_share_that_is_not_kept_is_told_by_the_status(
    quick: Callable[[], list[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "isolation", "--host", "--sched", "rr", "-j", "3"]) == 1
    assert quick() == [3, *((kind, "rr", True) for kind in guests.HOSTILE)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["computes", "100.0", "%", "89.9", "%", "100.0", "%", "-", "110.0", "%", "5"]


def test_figures_of_shares_and_curves_are_written_too(
    quick: Callable[[], list[object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    assert main(["bench", "isolation", "scale", "--json", str(path)]) == 1  # a share is not kept
    assert capsys.readouterr().out.startswith("isolation:\n")
    benches = json.loads(path.read_text())["benches"]
    assert [row["beside"] for row in benches["isolation"]] == list(guests.HOSTILE)
    assert benches["isolation"][0]["time"] == [100.0, 89.9, 100.0]
    assert [row["domains"] for row in benches["scale"]] == list(scale.DOMAINS)
    assert benches["scale"][0]["loads"]["rounds"] == {"a_second": 301.0, "kept": 1.0}
    assert benches["scale"][0]["memory"] == 3 << 20
    assert quick()


def test_a_curve_is_drawn_into_a_file(
    quick: Callable[[], list[object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "scale.svg"
    assert main(["bench", "scale", "-o", str(picture)]) == 0
    assert b"<svg" in picture.read_bytes()
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(scale.DOMAINS)
    assert quick() == [1]


@pytest.mark.parametrize(
    "words",
    [
        ("sched", "-o", "x.svg"),
        ("sched", "--host"),
        ("scale", "--sched", "rr"),
        ("scale", "-j", "0"),
        ("sched", "--gateway", "python"),
        ("traps", "-j", "2"),
        ("traps", "--rows", "hypercall,unchanged-1"),
        ("memory", "--rounds", "0"),
        ("memory", "--json", "no/such/folder/memory.json"),
        ("nothing",),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", ["scale.nothing", "no/such/folder/scale.svg"])
def test_a_picture_that_cannot_be_written_is_a_line_before_anything_is_measured(
    name: str, quick: Callable[[], list[object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert main(["bench", "scale", "-o", str(tmp_path / name)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert quick() == []


def test_without_matplotlib_nothing_is_measured(
    quick: Callable[[], list[object]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["bench", "scale", "-o", "scale.svg"]) == 2
    assert "pip install 'paravane[bench]'" in capsys.readouterr().err
    assert quick() == []


def _square(number: int) -> int:
    return number * number


def test_points_are_measured_in_processes_of_their_own_and_in_order() -> None:
    assert pool.each(_square, range(3), 2) == [0, 1, 4]
    assert pool.each(_square, range(2), 1, apart=True) == [0, 1]


def test_how_much_is_measured_is_told_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[Callable[[], str]] = []

    def telling(state: Callable[[], str]) -> AbstractContextManager[None]:
        states.append(state)
        return nullcontext()

    monkeypatch.setattr(pool, "telling", telling)
    assert pool.each(lambda _: states[0](), range(2), 1) == ["measured 0 of 2", "measured 1 of 2"]


@contextmanager
def _counting(start: int) -> Iterator[Callable[[], float]]:
    """Gives its start, the number after it, ..., and fails at 103."""
    numbers = count(start)

    def measure() -> float:
        if (number := next(numbers)) == 103:
            raise ValueError("103 cannot be measured")
        return number

    yield measure


def test_points_are_measured_in_turn_each_in_its_own_process() -> None:
    assert in_turn(_counting, (1, 10), 3) == [[1, 2, 3], [10, 11, 12]]
    assert active_children() == []


def test_what_a_measuring_process_raises_ends_them_all() -> None:
    with pytest.raises(ValueError, match="103 cannot be measured"):
        in_turn(_counting, (1, 101), 3)
    assert active_children() == []


def test_a_machine_is_compared_with_what_the_first_one_did_at_the_time() -> None:
    """The host has become half as fast after the first turn: of that the share shows nothing."""
    figures = [[100.0, 50.0, 0.0, 50.0], [80.0, 40.0, 70.0, 40.0]]
    assert scale.kept(figures, 1) == 0.8
    assert scale.kept([[0.0], [1.0]], 1) == 0


def test_who_measures_python_alone_is_told_why(
    quick: Callable[[], list[object]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SWITCH, "0")
    for asked, told in (
        ([], f"paravane: native gateway: no: switched off by {SWITCH}: Python alone is measured\n"),
        (["--gateway", "python"], ""),
    ):
        assert main(["bench", "traps", "--rows", "cpuid", *asked]) == Status.OK
        assert capsys.readouterr().err == told
    assert [asked for asked in quick() if asked != 1] == [("cpuid", "python", 10)] * 2
