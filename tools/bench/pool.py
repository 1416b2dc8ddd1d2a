"""Several points measured at a time, in processes of their own."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, TypeVar

from paravane.tools.progress import telling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_Point = TypeVar("_Point")
_Figures = TypeVar("_Figures")


def each(
    measure: Callable[[_Point], _Figures], points: Sequence[_Point], jobs: int, *, apart: bool = False
) -> list[_Figures]:
    """What was measured of each, so many at a time in processes of their own; `apart`, in one of its own
    even if it is one at a time."""
    found: list[_Figures] = []
    with ExitStack() as stack:
        stack.enter_context(telling(lambda: f"measured {len(found)} of {len(points)}"))
        figures: Iterator[_Figures]
        if jobs == 1 and not apart:
            figures = map(measure, points)
        else:
            # A fresh interpreter for each: what is measured has no more before it than a command has.
            pool = ProcessPoolExecutor(
                min(jobs, len(points)), get_context("spawn"), _leave_to_us, max_tasks_per_child=1
            )
            figures = stack.enter_context(pool).map(measure, points)
        for one in figures:
            found.append(one)
    return found


def at_once(measure: Callable[[_Point], _Figures], points: Sequence[_Point], jobs: int) -> list[_Figures]:
    """As `each`, for what makes processes of its own."""
    found: list[_Figures] = []
    with telling(lambda: f"measured {len(found)} of {len(points)}"), ThreadPoolExecutor(jobs) as pool:
        try:
            for one in pool.map(measure, points):
                found.append(one)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():  # whom somebody waits for
                child.terminate()
            raise
    return found


def _leave_to_us() -> None:
    """Ctrl-C is for the command, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
