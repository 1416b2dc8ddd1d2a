"""Who is ready to run, in which order, and who has the turn: the part that all policies have in common."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paravane.sched.entity import Entity


@dataclass(frozen=True, slots=True)
class LineState:
    """All that has to be kept of a line, with numbers in the place of entities: key, ticket and number of
    everybody in it, from the front; who has the turn, and how much of it is left; who gave way; the last
    ticket."""

    order: tuple[tuple[int, int, int], ...]
    running: int | None
    left: int
    gave_way: int | None
    tickets: int


class Line:
    """The entities that are ready, by a key of the policy's: the least first, and those with the same key in
    the order in which they queued up.

    `running` has the turn, and `left` nanoseconds of it; it stays in the line. None: whoever is chosen next
    begins a new turn. `gave_way` is not to have the next turn unless nobody else can have it.

    The order is a sorted list. Whoever changes place is found in it by a few comparisons; what moves up is
    one pointer for each of the others, which the processor copies faster than any tree of Python's is walked.
    """

    def __init__(self) -> None:
        self.running: Entity | None = None
        self.left = 0
        self.gave_way: Entity | None = None
        self._places: dict[Entity, tuple[int, int]] = {}  # key and ticket
        # The same with whose they are. Tickets differ, so entities are never compared.
        self._order: list[tuple[int, int, Entity]] = []
        self._tickets = 0

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[tuple[int, int, Entity]]:
        """Key, ticket and entity of everybody in the line, from the front."""
        return iter(self._order)

    def __reversed__(self) -> Iterator[tuple[int, int, Entity]]:
        return reversed(self._order)

    def save(self, numbers: Mapping[Entity, int]) -> LineState:
        """What `restore` goes on from; `numbers` has one for each entity."""
        return LineState(
            tuple((key, ticket, numbers[entity]) for key, ticket, entity in self._order),
            None if self.running is None else numbers[self.running],
            self.left,
            None if self.gave_way is None else numbers[self.gave_way],
            self._tickets,
        )

    def restore(self, state: LineState, entities: Sequence[Entity]) -> None:
        """Be what `save` told of, `entities` those with the numbers from 0 on, whoever of them has queued up
        meanwhile. Raises ValueError, a sentence, for a line that cannot be."""
        numbers = [number for _, _, number in state.order]
        absent = {state.running, state.gave_way} - {None, *numbers}
        if absent or len(set(numbers)) < len(numbers) or not all(0 <= n < len(entities) for n in numbers):
            raise ValueError("the order in which vcpus are to run cannot be")
        for entity in entities:
            entity.share.awake -= entity.awake
            entity.awake = False
        order = sorted(state.order)
        self._order = [(key, ticket, entities[number]) for key, ticket, number in order]
        self._places = {entity: (key, ticket) for key, ticket, entity in self._order}
        for entity in self._places:
            entity.awake = True
            entity.share.awake += 1
        self.running = None if state.running is None else entities[state.running]
        self.gave_way = None if state.gave_way is None else entities[state.gave_way]
        self.left, self._tickets = state.left, state.tickets

    def place(self, entity: Entity) -> tuple[int, int]:
        """Key and ticket of one that is ready."""
        return self._places[entity]

    def first(self) -> Entity:
        """Whose turn it is: the first one, but for who gave way if others are there. One must be."""
        order = self._order
        entity = order[0][2]
        return order[1][2] if entity is self.gave_way and len(order) > 1 else entity

    def enter(self, entity: Entity, key: int = 0) -> None:
        """An entity is ready: last among those with the same key."""
        entity.awake = True
        entity.share.awake += 1
        self._insert(entity, key, self._ticket())

    def leave(self, entity: Entity) -> None:
        """An entity is not ready any more."""
        entity.awake = False
        entity.share.awake -= 1
        self._take_out(entity)
        self.end_turn(entity)
        if entity is self.gave_way:
            self.gave_way = None

    def move(self, entity: Entity, key: int) -> None:
        """An entity that is ready has another key. Among those that share it it stands as it queued up."""
        if self._places[entity][0] != key:
            self._insert(entity, key, self._take_out(entity))

    def to_the_end(self, entity: Entity, key: int = 0) -> None:
        """An entity that is ready queues up anew."""
        self._take_out(entity)
        self._insert(entity, key, self._ticket())

    def end_turn(self, entity: Entity) -> None:
        """Whoever it is, it does not have the turn any more."""
        if entity is self.running:
            self.running = None

    def give_way(self, entity: Entity) -> None:
        """Let the next turn be another's, if another can have it."""
        self.end_turn(entity)
        self.gave_way = entity

    def begin_turn(self, entity: Entity, length: int) -> None:
        self.running, self.left = entity, length
        self.gave_way = None

    def spend(self, entity: Entity, used: int) -> bool:
        """An entity had the processor for `used` nanoseconds. Whether that was the end of its turn."""
        entity.used += used
        if entity is not self.running:
            return False
        self.left -= used
        if self.left > 0:
            return False
        self.running = None
        return True

    def _ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    def _insert(self, entity: Entity, key: int, ticket: int) -> None:
        self._places[entity] = key, ticket
        insort(self._order, (key, ticket, entity))

    def _take_out(self, entity: Entity) -> int:
        """Its ticket. A pair sorts right before the triple that begins with it."""
        place = self._places.pop(entity)
        del self._order[bisect_left(self._order, place)]
        return place[1]
