"""Waiting for what another process, another thread or the host's kernel does in its own time.

No test may take it for granted that something has happened by now: on a busy host each of them can be seconds
late, at any point. What is to happen is waited for, and `HOST_TIMEOUT` is when it counts as never.
"""

from __future__ import annotations

import gc
import os
import select
import time
from typing import TYPE_CHECKING, TypeVar

from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE = 0.01
_T = TypeVar("_T")


def until(condition: Callable[[], object], pause: Callable[[], object] = lambda: time.sleep(_PAUSE)) -> None:
    """Wait until `condition` is true. Between two looks `pause` is called: what lets the other side go on, if
    that is not time alone. Raises AssertionError when it never is."""
    __tracebackhide__ = True
    limit = time.monotonic() + HOST_TIMEOUT
    while not condition():
        assert time.monotonic() < limit, "what was waited for has not come"
        pause()


def until_equal(look: Callable[[], _T], wanted: _T) -> None:
    """Wait until what `look` gives is what is `wanted`. Raises AssertionError that tells both."""
    __tracebackhide__ = True
    limit = time.monotonic() + HOST_TIMEOUT
    while (found := look()) != wanted and time.monotonic() < limit:
        time.sleep(_PAUSE)
    assert found == wanted


def given_longer(attempt: Callable[[int], _T], arrived: Callable[[_T], object]) -> _T:
    """What came of an attempt that is given so many seconds. A busy host may need all of a short time for
    what comes before the point where the test wants it to be used up: then it is given more. Raises
    AssertionError when it never `arrived` there."""
    __tracebackhide__ = True
    for seconds in (2, 10, 50, round(HOST_TIMEOUT)):
        if arrived(outcome := attempt(seconds)):
            return outcome
    raise AssertionError(outcome)


def read_until(fileno: int, complete: Callable[[bytes], object]) -> bytes:
    """What comes out of a descriptor until it is `complete`, which may still be more than that. A terminal
    hands on what was written in several portions as it pleases. Raises AssertionError with what has come when
    there is no more, and OSError, as the end of a terminal does."""
    __tracebackhide__ = True
    read = b""
    while not complete(read):
        assert select.select([fileno], [], [], HOST_TIMEOUT)[0], read
        data = os.read(fileno, 1 << 16)
        assert data, read
        read += data
    return read


def open_files() -> int:
    """How many descriptors this process has open, without those that nobody can reach any more."""
    gc.collect()  # what an earlier test has left would otherwise be closed at any time
    return len(os.listdir("/proc/self/fd"))
