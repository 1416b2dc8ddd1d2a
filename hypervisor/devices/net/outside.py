"""What the ends of a network that lie outside the machine ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Inputs(Protocol):
    """File descriptors that are watched for the machine, between two time slices."""

    def watch(self, fileno: int, ready: Callable[[], object], /) -> None:
        """Call `ready` whenever `fileno` is readable or at its end."""
        ...

    def unwatch(self, fileno: int, /) -> None:
        """Call nobody for it any more."""
        ...
