"""Free machine frames, handed out scattered.

A guest that takes its pseudo-physical frames for machine frames must fail here as it would on a busy
machine, so no two frames given in a row are neighbours. Free memory is kept as runs with a stride:
discontiguous, and still one slice operation each.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

STRIDE: Final = 61
"""Distance between two frames of a fresh run."""


class FramePool:
    """The frames nobody has, as strided runs. The order depends on `seed` alone."""

    def __init__(self, frames: range, seed: int) -> None:
        stride = min(STRIDE, max(1, len(frames)))
        self._runs = [frames[first::stride] for first in range(stride) if frames[first::stride]]
        random.Random(seed).shuffle(self._runs)
        self.free = len(frames)

    def take(self, count: int) -> list[range]:
        """Runs of `count` frames in all. Raises MemoryError, taking none, when there are fewer."""
        if count > self.free:
            raise MemoryError(f"{count} frames wanted, {self.free} are free")
        taken: list[range] = []
        self.free -= count
        while count:
            run = self._runs.pop()
            if len(run) > count:
                self._runs.append(run[count:])
                run = run[:count]
            taken.append(run)
            count -= len(run)
        return taken

    def take_contiguous(self, order: int, limit: int) -> range | None:
        """2**order frames in a row below mfn `limit`, aligned to their number, or None.

        Looks at every free frame: for requests that need it, not for building domains.
        """
        size = 1 << order
        if size > self.free:
            return None
        have = self.frames()
        for first in sorted(mfn for mfn in have if mfn % size == 0 and mfn + size <= limit):
            wanted = range(first, first + size)
            if have.issuperset(wanted):
                self._remove(set(wanted))
                return wanted
        return None

    def give_back(self, mfns: Iterable[int]) -> None:
        """Frames that became free. They are handed out again before untouched memory is."""
        for mfn in mfns:
            self._runs.append(range(mfn, mfn + 1))
            self.free += 1

    def frames(self) -> set[int]:
        """Every free frame, for audits."""
        return {mfn for run in self._runs for mfn in run}

    def _remove(self, wanted: set[int]) -> None:
        kept: list[range] = []
        for run in self._runs:
            if wanted.isdisjoint(run):
                kept.append(run)
            else:
                kept += [range(mfn, mfn + 1) for mfn in run if mfn not in wanted]
        self._runs = kept
        self.free -= len(wanted)
