"""The map of machine memory: who owned which frame, and as what it was used, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paravane.classes import NamedTuple
from paravane.tools.report_page.values import Texts, number_of, text_of

if TYPE_CHECKING:
    from paravane.trace import Entry

MOST_CHANGES: Final = 150_000
"""Changes that the page has; when there are more, those of one frame within a step of time are one."""
MOST_FRAMES: Final = 100_000
"""Frames that are shown: the first that change."""
_NAMES_ROOM: Final = 4096


class _Change(NamedTuple):
    """`time` in nanoseconds; what the frame is after it."""

    time: int
    mfn: int
    owner: int
    kind: int
    uses: int
    pinned: bool


class Frames:
    """Collects the changes of frames while entries come."""

    def __init__(self) -> None:
        self._changes: list[_Change] = []
        self._pinned: set[int] = set()
        self._frames: set[int] = set()
        self._types = Texts(_NAMES_ROOM)
        self._step = 0
        self._count = 0
        self._left_out = 0

    def add(self, entry: Entry) -> None:
        if entry.kind != "page":
            return
        mfn, owner, uses = (number_of(entry.data, name) for name in ("mfn", "owner", "uses"))
        if mfn is None or owner is None:
            return
        self._count += 1
        if mfn not in self._frames:
            if len(self._frames) >= MOST_FRAMES:
                self._left_out += 1
                return
            self._frames.add(mfn)
        after = text_of(entry.data, "after")
        if entry.name == "pinned":
            self._pinned.add(mfn)
        elif entry.name in ("unpinned", "refused"):
            self._pinned.discard(mfn)
        kind = self._types.number(after)
        self._changes.append(_Change(entry.time, mfn, owner, kind, uses or 0, mfn in self._pinned))
        if len(self._changes) > MOST_CHANGES:
            self._coarsen()

    def _coarsen(self) -> None:
        """Lengthen the step of time until half of the room is free, or each frame has one change."""
        first = min(change.time for change in self._changes)
        span = max(change.time for change in self._changes) - first + 1
        self._step = max(self._step, 1)
        self._merge(first)
        while len(self._changes) > max(MOST_CHANGES // 2, len(self._frames)) and self._step < span:
            self._step *= 2
            self._merge(first)

    def _merge(self, first: int) -> None:
        """Make the changes of a frame within a step of time one: the last of them."""
        last = {((change.time - first) // self._step, change.mfn): change for change in self._changes}
        self._changes = list(last.values())

    def island(self) -> dict[str, Any] | None:
        """What the page is told; None if there was nothing of it. `at` are nanoseconds after `base`."""
        if not self._changes:
            return None
        changes = sorted(self._changes, key=lambda change: change.time)
        base = changes[0].time
        return {
            "base": str(base),
            "types": self._types.all,
            "at": [change.time - base for change in changes],
            "mfn": [change.mfn for change in changes],
            "owner": [change.owner for change in changes],
            "type": [change.kind for change in changes],
            "uses": [change.uses for change in changes],
            "pinned": [int(change.pinned) for change in changes],
            "count": self._count,
            "step": self._step,
            "left_out": self._left_out,
        }
