"""The slice timer under Ctrl-C: wherever that comes, nothing is left locked and nobody waits for ever."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import SliceTimer
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any


class Target:
    def stop(self) -> None:
        """Nothing runs here."""


class Interrupter:
    """Raises KeyboardInterrupt at the `at`-th moment at which Python code of `threading` begins, ends or goes
    on to its next line: where a signal's handler may be called."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename == threading.__file__ and event in ("call", "line", "return"):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize(
    "use",
    [
        lambda timer: timer.arm(Target(), HOST_TIMEOUT / 2),
        lambda timer: timer.arm(Target(), 1e-3),
        lambda timer: timer.arm(Target(), 1e-3, lenient=True),
        lambda timer: timer.shorten(1e-3),
        lambda timer: timer.disarm(),
    ],
    ids=["arm", "arm earlier", "arm leniently", "shorten", "disarm"],
)
def test_ctrl_c_leaves_nothing_locked(use: Callable[[SliceTimer], object]) -> None:
    for at in range(1, 100):
        timer = SliceTimer(HOST_TIMEOUT)
        timer.start()
        timer.arm(Target())
        before = sys.gettrace()
        sys.settrace(Interrupter(at))
        try:
            use(timer)
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(before)
        # Another thread can do what this one can only because the lock would be its own.
        closing = threading.Thread(target=timer.close, daemon=True)
        closing.start()
        closing.join(HOST_TIMEOUT)
        assert not closing.is_alive(), f"locked after moment {at}"
        if not interrupted:
            break
    else:
        pytest.fail("there are more moments than were tried")


class Finite(Target):
    """Runs until it is told to stop."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def stop(self) -> None:
        self.stopped.set()


@pytest.mark.parametrize("lenient", [False, True])
def test_who_does_not_end_by_itself_is_ended(*, lenient: bool) -> None:
    with SliceTimer(HOST_TIMEOUT) as timer:
        for _ in range(3):
            target = Finite()
            timer.arm(target, 1e-4, lenient=lenient)
            assert target.stopped.wait(HOST_TIMEOUT)
            assert timer.disarm()


def test_runs_that_end_by_themselves_wake_the_thread_once() -> None:
    """As long as they go on: it looks by itself from then on, and each is due after it looks, give or take
    the lenience. Where the host takes the processor away for longer than that, it is woken once more."""
    runs = 5000
    with SliceTimer(HOST_TIMEOUT) as timer:
        woken: list[None] = []
        notify = timer._changed.notify_all

        def count() -> None:
            woken.append(None)
            notify()

        timer._changed.notify_all = count  # type: ignore[method-assign]
        for _ in range(runs):
            timer.arm(Target(), 1e-4, lenient=True)
            timer.disarm()
        del timer._changed.notify_all
    assert 1 <= len(woken) < runs / 50
