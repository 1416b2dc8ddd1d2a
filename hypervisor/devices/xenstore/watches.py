"""Watches: who hears of a change, and telling them of it in portions."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol

from paravane.classes import NamedTuple
from paravane.devices.xenstore.tree import ROOT, parent_of
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paravane.devices.xenstore.rights import Rights
    from paravane.devices.xenstore.tree import Permission

_CHANGE_UNITS: Final = 2
_DEPTH_PER_UNIT: Final = 4
_EVENT_UNITS: Final = 3


class Watch(NamedTuple):
    """`path`: absolute, or a special `@` event. `relative`: what event paths leave away at their front.
    `depth`: how many levels below `path` count (None: all)."""

    path: str
    token: bytes
    relative: str = ""
    depth: int | None = None

    def covers(self, levels: int) -> bool:
        """Whether it is for something so many levels below its path. Of a special event it hears by the
        event's name or, with a depth, by one that says which domain it is about (`@releaseDomain/5`)."""
        if not self.path.startswith("@"):
            return self.depth is None or levels <= self.depth
        if levels:
            return bool(self.depth)
        return self.depth is None or "/" in self.path


class Watcher(Protocol):
    """Someone with watches: a guest's session, or a watch of the host."""

    @property
    def domid(self) -> int: ...
    def event(self, watch: Watch, path: str) -> None:
        """Something at `path` has changed. To be ignored for a watch that is not there any more."""
        ...


class Change(NamedTuple):
    """A change and what decides who may hear of it, as it was at that moment: the permissions of the node
    (empty: it does not count), those it had before, and those of its parent (empty: there was none)."""

    path: str
    exact: bool
    now: tuple[Permission, ...]
    before: tuple[Permission, ...]
    parent: tuple[Permission, ...]


class WatchIndex:
    """Every watch there is, by its path: to find who watches a path costs its depth, however many watch."""

    def __init__(self) -> None:
        self._order = count()
        self._by_path: dict[str, dict[tuple[Watcher, Watch], int]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_path)

    def add(self, watcher: Watcher, watch: Watch) -> None:
        self._by_path.setdefault(watch.path, {})[watcher, watch] = next(self._order)

    def place(self, watcher: Watcher, watch: Watch) -> int:
        """Where a watch stands in the order in which all were set."""
        return self._by_path[watch.path][watcher, watch]

    def put(self, watcher: Watcher, watch: Watch, place: int) -> None:
        """A watch that was set before all was kept stands where it stood."""
        self._by_path.setdefault(watch.path, {})[watcher, watch] = place
        self._order = count(max(place + 1, next(self._order)))

    def remove(self, watcher: Watcher, watch: Watch) -> None:
        """Idempotent."""
        there = self._by_path.get(watch.path)
        if there is not None:
            there.pop((watcher, watch), None)
            if not there:
                del self._by_path[watch.path]

    def matching(self, path: str, *, exact: bool) -> list[tuple[Watcher, Watch]]:
        """The watches at `path` and, unless `exact`, above it, in the order in which they were set."""
        found: list[tuple[int, Watcher, Watch]] = []
        for levels, place in enumerate((path,) if exact else _upwards(path)):
            for (watcher, watch), order in self._by_path.get(place, {}).items():
                if watch.covers(levels):
                    found.append((order, watcher, watch))
        found.sort(key=lambda entry: entry[0])
        return [(watcher, watch) for _, watcher, watch in found]


class Announcement:
    """What is still to be told of changes that are made: a plain queue, so that whoever caused many events
    can be charged for them and interrupted between them."""

    def __init__(self, watches: WatchIndex, rights: Rights) -> None:
        self._watches = watches
        self._rights = rights
        self._changes: deque[Change] = deque()
        self._events: deque[tuple[Watcher, Watch, str]] = deque()

    def __bool__(self) -> bool:
        return bool(self._events or self._changes)

    def add(self, changes: Iterable[Change]) -> None:
        self._changes.extend(changes)

    def step(self) -> int:
        """Tell one watcher, or find out whom to tell of the next change. Returns the units of work."""
        if self._events:
            watcher, watch, path = self._events.popleft()
            watcher.event(watch, path)
            return _EVENT_UNITS
        change = self._changes.popleft()
        matching = self._watches.matching(change.path, exact=change.exact)
        for watcher, watch in matching:
            if self._may_hear(watcher.domid, change):
                self._events.append((watcher, watch, change.path))
        depth = 0 if change.exact else change.path.count("/")
        return _CHANGE_UNITS + depth // _DEPTH_PER_UNIT + len(matching)

    def finish(self) -> None:
        """Tell everybody of everything now."""
        while self:
            self.step()

    def _may_hear(self, domid: int, change: Change) -> bool:
        """A guest may if it can read the node, could read it before, or can read its parent."""
        if domid == CONTROL_DOMID:
            return True
        if change.before and self._rights.may_read(domid, change.before):
            return True
        if not change.now:
            return False
        if self._rights.may_read(domid, change.now):
            return True
        return bool(change.parent) and self._rights.may_read(domid, change.parent)


def _upwards(path: str) -> Iterator[str]:
    """A path and all that contain it: of `@releaseDomain/5` that is `@releaseDomain`."""
    yield path
    while path not in (ROOT, "") and "/" in path:
        path = parent_of(path)
        yield path
