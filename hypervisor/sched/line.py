"""Who is ready to run, and who has the turn: the part that all policies have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.sched.entity import Entity


class Line:
    """The entities that are ready, in the order in which they queued up.

    `running` has the turn, and `left` nanoseconds of it; it stays in the line. None: whoever is chosen next
    begins a new turn.
    """

    def __init__(self) -> None:
        self.ready: dict[Entity, None] = {}
        self.running: Entity | None = None
        self.left = 0
        self._gave_way: Entity | None = None

    def enter(self, entity: Entity) -> None:
        """An entity is ready: at the end of the line."""
        entity.awake = True
        entity.share.awake += 1
        self.ready[entity] = None

    def leave(self, entity: Entity) -> None:
        """An entity is not ready any more."""
        entity.awake = False
        entity.share.awake -= 1
        del self.ready[entity]
        self.end_turn(entity)
        if entity is self._gave_way:
            self._gave_way = None

    def to_the_end(self, entity: Entity) -> None:
        """An entity that is ready queues up anew."""
        del self.ready[entity]
        self.ready[entity] = None

    def end_turn(self, entity: Entity) -> None:
        """Whoever it is, it does not have the turn any more."""
        if entity is self.running:
            self.running = None

    def give_way(self, entity: Entity) -> None:
        """Let the next turn be another's, if another can have it."""
        self.end_turn(entity)
        self._gave_way = entity

    def begin_turn(self, entity: Entity, length: int) -> None:
        self.running, self.left = entity, length
        self._gave_way = None

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

    def candidates(self, waiting: Iterable[Entity]) -> list[Entity]:
        """Of those that wait, the ones that may be chosen now: who gave way is not, unless it is alone."""
        candidates = list(waiting)
        if self._gave_way is not None and len(candidates) > 1:
            candidates = [entity for entity in candidates if entity is not self._gave_way]
        return candidates
