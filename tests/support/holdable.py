"""A machine that can be held and posted to, as whoever waits for a slow reader sees it."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class HeldMachine:
    """`holds` are those not yet released; what is posted waits in `posted` until a test calls it."""

    def __init__(self) -> None:
        self.holds = 0
        self.posted: queue.Queue[Callable[[], object]] = queue.Queue()

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1

    def post(self, call: Callable[[], object]) -> None:
        self.posted.put(call)
