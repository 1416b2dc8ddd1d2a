"""Free machine frames, handed out scattered, with neighbours kept for those who need them.

A guest that takes its pseudo-physical frames for machine frames must fail here as it would on a busy
machine, so no two frames given in a row are neighbours. But a machine on which nothing is contiguous any more
would refuse every extent above one frame. So memory is opened a window at a time: frames are scattered within
the windows that are open, and the others stay whole.
"""

from __future__ import annotations

import random
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Final

from paravane import random_state
from paravane.classes import dataclass
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

STRIDE: Final = 13
"""Distance between two frames of a fresh run."""

_WINDOWS: Final = 16
_SMALLEST_WINDOW, _LARGEST_WINDOW = 64, 16384
"""A machine has about so many windows, each of so many frames (a power of two: aligned extents fit)."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """All that has to be kept of a pool: a byte for each frame that says whether it is free; the runs to be
    handed out and the windows that are whole, three 32-bit numbers each (start, stop, step); the state of its
    random numbers, as 32-bit ones."""

    free: bytes
    runs: bytes
    windows: bytes
    random: bytes


def window_size(nr_frames: int) -> int:
    """Frames in each window of a machine that has `nr_frames` to give."""
    size = 1 << max(0, nr_frames // _WINDOWS).bit_length()
    return min(max(size, _SMALLEST_WINDOW), _LARGEST_WINDOW)


class FramePool:
    """The frames nobody has. In which order they are handed out depends on `seed` and on what was asked.

    `_is_free`, a byte a frame, says what is free; `_runs` are hints, in the order of handing out, and may
    name frames that went as part of an extent since. `window` is how many frames a window has.
    """

    def __init__(self, frames: range, seed: int) -> None:
        self._random = random.Random(seed)
        self._is_free = bytearray(frames.start) + b"\x01" * len(frames)
        self._runs: list[range] = []
        self.window = window_size(len(frames))
        self._windows = _windows(frames, self.window)
        self._random.shuffle(self._windows)
        self.free = len(frames)

    def save(self) -> PoolState:
        """What `restore` goes on from."""
        return PoolState(
            bytes(self._is_free),
            _flattened(self._runs),
            _flattened(self._windows),
            random_state.save(self._random),
        )

    def restore(self, state: PoolState) -> None:
        """Have the same frames free, and hand them out in the same order. Raises ValueError, a sentence, for
        numbers that cannot be."""
        nr_frames = len(self._is_free)
        if len(state.free) != nr_frames or state.free.strip(b"\0\1"):
            raise ValueError("what is said of free frames cannot be")
        runs, windows = _ranges(state.runs, nr_frames), _ranges(state.windows, nr_frames)
        random_state.restore(self._random, state.random)
        self._is_free[:] = state.free
        self._runs, self._windows = runs, windows
        self.free = self._is_free.count(1)

    def take(self, count: int) -> list[range]:
        """Runs of `count` frames in all. Raises MemoryError, taking none, when there are fewer."""
        if count > self.free:
            raise MemoryError(f"{_kib(count)} KiB are wanted, and {_kib(self.free)} KiB are free")
        taken: list[range] = []
        while count:
            run = self._next_run()
            if len(run) > count:
                self._runs.append(run[count:])
                run = run[:count]
            self._mark(run, free=False)
            taken.append(run)
            count -= len(run)
        return taken

    def take_contiguous(self, order: int, limit: int) -> range | None:
        """2**order frames in a row below mfn `limit`, aligned to their number, or None.

        The lowest such extent. A guest may ask as often as it likes, so memory is searched by `bytes.find`,
        which is linear whatever the guest made of it, and never frame by frame.
        """
        size = 1 << order
        wanted, start = b"\x01" * size, 0
        while (at := self._is_free.find(wanted, start, limit)) >= 0:
            start = at + size - 1 & -size
            if start == at:
                run = range(at, at + size)
                self._mark(run, free=False)
                return run
        return None

    def give_back(self, mfns: Iterable[int]) -> None:
        """Frames that became free. They are handed out again before untouched memory is."""
        for mfn in mfns:
            self._is_free[mfn] = 1
            self._runs.append(range(mfn, mfn + 1))
            self.free += 1
        if len(self._runs) > 2 * len(self._is_free):
            self._tidy()

    def give_back_run(self, run: range) -> None:
        """As `give_back`, for a run of frames."""
        self._mark(run, free=True)
        self._runs += self._scattered(run) if run.step == 1 else [run]
        if len(self._runs) > 2 * len(self._is_free):
            self._tidy()

    def free_between(self, first: int, end: int) -> int:
        """Free frames from number `first` to before `end`."""
        return self._is_free[first:end].count(1)

    def frames(self) -> set[int]:
        """Every free frame, for audits."""
        return {mfn for mfn, free in enumerate(self._is_free) if free}

    def _next_run(self) -> range:
        """A run to hand out, all of it free."""
        while True:
            if not self._runs:
                self._open_window()
            run = self._runs.pop()
            free = self._is_free[run.start : run.stop : run.step].count(1)
            if free == len(run):
                return run
            self._runs += [range(mfn, mfn + 1) for mfn in run if self._is_free[mfn]]

    def _open_window(self) -> None:
        self._runs += self._scattered(self._windows.pop())

    def _scattered(self, neighbours: range) -> list[range]:
        """The same frames in runs that have none."""
        stride = min(STRIDE, len(neighbours))
        runs = [neighbours[first::stride] for first in range(stride)]
        self._random.shuffle(runs)
        return runs

    def _mark(self, run: range, *, free: bool) -> None:
        self._is_free[run.start : run.stop : run.step] = bytes((free,)) * len(run)
        self.free += len(run) if free else -len(run)

    def _tidy(self) -> None:
        """Forget hints that name a frame twice, which many extents taken and given back leave."""
        unopened = {mfn for window in self._windows for mfn in window}
        self._runs = [range(mfn, mfn + 1) for mfn in sorted(self.frames() - unopened)]
        self._random.shuffle(self._runs)


def _flattened(ranges: list[range]) -> bytes:
    return array("I", chain.from_iterable((one.start, one.stop, one.step) for one in ranges)).tobytes()


def _ranges(data: bytes, nr_frames: int) -> list[range]:
    """What `_flattened` made flat. Raises ValueError for ranges of frames that are not there."""
    if len(data) % 12:
        raise ValueError("ranges of frames are three numbers each")
    numbers = array("I", data)
    found = []
    for start, stop, step in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        if not step or not start < nr_frames or stop > nr_frames + step:
            raise ValueError(f"there are no frames from {start} to {stop} in steps of {step}")
        found.append(range(start, stop, step))
        if found[-1] and found[-1][-1] >= nr_frames:
            raise ValueError(f"there is no frame {found[-1][-1]:#x}")
    return found


def _kib(nr_frames: int) -> int:
    return nr_frames * PAGE_SIZE >> 10


def _windows(frames: range, size: int) -> list[range]:
    """`frames` cut where a multiple of the window size is."""
    cuts = [frames.start, *range((frames.start // size + 1) * size, frames.stop, size), frames.stop]
    return [range(first, end) for first, end in zip(cuts, cuts[1:], strict=False) if first < end]
