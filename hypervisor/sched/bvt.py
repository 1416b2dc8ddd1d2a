"""Borrowed virtual time (Duda and Cheriton, "Borrowed-Virtual-Time (BVT) scheduling", SOSP 1999), which the
first Xen had.

Each entity has an actual virtual time that advances, as it runs, the slower the larger its weight. The one
whose time is the least runs: so each gets its share, and nobody is kept waiting for ever. One that slept is
given the scheduler's virtual time when it wakes, the least of those that are ready: it has saved nothing up,
but it is as far as any, so it mostly runs at once. One that warps borrows against its future: it counts as
`warp` earlier than it is. It is charged as everybody, so it comes sooner and gets no more; how long it may
run warped at a time is limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from paravane.classes import dataclass
from paravane.sched.entity import STANDARD_WEIGHT, Changes
from paravane.sched.line import Line, LineState
from paravane.sched.policy import FOREVER, LONGEST_TURN, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paravane.sched.entity import Entity, Share

CONTEXT_SWITCH_ALLOWANCE: Final = 10_000_000
"""Nanoseconds that the running entity may get ahead of the next one before that has its turn (the paper's C):
fairness is that coarse, and switching that rare. Who wakes does not wait for it."""

_UNIT: Final = 1 << 16
"""Virtual time per nanosecond of an entity alone in a share of the standard weight. It is fine enough that
what the division loses, for the largest weight, is one part in 256 of a nanosecond."""


class _Account:
    """Virtual times of one entity, in `_UNIT`. `warped`: nanoseconds that it ran warped since it last had to
    go without, which it does until the policy's time is `unwarped_until`. `slept`: since when it sleeps."""

    __slots__ = ("actual", "slept", "unwarped_until", "warped")

    def __init__(self, actual: int) -> None:
        self.actual = actual
        self.warped = 0
        self.unwarped_until = 0
        self.slept = 0


@dataclass(frozen=True, slots=True)
class BvtState:
    """All that has to be kept of this policy. `accounts` has four numbers for each entity by its number: see
    `_Account`. `changed`: figures of shares have changed since the policy looked."""

    allowance: int
    line: LineState
    accounts: tuple[tuple[int, int, int, int], ...]
    warpers: tuple[int, ...]
    changed: bool
    virtual_time: int
    now: int


class BorrowedVirtualTime:
    """See Policy. Work-conserving: whoever is ready runs if nobody else is, so it keeps no caps.

    The line is in the order of actual virtual times. Those that may warp, few if any, come before their place
    in it, some of the time: they are looked at one by one.
    """

    name: ClassVar[str] = "bvt"
    keeps_caps: ClassVar[bool] = False

    def __init__(self, allowance: int = CONTEXT_SWITCH_ALLOWANCE) -> None:
        self._allowance = allowance
        self._line = Line()
        self._accounts: dict[Entity, _Account] = {}
        self._warpers: dict[Entity, None] = {}
        self._changes = Changes()
        self._virtual_time = 0
        self._now = 0  # nanoseconds used and idled: what limits of warping are measured by

    def save(self, numbers: Mapping[Entity, int]) -> BvtState:
        """What `restore` goes on from; `numbers` has one for each entity, from 0 on and in this order."""
        accounts = (self._accounts[entity] for entity in numbers)
        return BvtState(
            self._allowance,
            self._line.save(numbers),
            tuple((one.actual, one.warped, one.unwarped_until, one.slept) for one in accounts),
            tuple(numbers[entity] for entity in self._warpers),
            self._changes.pending,
            self._virtual_time,
            self._now,
        )

    def restore(self, state: BvtState, entities: Sequence[Entity]) -> None:
        """Go on from what `save` gave, with these entities, which were added. Raises ValueError, a
        sentence."""
        if len(state.accounts) != len(entities) or not all(0 <= n < len(entities) for n in state.warpers):
            raise ValueError(f"there are accounts of {len(state.accounts)} vcpus, not of {len(entities)}")
        self._allowance = state.allowance
        self._line.restore(state.line, entities)
        for entity, numbers in zip(entities, state.accounts, strict=True):
            account = self._accounts[entity]
            account.actual, account.warped, account.unwarped_until, account.slept = numbers
        self._warpers = {entities[number]: None for number in state.warpers if entities[number].awake}
        self._changes.pending = state.changed
        self._virtual_time, self._now = state.virtual_time, state.now

    def add(self, entity: Entity) -> None:
        entity.share.changes = self._changes
        self._accounts[entity] = _Account(self._virtual_time)

    def remove(self, entity: Entity) -> None:
        if entity.awake:
            self._line.leave(entity)
        self._warpers.pop(entity, None)
        del self._accounts[entity]

    def wake(self, entity: Entity) -> bool:
        account = self._accounts[entity]
        account.actual = max(account.actual, self._virtual_time)
        if self._now - account.slept >= entity.share.unwarp:
            account.warped = 0  # it has been that long without
        self._line.enter(entity, account.actual)
        if entity.share.warp:
            self._warpers[entity] = None
        running = self._line.running
        if running is None or self._effective(entity) >= self._effective(running):
            return False
        self._line.end_turn(running)
        return True

    def sleep(self, entity: Entity) -> None:
        self._line.leave(entity)
        self._warpers.pop(entity, None)
        self._accounts[entity].slept = self._now

    def give_way(self, entity: Entity) -> None:
        self._line.give_way(entity)

    def charge(self, entity: Entity, used: int) -> None:
        share, account = entity.share, self._accounts[entity]
        if share.warp and self._warps(share, account):
            account.warped += used
            if share.warp_limit and account.warped >= share.warp_limit:
                account.warped = 0
                account.unwarped_until = self._now + used + share.unwarp
                self._line.end_turn(entity)
        self._now += used
        account.actual += used * _pace(share)
        if entity.awake:
            self._line.move(entity, account.actual)
        self._line.spend(entity, used)

    def idled(self, nanoseconds: int) -> None:
        self._now += nanoseconds

    def next(self) -> Turn | None:
        line = self._line
        if self._changes.pending:
            self._changes.pending = False
            self._warpers = {entity: None for _, _, entity in line if entity.share.warp}
        first = next(iter(line), None)
        if first is None:
            return None
        self._virtual_time = max(self._virtual_time, first[0])
        if line.running is None:
            _, entity = self._least(line.gave_way if len(line) > 1 else None)
            line.begin_turn(entity, self._turn(entity))
        assert line.running is not None
        return Turn(line.running, line.left)

    def patience(self) -> int:
        return FOREVER

    def _turn(self, entity: Entity) -> int:
        """How long until another of those that are ready is due, and the allowance; or until it has run
        warped for long enough."""
        share, account = entity.share, self._accounts[entity]
        turn = LONGEST_TURN
        if len(self._line) > 1:
            ahead = max(0, self._least(entity)[0] - self._effective(entity))
            turn = min(turn, ahead // _pace(share) + self._allowance)
        if share.warp_limit and self._warps(share, account):
            turn = min(turn, share.warp_limit - account.warped)
        return max(1, turn)

    def _least(self, but: Entity | None) -> tuple[int, Entity]:
        """Of those that are ready, but for one, whose effective virtual time is the least, and that. One must
        be. Where times are equal, it is the one that queued up first."""
        warpers = self._warpers
        found = [
            (self._effective(entity), self._line.place(entity)[1], entity)
            for entity in warpers
            if entity is not but
        ]
        for place in self._line:  # the first of the others
            if place[2] is not but and place[2] not in warpers:
                found.append(place)
                break
        effective, _, entity = min(found)
        return effective, entity

    def _effective(self, entity: Entity) -> int:
        """The virtual time that entities are compared by."""
        account = self._accounts[entity]
        if self._warps(entity.share, account):
            return account.actual - entity.share.warp * _UNIT
        return account.actual

    def _warps(self, share: Share, account: _Account) -> bool:
        return share.warp > 0 and self._now >= account.unwarped_until


def _pace(share: Share) -> int:
    """Virtual time that a nanosecond is for an entity of `share`: all that are awake have one weight."""
    return max(1, STANDARD_WEIGHT * _UNIT * max(1, share.awake) // share.weight)
