"""What a seed decides of a run besides the frames and the turns that it always does."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

TIMER_SLOP: Final = 50_000
"""Nanoseconds by which Xen lets a timer be late so that several go off together (common/timer.c, its option
`timer_slop`)."""

MOST_JITTER: Final = 1_000_000_000
"""Nanoseconds: more is no machine's."""


@dataclass(frozen=True, slots=True)
class Variation:
    """How far a run may stray from the plain one, as its seed says.

    `jitter`: nanoseconds that a vcpu's timer may be late at most; 0: none is. `decisions`: after so many
    turns of chance they are plain ones; None: never.
    """

    jitter: int = 0
    decisions: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.jitter <= MOST_JITTER:
            raise ValueError(f"a jitter is from 0 to {MOST_JITTER} ns, not {self.jitter}")
        if self.decisions is not None and self.decisions < 0:
            raise ValueError(f"decisions must not be negative, as {self.decisions} is")

    def lateness(self, seed: int) -> Callable[[], int] | None:
        """How late, in nanoseconds, each timer is, one after the other; None: they are in time."""
        if not self.jitter or not seed:
            return None
        chance, most = random.Random(f"timers {seed}"), self.jitter
        return lambda: chance.randint(0, most)


PLAIN: Final = Variation()
"""None, but for what every seed decides."""
