"""Turns of chance: the order in which vcpus meet, as a function of a seed.

Vcpus that take turns of equal length meet in few of the orders that are possible, and always in the same
ones. A kernel whose locks are wrong works as long as nobody is interrupted at the wrong place. Here turns end
anywhere, mostly soon, and another entity may have the next one; whatever comes of that, the same seed brings
it about again.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, ClassVar, Final

from paravane import random_state
from paravane.classes import dataclass
from paravane.sched.policy import FOREVER, Turn

if TYPE_CHECKING:
    from paravane.sched.entity import Entity
    from paravane.sched.policy import Policy

SHORTEST: Final = 100
"""Nanoseconds of the shortest turn: ten instructions, where those are counted."""


@dataclass(frozen=True, slots=True)
class InterleavedState:
    """All that has to be kept of this policy besides the other one: how many are ready, how many decisions
    were taken, and the state of its random numbers, 32 bits each."""

    ready: int
    taken: int
    random: bytes


class Interleaved:
    """Another policy (see Policy), whose turns are cut short and handed on by chance while several entities
    are ready. What it keeps, shares and caps, is kept, for all that was used is still told to it.

    `taken` counts the decisions that were left to chance. After `limit` of them (None: never) turns are the
    other policy's own: who looks for the decision that matters takes fewer and fewer.
    """

    name: ClassVar[str] = "interleaved"
    keeps_caps: ClassVar[bool] = True

    def __init__(self, policy: Policy, seed: int, limit: int | None = None) -> None:
        self.taken = 0
        self._policy = policy
        self._limit = FOREVER if limit is None else limit
        self._chance = random.Random(seed)
        self._ready = 0

    @property
    def deciding(self) -> bool:
        """Whether chance says who is next, of several that are ready."""
        return self._ready > 1 and self.taken < self._limit

    def save(self) -> InterleavedState:
        """What `restore` goes on from."""
        return InterleavedState(self._ready, self.taken, random_state.save(self._chance))

    def restore(self, state: InterleavedState) -> None:
        """Go on from what `save` gave. Raises ValueError, a sentence, for what is no state of random
        numbers."""
        self._ready, self.taken = state.ready, state.taken
        random_state.restore(self._chance, state.random)

    def add(self, entity: Entity) -> None:
        """See Policy."""
        self._policy.add(entity)

    def remove(self, entity: Entity) -> None:
        """See Policy."""
        self._ready -= entity.awake
        self._policy.remove(entity)

    def give_way(self, entity: Entity) -> None:
        """See Policy."""
        self._policy.give_way(entity)

    def charge(self, entity: Entity, used: int) -> None:
        """See Policy."""
        self._policy.charge(entity, used)

    def idled(self, nanoseconds: int) -> None:
        """See Policy."""
        self._policy.idled(nanoseconds)

    def patience(self) -> int:
        """See Policy."""
        return self._policy.patience()

    def wake(self, entity: Entity) -> bool:
        """See Policy. Who wakes may be next at once: that is for chance to say, as at the end of a turn."""
        self._ready += 1
        first = self._policy.wake(entity)
        return first or self.deciding

    def sleep(self, entity: Entity) -> None:
        """See Policy."""
        self._ready -= 1
        self._policy.sleep(entity)

    def next(self) -> Turn | None:
        """See Policy. The lengths are spread evenly over the orders of magnitude."""
        turn = self._policy.next()
        if turn is None or not self.deciding:
            return turn
        self.taken += 1
        if self._chance.random() < 0.5:
            self._policy.give_way(turn.entity)
            turn = self._policy.next() or turn
        most = math.log2(max(turn.length, SHORTEST))
        return Turn(turn.entity, int(2 ** self._chance.uniform(math.log2(SHORTEST), most)))
