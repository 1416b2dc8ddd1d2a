"""What the ends of a network that lie outside the machine ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Inputs(Protocol):
    """File descriptors that are watched for the machine, between two time slices; and what arrives by them,
    which may be kept, and repeated without them."""

    @property
    def repeats(self) -> bool:
        """Whether the frames of an earlier run arrive, and nothing of the host's is to be opened."""
        ...

    def source(self, name: str, take: Callable[[bytes | None], object], /) -> None:
        """Have `take` called with each frame of that source, and with None when it has ended."""
        ...

    def forget(self, name: str, /) -> None:
        """A source is gone."""
        ...

    def arrived(self, source: str, data: bytes | None, /) -> None:
        """A frame has come there, or it has ended."""
        ...

    def left(self, source: str, data: bytes, /) -> None:
        """A frame was sent there."""
        ...

    def watch(self, fileno: int, ready: Callable[[], object], /) -> None:
        """Call `ready` whenever `fileno` is readable or at its end."""
        ...

    def unwatch(self, fileno: int, /) -> None:
        """Call nobody for it any more."""
        ...
