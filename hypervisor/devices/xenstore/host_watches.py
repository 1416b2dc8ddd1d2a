"""Watches of the host's own: backends and the toolstack, which are called instead of sent messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.devices.xenstore.watches import Watch
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.xenstore.watches import WatchIndex


class HostWatch:
    """One of them. `close` ends it."""

    domid = CONTROL_DOMID

    def __init__(
        self, home: HostWatches, path: str, callback: Callable[[str], None], place: int | None = None
    ) -> None:
        self._home = home
        self._callback = callback
        self.watch = Watch(path, b"")
        self._closed = False
        if place is None:
            home.index.add(self, self.watch)
        else:
            home.index.put(self, self.watch, place)

    @property
    def place(self) -> int:
        """Where it stands in the order in which all watches were set."""
        return self._home.index.place(self, self.watch)

    def event(self, watch: Watch, path: str) -> None:
        self._home.later(self, path)

    def call(self, path: str) -> None:
        if not self._closed:
            self._callback(path)

    def close(self) -> None:
        """Hear of nothing any more, not even of what has happened already. Idempotent."""
        self._closed = True
        self._home.index.remove(self, self.watch)


class HostWatches:
    """The host's watches among all those of `index`, and what they are still to hear of."""

    def __init__(self, index: WatchIndex) -> None:
        self.index = index
        self._events: dict[tuple[HostWatch, str], None] = {}
        self._delivering = False

    def add(self, path: str, callback: Callable[[str], None]) -> HostWatch:
        """A new watch, which has to hear of `path` itself first."""
        watch = HostWatch(self, path, callback)
        watch.event(watch.watch, path)
        return watch

    def resume(self, path: str, callback: Callable[[str], None], place: int) -> HostWatch:
        """One that was set before all was kept, at that place, and has heard of all since."""
        return HostWatch(self, path, callback, place)

    @property
    def untold(self) -> bool:
        """Whether anybody is still to hear of anything."""
        return bool(self._events)

    def later(self, watch: HostWatch, path: str) -> None:
        """Queue an event. One that waits already tells the same: guests cannot make the queue long."""
        self._events[watch, path] = None

    def deliver_one(self) -> bool:
        """Run the callback of one event. False when there is none, or inside another callback: then the
        caller of that one goes on with what is left."""
        if self._delivering or not self._events:
            return False
        watch, path = next(iter(self._events))
        del self._events[watch, path]
        self._delivering = True
        try:
            watch.call(path)
        finally:
            self._delivering = False
        return True
