"""A ring of messages between one that packs them and one that takes them, in two processes or in one.

Its memory is shared with processes that are forked afterwards, and stays until the last of them ends: what
one has put in is there for the other, however the first one ends.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CAPACITY: Final = 1 << 20
"""Bytes: some ten thousand hypercalls, tens of milliseconds of a guest that does nothing else. More would not
stay in a processor's cache."""

_HEADER: Final = 256
PUT, _TURN, _TAKEN = 0, 1, 16
"""Where numbers of the header are, in words of eight bytes. Each side writes into a cache line of its own."""

_PORTION: Final = 8
"""A producer looks this many times a round how far the other side has come."""


def _never_full() -> bool:
    return False


class Ring:
    """`at` and `limit` are the producer's: a message may be put at byte `at` of `messages` if it ends at or
    before `limit`, else `claim` is asked first. Whole messages only are published.

    `capacity` is in bytes. `full` is called while there is no room for a message, and returns whether to go
    on trying: if not, this and all later ones are dropped. `congested` is called now and then while more than
    half of it is in use.
    """

    # Neither side has a lock: it relies on stores that become visible in order, as on x86, so that a message
    # is there when it is told of. Other processors may reorder them by nanoseconds, which is less than Python
    # needs from reading how far the other side is to reading what it has put there.

    def __init__(self, capacity: int = CAPACITY) -> None:
        memory = memoryview(mmap.mmap(-1, _HEADER + capacity))
        self.messages = memory[_HEADER:]
        self.state = memory[:_HEADER].cast("Q")
        self.at = 0
        self.limit = 0
        self.full: Callable[[], bool] = _never_full
        self.congested: Callable[[], object] = _never_full
        self.dropping = False
        self.capacity = capacity

    # The producer's side.

    def put(self, message: bytes) -> None:
        """Put in a whole message, at most an eighth of the ring."""
        size = len(message)
        if self.at + size > self.limit:
            self.claim(size)
        end = self.at + size
        self.messages[self.at : end] = message
        self.publish(end)

    def publish(self, end: int) -> None:
        """There is a message from `at` to `end`."""
        self.at = self.state[PUT] = end

    def claim(self, size: int) -> None:
        """Find room for `size` bytes at `at`; wait for it if need be."""
        while not self._find_room(size):
            if self.dropping or not self.full():
                # What is overwritten now is not taken any more.
                self.dropping = True
                self.at, self.limit = 0, self.capacity
                return
        if 2 * self.used > self.capacity:
            self.congested()

    @property
    def taken(self) -> int:
        """How far the other side has come: it goes round."""
        return self.state[_TAKEN]

    @property
    def used(self) -> int:
        """Bytes that nobody has taken yet, about."""
        return (self.at - self.taken) % self.capacity

    def _find_room(self, size: int) -> bool:
        taken = self.taken
        if taken <= self.at and self.capacity - self.at < size and taken > size:
            # Its end is too near: go on at the beginning, once that has been taken.
            self.state[_TURN] = self.at
            self.publish(0)
        # Never up to what was not taken yet: a ring that is full would look like an empty one.
        free = self.capacity if taken <= self.at else taken - 1
        self.limit = min(free, self.at + max(size, self.capacity // _PORTION))
        return self.at + size <= self.limit

    # The consumer's side.

    def take(self) -> bytes:
        """The messages that are there, up to the end of the ring; `release` makes room of them."""
        put, taken = self.state[PUT], self.state[_TAKEN]
        end = put if taken <= put else self.state[_TURN]
        if end == taken and put < taken:
            self.state[_TAKEN] = taken = 0
            end = put
        return bytes(self.messages[taken:end])

    def release(self, size: int) -> None:
        """The first `size` bytes of what was taken are needed no more."""
        self.state[_TAKEN] += size
