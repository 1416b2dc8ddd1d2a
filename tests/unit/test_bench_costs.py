"""`paravane bench traps|memory|start`: what is measured by whom, and how it is said."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest

from paravane.gateway import native
from paravane.tools.bench import costs, gateways, host, timing
from paravane.tools.bench.bare import IN_C, IN_PYTHON, BareEngine
from paravane.tools.bench.loops import image, loop
from paravane.tools.bench.row import Floor, Row
from paravane.tools.cli import main
from paravane.tools.status import UsageError
from tests.support.small_machines import image as kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENDS = """
    .include "runtime.inc"
    XEN_NOTES ends
    .data
    .balign 4
turns:  .long 0
chosen: .long 0
    .text
main:
    PRINT "over already\\n"
    ret
"""


@pytest.fixture
def nothing_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.SWITCH, "0")


def _fake(name: str, figures: Callable[[str], Iterator[float]]) -> Row:
    """A row that says what `figures` of its gateway, or of "floor", gives."""

    @contextmanager
    def prepare(which: str) -> Iterator[Callable[[], float]]:
        given = figures(which)
        yield lambda: next(given)

    return Row(name, "nothing", Floor("nothing", partial(prepare, "floor")), prepare)


def test_a_figure_is_the_least_of_the_rounds_and_each_has_its_turn_in_each() -> None:
    asked: list[str] = []

    def figures(which: str) -> Iterator[float]:
        for figure in {"floor": (2, 1, 3), "python": (40, 50, 30), "c": (6, 4, 5)}[which]:
            asked.append(which)
            yield figure

    found = costs.measure(_fake("it", figures), ("python", "c"), 3)
    assert found.floor == 1
    assert found.taken == {"python": 30, "c": 4}
    assert asked == ["floor", "python", "c"] * 3


@pytest.mark.parametrize("which", [("python",), ("c",), ("python", "c")])
def test_a_table_has_the_columns_of_what_was_measured(which: tuple[str, ...]) -> None:
    cost = costs.Cost(_fake("it", lambda _: count()), 5e-8, dict(zip(which, (2e-6, 1e-7), strict=False)))
    head, row = costs.table([cost], which)
    assert len(head) == len(row)
    assert head[1::2][: len(which)] == list(which)
    assert ("python / c" in head) == (len(which) == 2)
    assert row[:3] == ["it", "2.00 us", "40.0"]
    assert row[-2:] == ["50.0 ns", "nothing"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(2.5, "2.50 s"), (0.253, "253 ms"), (8.23e-6, "8.23 us"), (21.4e-9, "21.4 ns"), (5e-10, "0.50 ns")],
)
def test_durations_have_three_digits(seconds: float, said: str) -> None:
    assert costs.duration(seconds) == said


def test_it_is_done_more_often_until_it_takes_long_enough() -> None:
    clock = count(step=0.004)  # what is done twice takes as long as what is done once
    done: list[int] = []

    def work(times: int) -> int:
        done.append(times)
        return times

    measure = timing.Growing(work, 2, lambda: next(clock) * len(done)).measure
    assert done[-1] >= timing.LEAST
    assert done == [2**at for at in range(len(done))]
    assert measure() > 0
    assert done[-1] == done[-2]


def test_rows_are_named_once_and_found_by_patterns() -> None:
    names = [row.name for rows in costs.BENCHES.values() for row in rows]
    assert len(set(names)) == len(names)
    assert [row.name for row in costs.selected("memory", ["changed-1*", "invlpg"])] == [
        "changed-1",
        "changed-16",
        "changed-128",
        "invlpg",
    ]
    assert costs.selected("traps", ["invlpg"]) == []
    costs.check_patterns(("traps", "memory"), ("*-1", "yield"))
    with pytest.raises(UsageError, match="no row is called 'yield': there are unchanged-1, "):
        costs.check_patterns(("memory",), ("*", "yield"))


@pytest.mark.both_modes
@pytest.mark.usefixtures("nothing_in_c")
def test_without_a_gateway_in_c_python_alone_is_measured() -> None:
    assert gateways.chosen(None) == ("python",)
    assert gateways.chosen("python") == ("python",)
    for wanted in ("c", "both"):
        with pytest.raises(UsageError, match="switched off by PARAVANE_NATIVE"):
            gateways.chosen(wanted)


@pytest.mark.both_modes
def test_the_environment_is_what_it_was_after_machines_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "0", "some/library.so"):
        if before is None:
            monkeypatch.delenv(native.SWITCH, raising=False)
        else:
            monkeypatch.setenv(native.SWITCH, before)
        with gateways.gateway(gateways.PYTHON):
            assert os.environ[native.SWITCH] == "0"
        with gateways.gateway(gateways.C):
            assert os.environ.get(native.SWITCH) == before
        assert os.environ.get(native.SWITCH) == before


def test_the_host_is_described() -> None:
    said = host.description()
    assert all(said.values())
    assert str(said["native"]).startswith("native gateway: ")


@pytest.mark.both_modes
@pytest.mark.slow
def test_a_gateway_in_c_is_there_where_it_is_measured_and_only_there() -> None:
    """So much that each mode measures itself: what C serves, it has served in one and not in the other."""
    for which in gateways.chosen(None):
        with gateways.gateway(which), loop(image("traps"), "hypercall") as repeated:
            found = repeated.domain.vcpus[0].gateway
            if which == gateways.PYTHON:
                assert found is None
            else:
                assert found is not None
                before = found.served
                turns = repeated.turn(100)
                assert turns >= 99
                assert found.served - before >= turns - 1


@pytest.mark.slow
def test_a_guest_goes_round_once_at_least_however_many_traps_that_takes() -> None:
    """This one takes twice as many as is said, as one whose hypercalls are preempted."""
    with loop(image("traps"), "hypercall_iret", traps=1) as repeated:
        assert all(repeated.turn(1) >= 1 for _ in range(10))


@pytest.mark.slow
def test_a_guest_that_ends_is_an_error_that_says_what_it_printed() -> None:
    with pytest.raises(RuntimeError, match="over already"), loop(kernel(ENDS), "main"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("hook", [IN_PYTHON, IN_C], ids=["python", "c"])
def test_the_bare_engine_takes_its_traps_and_stops(hook: object) -> None:
    with BareEngine(hook) as engine:
        assert engine.execute("traps_2_iret", 1000) == 1000
        assert engine.execute("trap_stores_512", 3) == 3


@pytest.mark.both_modes
@pytest.mark.slow
def test_figures_are_written_as_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "WINDOW", 0.0)
    path = tmp_path / "figures.json"
    words = ("--rows", "hypercall,unchanged-1", "--rounds", "1", "--gateway", "python", "--json", str(path))
    assert main(("bench", "traps", "memory", "traps", *words)) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert [line.split()[0] for line in said.out.splitlines() if line] == [
        "traps:",
        "row",
        "hypercall",
        "memory:",
        "row",
        "unchanged-1",
    ]
    written = json.loads(path.read_text())
    assert written["host"] == host.description()
    assert list(written["benches"]) == ["traps", "memory"]
    (row,) = written["benches"]["traps"]
    assert set(row) == {"row", "what", "floor", "floor_us", "python_us"}
    assert row["row"] == "hypercall"
    assert row["python_us"] > 0
    assert row["floor_us"] > 0
