"""A failure with less of chance in it: what remains is nearer to what matters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.tools.explore.trial import Draw, Trial


def shrink(found: Trial, again: Callable[[Draw], Trial]) -> Trial:
    """The same failure with timers in time, if it is not for them, and with as few turns of chance as a
    search by halves finds. `again` runs a draw."""
    seed, variation = found.draw.seed, found.draw.variation
    if variation.jitter:
        found = _better(found, again(replace(found.draw, variation=replace(variation, jitter=0))))
        variation = found.draw.variation
    fewest, most = 0, found.decisions
    while fewest < most:
        middle = (fewest + most) // 2
        trial = again(replace(found.draw, seed=seed, variation=replace(variation, decisions=middle)))
        if trial.alike(found):
            found, most = trial, middle
        else:
            fewest = middle + 1
    return found


def _better(found: Trial, other: Trial) -> Trial:
    return other if other.alike(found) else found
