"""Round robin: every runnable vcpu in turn, the same slice for each."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paravane.vcpu import Vcpu


class RoundRobin:
    """A queue of all vcpus; whoever was asked for last waits behind the others."""

    def __init__(self, slice_length: int = 10_000_000) -> None:
        self.slice_length = slice_length
        self._queue: deque[Vcpu] = deque()

    def add(self, vcpu: Vcpu) -> None:
        self._queue.append(vcpu)

    def remove(self, vcpu: Vcpu) -> None:
        self._queue.remove(vcpu)

    def next(self) -> Vcpu | None:
        for _ in range(len(self._queue)):
            vcpu = self._queue[0]
            self._queue.rotate(-1)
            if vcpu.run_state.runnable:
                return vcpu
        return None
