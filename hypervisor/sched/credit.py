"""Credits, as in Xen's scheduler of that name.

Running burns credits; once an accounting period, what was burnt is handed out again by weight. Who has
credits left is under its share and goes first, who has not is over it and runs only if nobody else can: so
the processor is never idle while somebody could use it. One that wakes while it is under is boosted and goes
before all others, for one turn. A share with a cap may have that much of each period, and then waits.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import takewhile
from typing import TYPE_CHECKING, ClassVar, Final

from paravane.classes import dataclass
from paravane.sched.entity import Changes
from paravane.sched.line import Line, LineState
from paravane.sched.policy import FOREVER, LONGEST_TURN, Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paravane.sched.entity import Entity, Share

PERIOD: Final = 30_000_000
"""Nanoseconds between two accounts, as in Xen. It is also the most that an entity can have saved or owe."""

TURN: Final = LONGEST_TURN
"""Nanoseconds. Xen's are 30 ms unless told otherwise; here one processor serves everybody."""


class _Priority(IntEnum):
    """The least one runs. PARKED: its share has had what its cap allows of this period; it does not run."""

    BOOST = 0
    UNDER = 1
    OVER = 2
    PARKED = 3


class _Account:
    """Credits are nanoseconds."""

    __slots__ = ("boosted", "credit")

    def __init__(self) -> None:
        self.credit = 0
        self.boosted = False


@dataclass(frozen=True, slots=True)
class CreditState:
    """All that has to be kept of this policy. `accounts` has the credit of each entity by its number, and
    whether it is boosted; `active` those who were in this period, and `used` what their shares have used, by
    the number of one that has the share."""

    line: LineState
    accounts: tuple[tuple[int, bool], ...]
    active: tuple[int, ...]
    used: dict[int, int]
    changed: bool
    burnt: int
    elapsed: int


class Credit:
    """See Policy. The line is in the order of priorities."""

    name: ClassVar[str] = "credit"
    keeps_caps: ClassVar[bool] = True

    def __init__(self) -> None:
        self._line = Line()
        self._accounts: dict[Entity, _Account] = {}
        self._changes = Changes()
        # Of this period: who was awake or charged, what each share has used, what was burnt, how long it is.
        self._active: dict[Entity, _Account] = {}
        self._used: dict[Share, int] = {}
        self._burnt = 0
        self._elapsed = 0

    def save(self, numbers: Mapping[Entity, int]) -> CreditState:
        """What `restore` goes on from; `numbers` has one for each entity, from 0 on and in this order."""
        accounts = (self._accounts[entity] for entity in numbers)
        holders = {entity.share: number for entity, number in reversed([*numbers.items()])}
        return CreditState(
            self._line.save(numbers),
            tuple((one.credit, one.boosted) for one in accounts),
            tuple(numbers[entity] for entity in self._active),
            {holders[share]: used for share, used in self._used.items() if share in holders},
            self._changes.pending,
            self._burnt,
            self._elapsed,
        )

    def restore(self, state: CreditState, entities: Sequence[Entity]) -> None:
        """Go on from what `save` gave, with these entities, which were added. Raises ValueError, a
        sentence."""
        named = (*state.active, *state.used)
        if len(state.accounts) != len(entities) or not all(0 <= n < len(entities) for n in named):
            raise ValueError(f"there are accounts of {len(state.accounts)} vcpus, not of {len(entities)}")
        self._line.restore(state.line, entities)
        for entity, (credit, boosted) in zip(entities, state.accounts, strict=True):
            self._accounts[entity].credit, self._accounts[entity].boosted = credit, boosted
        self._active = {entities[number]: self._accounts[entities[number]] for number in state.active}
        self._used = {entities[number].share: used for number, used in state.used.items()}
        self._changes.pending = state.changed
        self._burnt, self._elapsed = state.burnt, state.elapsed

    def add(self, entity: Entity) -> None:
        entity.share.changes = self._changes
        self._accounts[entity] = _Account()

    def remove(self, entity: Entity) -> None:
        if entity.awake:
            self._line.leave(entity)
        self._active.pop(entity, None)
        del self._accounts[entity]

    def wake(self, entity: Entity) -> bool:
        account = self._active[entity] = self._accounts[entity]
        account.boosted = account.credit >= 0 and not self._parked(entity)
        priority = self._priority(entity)
        self._line.enter(entity, priority)
        running = self._line.running
        if running is None or priority is _Priority.PARKED or priority >= self._priority(running):
            return False
        self._line.end_turn(running)
        return True

    def sleep(self, entity: Entity) -> None:
        self._line.leave(entity)

    def give_way(self, entity: Entity) -> None:
        self._accounts[entity].boosted = False
        self._line.give_way(entity)
        self._line.to_the_end(entity, self._priority(entity))

    def charge(self, entity: Entity, used: int) -> None:
        account = self._active[entity] = self._accounts[entity]
        account.credit -= used
        self._burnt += used
        self._used[entity.share] = self._used.get(entity.share, 0) + used
        if self._line.spend(entity, used):
            account.boosted = False
            self._line.to_the_end(entity, self._priority(entity))
        elif entity.awake:
            self._line.move(entity, self._priority(entity))
        self._pass(used)

    def idled(self, nanoseconds: int) -> None:
        self._pass(nanoseconds)

    def next(self) -> Turn | None:
        line = self._line
        if self._changes.pending:
            self._changes.pending = False
            self._unpark()
        if line.running is None or self._parked(line.running):
            line.running = None
            chosen = self._choose()
            if chosen is None:
                return None
            line.begin_turn(chosen, TURN)
        assert line.running is not None
        return Turn(line.running, min(line.left, self._allowed(line.running.share)))

    def patience(self) -> int:
        return PERIOD - self._elapsed if self._line else FOREVER

    def _choose(self) -> Entity | None:
        """Whose turn it is; None when all are parked. Who was parked by what another of its share used is
        found out here."""
        line = self._line
        while line:
            entity = line.first()
            if not self._parked(entity):
                return entity
            if line.place(entity)[0] == _Priority.PARKED:
                # So are all after it: only who gave way may be left.
                return line.gave_way if line.gave_way and not self._parked(line.gave_way) else None
            line.move(entity, _Priority.PARKED)
        return None

    def _unpark(self) -> None:
        """A cap has changed, or a period is over: who was parked may not be any more."""
        parked = [entity for key, _, entity in takewhile(_is_parked, reversed(self._line))]
        for entity in parked:
            self._line.move(entity, self._priority(entity))

    def _priority(self, entity: Entity) -> _Priority:
        account = self._accounts[entity]
        if self._parked(entity):
            return _Priority.PARKED
        if account.credit < 0:
            return _Priority.OVER
        return _Priority.BOOST if account.boosted else _Priority.UNDER

    def _allowed(self, share: Share) -> int:
        """What a share may still have of this period. What it had too much of the last one counts."""
        if not share.cap:
            return FOREVER
        return share.cap * PERIOD // 100 - self._used.get(share, 0)

    def _parked(self, entity: Entity) -> bool:
        return self._allowed(entity.share) <= 0

    def _pass(self, nanoseconds: int) -> None:
        self._elapsed += nanoseconds
        if self._elapsed >= PERIOD:
            periods, self._elapsed = divmod(self._elapsed, PERIOD)
            self._hand_out()
            self._forgive(periods)
            for _, _, entity in tuple(self._line):
                self._line.move(entity, self._priority(entity))

    def _hand_out(self) -> None:
        """Give what was burnt to those who were active, by weight, and no more than they can keep."""
        members: dict[Share, list[_Account]] = {}
        for entity, account in self._active.items():
            members.setdefault(entity.share, []).append(account)
        room = {share: sum(PERIOD - account.credit for account in of) for share, of in members.items()}
        for share, given in _divided(self._burnt, room).items():
            for account, part in zip(members[share], _parts(given, len(members[share])), strict=True):
                account.credit = max(-PERIOD, min(PERIOD, account.credit + part))
        self._burnt = 0
        self._active = {entity: self._accounts[entity] for _, _, entity in self._line}

    def _forgive(self, periods: int) -> None:
        """Begin to count anew what capped shares use: `periods` have passed."""
        left = {share: used - periods * share.cap * PERIOD // 100 for share, used in self._used.items()}
        self._used = {share: used for share, used in left.items() if share.cap and used > 0}


def _is_parked(place: tuple[int, int, Entity]) -> bool:
    return place[0] == _Priority.PARKED


def _divided(pool: int, room: Mapping[Share, int]) -> dict[Share, int]:
    """`pool` divided by weight, to each at most its room; what one cannot take goes to the others."""
    given: dict[Share, int] = {}
    takers = list(room)
    while takers:
        weights = sum(share.weight for share in takers)
        full = [share for share in takers if pool * share.weight >= room[share] * weights]
        for share in full:
            given[share] = room[share]
        if not full:
            return given | _by_weight(pool, takers)
        pool -= sum(room[share] for share in full)
        takers = [share for share in takers if share not in given]
    return given


def _by_weight(pool: int, shares: Iterable[Share]) -> dict[Share, int]:
    weights = sum(share.weight for share in shares)
    given: dict[Share, int] = {}
    for share in shares:
        given[share] = pool * share.weight // weights
        pool -= given[share]
        weights -= share.weight
    return given


def _parts(amount: int, count: int) -> list[int]:
    """`amount` in `count` parts that differ by one at most."""
    part, rest = divmod(amount, count)
    return [part + (index < rest) for index in range(count)]
