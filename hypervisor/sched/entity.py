"""What takes turns on the processor, as policies see it: no vcpu, no domain, no clock."""

from __future__ import annotations

from typing import Final

STANDARD_WEIGHT: Final = 256
"""The weight of a domain that nobody gave another one, as xl's."""

MAX_WEIGHT: Final = 65535
"""The largest weight (`cpu_weight`) that xl takes; the smallest is 1."""

MAX_CAP: Final = 100 * 32
"""The largest cap, in percent of one processor: as many processors as a domain can have vcpus."""


class Changes:
    """Whether a figure of any share of a policy's has changed since the policy looked. Policies that keep
    entities in an order need to hear of it; shares know no more of a policy than this."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending = False


class Share:
    """What one domain may have of the processor; all of its vcpus have it together.

    `weight`: relative to other shares (1 to 65535, standard 256). `cap`: the most it may have, in percent of
    one processor (0: no limit). `warp`: nanoseconds of virtual time by which it goes before others of the
    same claim, for at most `warp_limit` nanoseconds of running (0: no limit), after which it has to be
    `unwarp` nanoseconds without. Not every policy keeps to all of that. They may be changed at any time.

    `awake` counts its entities that are ready to run: what a policy divides the weight by. `changes` is where
    its policy looks for changes.
    """

    __slots__ = ("_cap", "_warp", "_weight", "awake", "changes", "unwarp", "warp_limit")

    def __init__(
        self,
        weight: int = STANDARD_WEIGHT,
        cap: int = 0,
        *,
        warp: int = 0,
        warp_limit: int = 0,
        unwarp: int = 0,
    ) -> None:
        """Raises ValueError for a weight or cap that xl would not take."""
        self.changes = Changes()
        self.weight = weight
        self.cap = cap
        self.warp = warp
        self.warp_limit = warp_limit
        self.unwarp = unwarp
        self.awake = 0

    @property
    def weight(self) -> int:
        return self._weight

    @weight.setter
    def weight(self, weight: int) -> None:
        if not 1 <= weight <= MAX_WEIGHT:
            raise ValueError(f"a weight is from 1 to {MAX_WEIGHT}, not {weight}")
        self._weight = weight

    @property
    def cap(self) -> int:
        return self._cap

    @cap.setter
    def cap(self, cap: int) -> None:
        if not 0 <= cap <= MAX_CAP:
            raise ValueError(f"a cap is from 0 to {MAX_CAP} percent of one processor, not {cap}")
        self._cap = cap
        self.changes.pending = True

    @property
    def warp(self) -> int:
        return self._warp

    @warp.setter
    def warp(self, warp: int) -> None:
        self._warp = warp
        self.changes.pending = True


class Entity:
    """One taker of turns: `used` is the processor time, in nanoseconds, that it was charged so far."""

    __slots__ = ("awake", "share", "used")

    def __init__(self, share: Share) -> None:
        self.share = share
        self.awake = False
        self.used = 0
