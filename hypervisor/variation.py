"""What a seed decides of a run besides the frames and the turns that it always does."""

from __future__ import annotations

import random
from typing import Final

from paravane import random_state
from paravane.classes import dataclass

TIMER_SLOP: Final = 50_000
"""Nanoseconds by which Xen lets a timer be late so that several go off together (common/timer.c, its option
`timer_slop`)."""

FAULTS: Final = ("memory", "grants", "events", "store", "disk", "net")
"""What may be left to chance of what Xen and its backends refuse or lose (`paravane.faults`)."""

MOST_JITTER: Final = 1_000_000_000
"""Nanoseconds: more is no machine's."""


@dataclass(frozen=True, slots=True)
class Variation:
    """How far a run may stray from the plain one, as its seed says.

    `jitter`: nanoseconds that a vcpu's timer may be late at most; 0: none is. `decisions`: after so many
    turns of chance they are plain ones; None: never. `faults` are some of `FAULTS`, and `most_faults` how
    many of them there may be; None: any number.
    """

    jitter: int = 0
    decisions: int | None = None
    faults: tuple[str, ...] = ()
    most_faults: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.jitter <= MOST_JITTER:
            raise ValueError(f"a jitter is from 0 to {MOST_JITTER} ns, not {self.jitter}")
        if self.decisions is not None and self.decisions < 0:
            raise ValueError(f"decisions must not be negative, as {self.decisions} is")
        if self.faults != tuple(name for name in FAULTS if name in self.faults):
            raise ValueError(f"faults are some of {', '.join(FAULTS)}, in this order, not {self.faults}")
        if self.most_faults is not None and (self.most_faults < 0 or not self.faults):
            raise ValueError(f"most_faults is a number from 0 on, of faults, not {self.most_faults}")

    def lateness(self, seed: int) -> Lateness | None:
        """How late each timer is; None: they are in time."""
        return Lateness(seed, self.jitter) if self.jitter and seed else None


class Lateness:
    """How late, in nanoseconds, each timer is, one after the other."""

    def __init__(self, seed: int, most: int) -> None:
        self._chance = random.Random(f"timers {seed}")
        self._most = most

    def __call__(self) -> int:
        return self._chance.randint(0, self._most)

    def save(self) -> bytes:
        """What `restore` goes on from."""
        return random_state.save(self._chance)

    def restore(self, state: bytes) -> None:
        """Go on as that one would have. Raises ValueError for what is no state."""
        random_state.restore(self._chance, state)


PLAIN: Final = Variation()
"""None, but for what every seed decides."""
