"""The line between mechanism and policy: the machine runs vcpus, a policy says which one and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from paravane.vcpu import Vcpu


class Policy(Protocol):
    """Told of every change that matters, asked before every slice."""

    slice_length: int
    """Nanoseconds a vcpu may run before the policy is asked again."""

    def add(self, vcpu: Vcpu) -> None:
        """A vcpu exists now."""
        ...

    def remove(self, vcpu: Vcpu) -> None:
        """A vcpu is gone."""
        ...

    def next(self) -> Vcpu | None:
        """The vcpu to run now, or None when none is runnable."""
        ...
