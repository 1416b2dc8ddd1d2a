"""Many runs of one kernel, here or elsewhere, and the first of them that fails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, overload

from paravane.tools.explore.trial import Draw, Trial, run
from paravane.tools.progress import telling
from paravane.tools.workers import each

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator

    from paravane.tools.cluster import Cluster
    from paravane.tools.explore.trial import Plan
    from paravane.variation import Variation

DIED = -1
"""The status of a run that took the process along which ran it."""


class Draws(Sequence[Draw]):
    """Those of some seeds, which are made when they are asked for: there may be any number."""

    def __init__(self, seeds: range, variation: Variation) -> None:
        self._seeds = seeds
        self._variation = variation

    def __len__(self) -> int:
        return len(self._seeds)

    @overload
    def __getitem__(self, at: int) -> Draw: ...
    @overload
    def __getitem__(self, at: slice) -> Draws: ...
    def __getitem__(self, at: int | slice) -> Draw | Draws:
        if isinstance(at, slice):
            return Draws(self._seeds[at], self._variation)
        return Draw(self._seeds[at], self._variation)


def search(
    plan: Plan, draws: Sequence[Draw], jobs: int, cluster: Cluster | None, faults: Counter[str]
) -> Trial | None:
    """The run that fails and has the lowest seed, whichever of several at a time is done first. Those that
    are under way then are not waited for. They run here, `jobs` at a time, or on a cluster. `faults` counts
    those of all runs, by kind as far as they are known."""
    if cluster is not None:
        found = _lowest(draws, cluster.each(run, plan, draws, _died), faults)
        return found if found is None else _as_here(plan, found)
    while (found := _lowest(draws, each(partial(run, plan), draws, jobs, _died), faults)) is not None:
        again = _tried_again(plan, found)
        if again.failed:
            return again
        # Somebody else has ended the process: the kernel has nothing to do with it.
        draws = draws[found.draw.seed - draws[0].seed + 1 :]
    return None


def _lowest(
    draws: Sequence[Draw], trials: Generator[tuple[int, Trial]], faults: Counter[str]
) -> Trial | None:
    """Of the runs that fail the first, once all before it are known not to."""
    failed: dict[int, Trial] = {}
    ahead: set[int] = set()
    following = 0  # the first of which nothing is known
    with telling(lambda: f"{following + len(ahead)} of {len(draws)} runs"), closing(trials):
        for at, trial in trials:
            faults.update(fault.kind for fault in trial.faults)
            faults["others"] += trial.nr_faults - len(trial.faults)
            if trial.failed:
                failed[at] = trial if trial.status != DIED else replace(trial, draw=draws[at])
            ahead.add(at)
            while following in ahead:
                if following in failed:
                    return failed[following]
                ahead.remove(following)
                following += 1
    return None


def _tried_again(plan: Plan, found: Trial) -> Trial:
    """What comes of a run whose process has ended in the middle of it, in another one; any other as it is."""
    if found.status != DIED:
        return found
    # Two, so that it is no run in this very process.
    ((_, again),) = each(partial(run, plan), [found.draw], 2, _died)
    return again if again.status != DIED else found


def _as_here(plan: Plan, found: Trial) -> Trial:
    """What the run looks like here, where the sources are, and whoever wants to look at it."""
    if found.status == DIED:
        return found
    here = run(plan, found.draw)
    if here.alike(found):
        return here
    different = "it fails in another way, or not at all, on this machine"
    return replace(found, findings=(*found.findings, different))


def _died(how: str) -> Trial:
    return Trial(Draw(0), DIED, (how,))
