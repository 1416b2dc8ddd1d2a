"""A failure with less of chance in it: what remains is nearer to what matters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.tools.explore.trial import Draw, Trial
    from paravane.variation import Variation


def shrink(found: Trial, again: Callable[[Draw], Trial]) -> Trial:
    """The same failure with timers in time, if it is not for them, with as few faults, and with as few turns
    of chance as searches by halves find. `again` runs a draw."""
    if found.draw.variation.jitter:
        found = _better(found, again(_varied(found, replace(found.draw.variation, jitter=0))))
    found = _fewest(found, again, found.nr_faults, _with_faults)
    if found.draw.variation.faults:
        # Those that did not happen have no part in it.
        happened = {fault.kind for fault in found.faults}
        kinds = tuple(kind for kind in found.draw.variation.faults if kind in happened)
        most = found.draw.variation.most_faults if kinds else None
        fewer = replace(found.draw.variation, faults=kinds, most_faults=most)
        found = _better(found, again(_varied(found, fewer)))
    return _fewest(found, again, found.decisions, _with_decisions)


def _fewest(
    found: Trial, again: Callable[[Draw], Trial], most: int, limited: Callable[[Variation, int], Variation]
) -> Trial:
    """With as low a limit as a search by halves finds; it is `most` now."""
    fewest = 0
    while fewest < most:
        middle = (fewest + most) // 2
        trial = again(_varied(found, limited(found.draw.variation, middle)))
        if trial.alike(found):
            found, most = trial, middle
        else:
            fewest = middle + 1
    return found


def _with_faults(variation: Variation, most: int) -> Variation:
    return replace(variation, most_faults=most)


def _with_decisions(variation: Variation, most: int) -> Variation:
    return replace(variation, decisions=most)


def _varied(trial: Trial, variation: Variation) -> Draw:
    return replace(trial.draw, variation=variation)


def _better(found: Trial, other: Trial) -> Trial:
    return other if other.alike(found) else found
