"""A processor without guests, for policies: takers of it that follow a plan, and a clock that counts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.sched import FOREVER, Entity, Share

if TYPE_CHECKING:
    from paravane.sched import Policy

MILLISECOND = 1_000_000


@dataclass(eq=False)
class Taker:
    """Runs for `work` nanoseconds, then sleeps for `sleep`, again and again; without sleep it never stops.

    `waits` are the times, in nanoseconds, from each wake-up until it had the processor, `spans` those until
    its work was done.
    """

    share: Share = field(default_factory=Share)
    work: int = 0
    sleep: int = 0
    entity: Entity = field(init=False)
    left: int = 0
    wakes_at: int = 0
    woke_at: int | None = None
    waits: list[int] = field(default_factory=list)
    spans: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.entity = Entity(self.share)
        self.left = self.work


class Processor:
    """Runs takers as a machine does: for as long as their turn is, or until one wakes that the policy
    prefers, or until they sleep."""

    def __init__(self, policy: Policy, *takers: Taker) -> None:
        self.policy = policy
        self.now = 0
        self.idle = 0
        self._takers = {taker.entity: taker for taker in takers}
        for taker in takers:
            policy.add(taker.entity)

    def run(self, nanoseconds: int) -> None:
        """Let so much time pass."""
        end = self.now + nanoseconds
        self._wake()
        while self.now < end:
            turn = self.policy.next()
            if turn is None:
                self._rest(end)
            else:
                assert turn.entity.awake, "it sleeps"
                assert turn.length > 0, "a turn of no length"
                self._execute(self._takers[turn.entity], min(turn.length, end - self.now))

    def _execute(self, taker: Taker, longest: int) -> None:
        """Until the end of its turn or of its work, or until somebody wakes, whether preferred or not:
        then the policy is asked whose turn it is."""
        if taker.woke_at is not None:
            taker.waits.append(self.now - taker.woke_at)
            taker.woke_at = None
        length = min(longest, max(1, self._next_wake() - self.now))
        if taker.sleep:
            length = min(length, taker.left)
        self.now += length
        self.policy.charge(taker.entity, length)
        taker.left -= length
        if taker.sleep and taker.left <= 0:
            taker.spans.append(self.now - taker.wakes_at)
            taker.left, taker.wakes_at = taker.work, self.now + taker.sleep
            self.policy.sleep(taker.entity)
        self._wake()

    def _rest(self, end: int) -> None:
        patience = self.policy.patience()
        length = min(end - self.now, self._next_wake() - self.now, patience)
        assert 0 < length < FOREVER
        self.now += length
        self.idle += length
        self.policy.idled(length)
        self._wake()

    def _next_wake(self) -> int:
        asleep = [taker.wakes_at for entity, taker in self._takers.items() if not entity.awake]
        return min(asleep, default=FOREVER)

    def _wake(self) -> None:
        for entity, taker in self._takers.items():
            if not entity.awake and taker.wakes_at <= self.now:
                taker.woke_at = self.now
                self.policy.wake(entity)


def seeded_takers(seed: int, count: int) -> list[Taker]:
    """Takers of all sorts; the first one never sleeps."""
    rng = random.Random(seed)
    takers = [Taker(Share(rng.choice((64, 256, 1024))))]
    for _ in range(count - 1):
        work = rng.randrange(10_000, 40 * MILLISECOND)
        sleep = rng.choice((0, rng.randrange(1000, 50 * MILLISECOND)))
        takers.append(Taker(Share(rng.randrange(1, 2000)), work=work, sleep=sleep))
    return takers
