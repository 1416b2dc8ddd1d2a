"""A descriptor in the machine's poll set, for as long as somebody waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.xenbus.host import Outside


class Watched:
    """Calls `ready` when a descriptor is readable and `room` when it takes bytes, whichever is wanted now.

    One that nobody wants is not in the poll set at all: a hang-up, which a poll reports whether it is asked
    for or not, would keep the machine from resting.
    """

    def __init__(
        self,
        outside: Outside,
        fileno: int,
        ready: Callable[[], None],
        room: Callable[[], None] = lambda: None,
    ) -> None:
        self._outside = outside
        self._fileno = fileno
        self._ready = ready
        self._room = room
        self._wanted = (False, False, False)

    def want(self, *, readable: bool, writable: bool = False, for_guests: bool = True) -> None:
        """From now on wait for this. Without `for_guests` no guest can be waiting for what is read here."""
        wanted = (readable, writable, for_guests)
        if wanted == self._wanted:
            return
        watched, self._wanted = any(self._wanted[:2]), wanted
        if watched:
            self._outside.unwatch(self._fileno)
        if readable or writable:
            self._outside.watch(self._fileno, self._ready, for_guests=for_guests)
            if writable:
                self._outside.adjust(self._fileno, readable=readable, room=self._room)

    def close(self) -> None:
        """Wait for nothing any more; before the descriptor is closed. Idempotent."""
        self.want(readable=False)
