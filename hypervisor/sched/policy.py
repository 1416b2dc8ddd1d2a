"""The line between mechanism and policy: the machine runs entities, a policy says which and for how long."""

from __future__ import annotations

from typing import Protocol, TypeVar


class Entity(Protocol):
    """Something that takes turns on a processor: a vcpu, as far as policies see it."""

    @property
    def runnable(self) -> bool:
        """Whether it could use the processor now."""
        ...


EntityT = TypeVar("EntityT", bound=Entity)


class Policy(Protocol[EntityT]):
    """Asked before every slice. An entity that is not runnable stays known to it."""

    slice_length: int
    """Nanoseconds an entity may run before the policy is asked again."""

    def add(self, entity: EntityT) -> None:
        """An entity exists now."""
        ...

    def remove(self, entity: EntityT) -> None:
        """An entity is gone."""
        ...

    def next(self) -> EntityT | None:
        """The entity to run now, or None when none is runnable."""
        ...
