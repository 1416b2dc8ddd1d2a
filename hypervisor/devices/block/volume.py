"""What a disk stands on: so many bytes of the host's that can be read and written at any place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Buffers = Sequence[bytearray | memoryview]
"""Pieces of memory that are neighbours on the disk; at most 1024 of them, as the host takes (IOV_MAX)."""


class Volume(Protocol):
    """Places and lengths are bytes, multiples of the disk's sectors, and lie inside `size`. Every method
    raises OSError when the host cannot do it; those with `at_once` raise BlockingIOError rather than wait
    for a disk. A request that raises may have been carried out in part, never with half a sector."""

    @property
    def size(self) -> int: ...

    @property
    def read_only(self) -> bool: ...

    @property
    def never_waits(self) -> bool:
        """Whether it is all in memory."""
        ...

    def read(self, buffers: Buffers, place: int, *, at_once: bool = False) -> None:
        """Fill the buffers with what is at `place`."""
        ...

    def write(self, buffers: Buffers, place: int) -> None:
        """Store what is in the buffers at `place`."""
        ...

    def flush(self) -> None:
        """All that was written is safe when the host fails."""
        ...

    def discard(self, place: int, length: int) -> None:
        """Nobody needs this any more: from now on it reads as zeros, and the host has its space back."""
        ...

    def erase(self, place: int, length: int) -> None:
        """As `discard`, but first overwrite what was there, as far as a program can."""
        ...

    def close(self) -> None:
        """Idempotent. Does not flush: a process that ends loses nothing that was written."""
        ...
