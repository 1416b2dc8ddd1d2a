"""Round robin: every runnable entity in turn, the same slice for each."""

from __future__ import annotations

from collections import deque
from typing import Generic

from paravane.sched.policy import EntityT


class RoundRobin(Generic[EntityT]):
    """A queue of all entities; the one that was asked for last waits until the others had a turn."""

    def __init__(self, slice_length: int = 10_000_000) -> None:
        self.slice_length = slice_length
        self._queue: deque[EntityT] = deque()

    def add(self, entity: EntityT) -> None:
        self._queue.append(entity)

    def remove(self, entity: EntityT) -> None:
        self._queue.remove(entity)

    def next(self) -> EntityT | None:
        for _ in range(len(self._queue)):
            entity = self._queue[0]
            self._queue.rotate(-1)
            if entity.runnable:
                return entity
        return None
