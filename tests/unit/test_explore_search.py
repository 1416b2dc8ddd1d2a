"""Which of many runs is the one that failed: not the one that was done first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig
from paravane.faults import Fault
from paravane.tools.explore import search as searching
from paravane.tools.explore.search import DIED, Draws, search
from paravane.tools.explore.trial import Draw, Plan, Trial
from paravane.variation import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

PLAN = Plan(b"", DomainConfig(memory=4 << 20))
SEEDS = Draws(range(10, 14), PLAIN)


def done_in(order: Sequence[int], statuses: dict[int, int], asked: list[list[int]]) -> Callable[..., object]:
    """In place of `workers.each`: draws are done in an order of their seeds, with these statuses, or 0."""

    def each(
        call: object, draws: Sequence[Draw], jobs: int, died: Callable[[str], Trial]
    ) -> Generator[tuple[int, Trial]]:
        asked.append([draw.seed for draw in draws])
        for seed in order:
            places = [at for at, draw in enumerate(draws) if draw.seed == seed]
            for at in places:
                status = statuses.get(seed, 0)
                trial = Trial(draws[at], status, ("wrong",) if status else (), faults=(Fault("disk", 0, ""),))
                yield at, died("killed") if status == DIED else replace(trial, nr_faults=1)

    return each


@pytest.mark.parametrize("order", list(permutations(range(10, 14))))
def test_the_lowest_seed_that_fails_counts(order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "each", done_in(order, {11: 3, 13: 9}, []))
    found = search(PLAN, SEEDS, 2, None, Counter())
    assert found is not None
    assert (found.draw.seed, found.status) == (11, 3)


def test_faults_are_counted_by_their_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "each", done_in(range(10, 14), {}, []))
    faults: Counter[str] = Counter()
    assert search(PLAN, SEEDS, 2, None, faults) is None
    assert +faults == Counter(disk=4)


def test_a_process_that_somebody_killed_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its run is tried once more, and the search goes on after it."""
    asked: list[list[int]] = []
    statuses = {11: DIED, 13: 3}
    first = done_in(range(10, 14), statuses, asked)

    def each(*about: object) -> object:
        if len(asked) == 1:
            statuses.pop(11)
        return first(*about)

    monkeypatch.setattr(searching, "each", each)
    found = search(PLAN, SEEDS, 2, None, Counter())
    assert found is not None
    assert found.draw.seed == 13
    assert asked == [[10, 11, 12, 13], [11], [12, 13]]


def test_a_run_that_ends_every_process_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "each", done_in(range(10, 14), {11: DIED}, []))
    found = search(PLAN, SEEDS, 2, None, Counter())
    assert found is not None
    assert (found.draw.seed, found.status, found.findings) == (11, DIED, ("killed",))


def test_draws_are_made_when_they_are_asked_for() -> None:
    draws = Draws(range(1, 1 << 62), PLAIN)
    assert draws[-1] == Draw((1 << 62) - 1)
    assert list(draws[2:4]) == [Draw(3), Draw(4)]
