"""The rows of `paravane bench`, each with every gateway that can be had, beside its floor."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from paravane.tools.bench import costs, timing
from paravane.tools.bench.gateways import PYTHON, chosen, gateway
from paravane.tools.bench.loops import image, loop
from paravane.tools.bench.row import Routine
from tests.support.work import lines_executed

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.tools.bench.row import Row

pytestmark = pytest.mark.both_modes

GATEWAYS = chosen(None)
ROWS = [
    *product((*costs.BENCHES["traps"], *costs.BENCHES["memory"]), GATEWAYS),
    *product(costs.BENCHES["start"], GATEWAYS[-1:]),  # a process each
]
OLDER_TABLES = (
    Routine("memory", "unchanged_128", two_level=True),
    Routine("memory", "changed_128", 2, 2, two_level=True),
    Routine("memory", "stores", 2, 2, two_level=True),
    Routine("memory", "base_pointer", two_level=True),
    Routine("memory", "pins", traps=2, two_level=True),
)
NO_SLICE = 100_000_000
"""Instructions: more than a guest executes here, so that no slice ends meanwhile."""


@pytest.fixture(autouse=True)
def as_little_as_can_be(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is measured, that a row works is all that is asked."""
    if request.config.getoption("benchmark_disable"):
        monkeypatch.setattr(timing, "WINDOW", 0.0)
        monkeypatch.setattr(timing, "LEAST", 1)


@pytest.mark.parametrize(("row", "which"), ROWS, ids=[f"{row.name}-{which}" for row, which in ROWS])
def test_row(benchmark: Any, row: Row, which: str) -> None:
    with row.floor.prepare() as floor, row.prepare(which) as measure:
        assert floor() > 0
        taken = _benched(benchmark, measure)
        if benchmark.stats is not None:
            lowest = min(floor() for _ in range(10))
            benchmark.extra_info.update(
                cost=costs.duration(taken), floor=costs.duration(lowest), floors=round(taken / lowest, 1)
            )


@pytest.mark.parametrize("routine", OLDER_TABLES, ids=lambda routine: routine.name)
def test_page_tables_of_two_levels(benchmark: Any, routine: Routine) -> None:
    with routine.prepare(PYTHON) as measure:
        benchmark.extra_info["cost"] = costs.duration(_benched(benchmark, measure))


def test_batches_cost_less_an_update_than_single_calls() -> None:
    """What batches are for: in lines of Python, which no host changes."""

    def lines_an_update(size: int) -> float:
        kernel = image("memory")
        with gateway(PYTHON), loop(kernel, f"changed_{size}", 2, slice_instructions=NO_SLICE) as repeated:
            few, more = (lines_executed(partial(repeated.turn, turns)) for turns in (2, 4))
        return (more - few) / 2 / 2 / size

    assert lines_an_update(128) < lines_an_update(1) / 1.25


def _benched(benchmark: Any, measure: Callable[[], float]) -> float:
    """The least of ten times, or what one said where nothing is measured."""
    figures: list[float] = []
    benchmark.pedantic(lambda: figures.append(measure()), rounds=10)
    assert min(figures) > 0
    return min(figures)
