"""How a failure becomes smaller: by halves, and never into another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paravane.faults import Fault
from paravane.tools.explore.shrink import shrink
from paravane.tools.explore.trial import Draw, Trial
from paravane.variation import PLAIN, Variation


def _trial(draw: Draw, *, status: int, decisions: int) -> Trial:
    return Trial(draw, status, ("wrong",) if status else (), decisions=decisions)


@pytest.mark.parametrize("needed", [0, 1, 63, 99, 100])
@pytest.mark.parametrize("timers", [False, True])
def test_as_few_decisions_as_it_takes(needed: int, timers: bool) -> None:
    def again(draw: Draw) -> Trial:
        limit = draw.variation.decisions
        taken = 100 if limit is None else limit
        fails = taken >= needed and (draw.variation.jitter > 0 or not timers)
        return _trial(draw, status=9 if fails else 0, decisions=taken)

    least = shrink(again(Draw(7, Variation(jitter=50))), again)
    assert least.status == 9
    assert least.decisions == needed
    assert least.draw.seed == 7
    assert least.draw.variation.jitter == (50 if timers else 0)


def test_another_failure_is_not_taken_for_it() -> None:
    def again(draw: Draw) -> Trial:
        taken = 8 if draw.variation.decisions is None else draw.variation.decisions
        return _trial(draw, status=9 if taken >= 6 else 3, decisions=taken)

    assert shrink(again(Draw(1)), again).decisions == 6


@pytest.mark.parametrize("figures", [{"jitter": -1}, {"jitter": 1_000_000_001}, {"decisions": -1}])
def test_a_variation_that_cannot_be_is_refused(figures: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(figures))):
        replace(PLAIN, **figures)


def test_of_faults_as_few_as_it_takes_and_no_other_kinds() -> None:
    def again(draw: Draw) -> Trial:
        wanted = draw.variation
        happen = ["disk", "memory", "disk"] if wanted.faults else []
        faults = tuple(Fault(kind, 0, "") for kind in happen[: wanted.most_faults])
        failed = _trial(draw, status=3 if len(faults) >= 1 else 0, decisions=0)
        return replace(failed, nr_faults=len(faults), faults=faults)

    least = shrink(again(Draw(7, Variation(faults=("memory", "disk", "net")))), again)
    assert least.draw.variation == Variation(faults=("disk",), most_faults=1)
    assert [fault.kind for fault in least.faults] == ["disk"]
