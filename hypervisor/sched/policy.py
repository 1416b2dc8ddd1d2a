"""The line between mechanism and policy: the machine runs entities, a policy says which and for how long.

A policy knows neither a clock nor a guest. All it hears is who is ready, who ran for how long, and how long
nobody did, so what it decides is a function of that and of nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from paravane.sched.entity import Entity

FOREVER: Final = 1 << 62
"""Nanoseconds: longer than anybody waits."""

LONGEST_TURN: Final = 10_000_000
"""Nanoseconds after which a policy is asked again even when nobody else wants the processor."""


class Turn(NamedTuple):
    """Who is to run, and for at most how many nanoseconds. The policy is asked anew when anything happens
    before; whoever had the turn then has what is left of it, unless another comes first."""

    entity: Entity
    length: int


class Policy(Protocol):
    """Who runs next. Times are nanoseconds of processor time.

    The caller charges an entity for what it ran before it tells anything else that happened meanwhile, so
    that a policy compares figures of one moment.
    """

    name: ClassVar[str]
    keeps_caps: ClassVar[bool]
    """Whether `Share.cap` is kept to."""

    def add(self, entity: Entity) -> None:
        """An entity exists. It sleeps."""
        ...

    def remove(self, entity: Entity) -> None:
        """An entity is gone, whatever it was doing."""
        ...

    def wake(self, entity: Entity) -> bool:
        """An entity that slept is ready to run. True: it should rather run now than whoever does."""
        ...

    def sleep(self, entity: Entity) -> None:
        """An entity that was ready to run is not any more."""
        ...

    def give_way(self, entity: Entity) -> None:
        """The running entity is still ready, and asks that another has the next turn."""
        ...

    def charge(self, entity: Entity, used: int) -> None:
        """An entity had the processor for so long, or somebody worked for it for so long."""
        ...

    def idled(self, nanoseconds: int) -> None:
        """Nobody had the processor for so long."""
        ...

    def next(self) -> Turn | None:
        """Who is to run now; None when nobody may."""
        ...

    def patience(self) -> int:
        """After `next` has given None: for how long it will do so again if nobody wakes (`FOREVER`: always).
        An entity that is ready is kept waiting by nothing but its cap."""
        ...
