"""Round robin: whoever is ready in turn, each for the same time, whatever its weight, cap and warp."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from paravane.classes import dataclass
from paravane.sched.line import Line, LineState
from paravane.sched.policy import FOREVER, LONGEST_TURN, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paravane.sched.entity import Entity


@dataclass(frozen=True, slots=True)
class RoundRobinState:
    """All that has to be kept of this policy."""

    turn: int
    line: LineState


class RoundRobin:
    """See Policy. Who wakes queues up at the end of the line, and who yields does too."""

    name: ClassVar[str] = "rr"
    keeps_caps: ClassVar[bool] = False

    def __init__(self, turn: int = LONGEST_TURN) -> None:
        """`turn`: nanoseconds that each may run before the next one does."""
        self._turn = turn
        self._line = Line()

    def save(self, numbers: Mapping[Entity, int]) -> RoundRobinState:
        """What `restore` goes on from; `numbers` has one for each entity."""
        return RoundRobinState(self._turn, self._line.save(numbers))

    def restore(self, state: RoundRobinState, entities: Sequence[Entity]) -> None:
        """Go on from what `save` gave, with these entities, which were added. Raises ValueError, a
        sentence."""
        self._turn = state.turn
        self._line.restore(state.line, entities)

    def add(self, entity: Entity) -> None:
        """See Policy."""

    def remove(self, entity: Entity) -> None:
        if entity.awake:
            self._line.leave(entity)

    def wake(self, entity: Entity) -> bool:
        self._line.enter(entity)
        return False

    def sleep(self, entity: Entity) -> None:
        self._line.leave(entity)

    def give_way(self, entity: Entity) -> None:
        self._line.end_turn(entity)
        self._line.to_the_end(entity)

    def charge(self, entity: Entity, used: int) -> None:
        if self._line.spend(entity, used):
            self._line.to_the_end(entity)

    def idled(self, nanoseconds: int) -> None:
        """See Policy."""

    def next(self) -> Turn | None:
        line = self._line
        if line.running is None:
            if not line:
                return None
            line.begin_turn(line.first(), self._turn)
        assert line.running is not None
        return Turn(line.running, line.left)

    def patience(self) -> int:
        return FOREVER
