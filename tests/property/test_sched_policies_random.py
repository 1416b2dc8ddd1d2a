"""Whatever wakes, sleeps and yields in whatever order: what every scheduling policy keeps to."""

from __future__ import annotations

import random
from itertools import count, pairwise
from typing import TYPE_CHECKING

import pytest

from paravane.sched import POLICIES, BorrowedVirtualTime, Credit, Entity, Share
from tests.support.scheduling import MILLISECOND, Processor, seeded_takers

if TYPE_CHECKING:
    from paravane.sched import Policy

SEEDS = range(12)


class PlainVirtualTime(BorrowedVirtualTime):
    """Chooses by a look at everybody, as the paper has it, not by an order that is kept."""

    def _least(self, but: Entity | None) -> tuple[int, Entity]:
        for actual, _, entity in self._line:
            assert actual == self._accounts[entity].actual, "out of order"
        effective, _, entity = min(
            (self._effective(entity), ticket, entity) for _, ticket, entity in self._line if entity is not but
        )
        return effective, entity


class PlainCredit(Credit):
    """Chooses by a look at everybody."""

    def _choose(self) -> Entity | None:
        waiting = [
            (self._priority(entity), ticket, entity)
            for _, ticket, entity in self._line
            if not self._parked(entity)
        ]
        others = [place for place in waiting if place[2] is not self._line.gave_way]
        return min(others or waiting)[2] if waiting else None


class Model:
    """A policy that is told things at random, and who is ready according to what it was told."""

    def __init__(self, policy: Policy, seed: int) -> None:
        self.rng = random.Random(seed)
        self.policy = policy
        self.ready: set[Entity] = set()
        self.asleep: set[Entity] = set()
        self.log: list[tuple[int, int]] = []
        self._numbers: dict[Entity, int] = {}
        self._next = count()

    def step(self) -> None:
        self.rng.choice(
            (
                *(self.add, self.wake, self.sleep, self.run, self.run, self.run),
                *(self.rest, self.drop, self.change, self.serve),
            )
        )()
        assert all(entity.awake for entity in self.ready)
        assert not any(entity.awake for entity in self.asleep)
        for share in {entity.share for entity in self.ready | self.asleep}:
            assert share.awake == sum(entity.share is share for entity in self.ready)

    def add(self) -> None:
        if len(self._numbers) < 12:
            cap = self.rng.choice((0, 0, 40)) if self.policy.keeps_caps else 0
            new = Share(self.rng.randrange(1, 1000), cap, warp=self.rng.choice((0, 5 * MILLISECOND)))
            entity = Entity(new if not self._numbers or self.rng.random() < 0.7 else self._numbered(0).share)
            self._numbers[entity] = next(self._next)
            self.policy.add(entity)
            self.asleep.add(entity)

    def wake(self) -> None:
        if self.asleep:
            entity = self._pick(self.asleep)
            self.asleep.remove(entity)
            self.ready.add(entity)
            self.policy.wake(entity)

    def sleep(self) -> None:
        if self.ready:
            entity = self._pick(self.ready)
            self.ready.remove(entity)
            self.asleep.add(entity)
            self.policy.sleep(entity)

    def drop(self) -> None:
        if self._numbers and self.rng.random() < 0.2:
            entity = self._pick(self.ready | self.asleep)
            self.policy.remove(entity)
            self.ready.discard(entity)
            self.asleep.discard(entity)
            del self._numbers[entity]

    def change(self) -> None:
        """The administrator has other ideas of a share."""
        if self._numbers:
            share = self._pick(self.ready | self.asleep).share
            share.weight = self.rng.randrange(1, 1000)
            share.warp = self.rng.choice((0, 5 * MILLISECOND))
            share.warp_limit = self.rng.choice((0, 2 * MILLISECOND))
            share.unwarp = self.rng.choice((0, 20 * MILLISECOND))
            share.cap = self.rng.choice((0, 0, 40)) if self.policy.keeps_caps else 0

    def serve(self) -> None:
        """Something is done for an entity that does not run, or may not."""
        if self._numbers:
            self.policy.charge(self._pick(self.ready | self.asleep), self.rng.randrange(1, 2 * MILLISECOND))

    def rest(self) -> None:
        if self.policy.next() is None:
            self.policy.idled(min(self.policy.patience(), self.rng.randrange(1, 40 * MILLISECOND)))

    def run(self) -> None:
        turn = self.policy.next()
        if turn is None:
            assert not [entity for entity in self.ready if not entity.share.cap], "somebody waits for nothing"
            return
        assert turn.entity in self.ready
        assert turn.length > 0
        used = self.rng.randrange(1, turn.length + 1) if self.rng.random() < 0.5 else turn.length
        self.policy.charge(turn.entity, used)
        self.log.append((self._numbers[turn.entity], used))
        if self.rng.random() < 0.1:
            self.policy.give_way(turn.entity)

    def _pick(self, entities: set[Entity]) -> Entity:
        return self.rng.choice(sorted(entities, key=self._numbers.__getitem__))

    def _numbered(self, index: int) -> Entity:
        return list(self._numbers)[index]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", POLICIES)
def test_whoever_is_ready_runs_and_nobody_else(name: str, seed: int) -> None:
    model = Model(POLICIES[name](), seed)
    for _ in range(2000):
        model.step()
    assert model.log


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_story_has_the_same_turns(name: str) -> None:
    models = [Model(POLICIES[name](), 7) for _ in range(2)]
    for model in models:
        for _ in range(2000):
            model.step()
    assert models[0].log == models[1].log


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize(("kept", "plain"), [(BorrowedVirtualTime, PlainVirtualTime), (Credit, PlainCredit)])
def test_the_order_that_is_kept_has_those_first_whom_a_look_at_everybody_finds(
    kept: type[Policy], plain: type[Policy], seed: int
) -> None:
    models = [Model(policy(), seed) for policy in (kept, plain)]
    for _ in range(1500):
        for model in models:
            model.step()
        assert models[0].log[-1:] == models[1].log[-1:]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", POLICIES)
def test_nobody_starves_beside_others_of_all_sorts(name: str, seed: int) -> None:
    """One that always computes has its share, give or take some turns, over any two seconds."""
    takers = seeded_takers(seed, 6)
    processor = Processor(POLICIES[name](), *takers)
    steady = takers[0]
    weights = sum(taker.share.weight for taker in takers)
    fair = steady.share.weight / weights if name != "rr" else 1 / len(takers)
    figures = [0]
    for _ in range(8):
        processor.run(2000 * MILLISECOND)
        figures.append(steady.entity.used)
    assert all(
        after - before >= fair * 2000 * MILLISECOND * 0.9 - 60 * MILLISECOND
        for before, after in pairwise(figures)
    )
    assert processor.idle == 0
