"""Who may use which I/O port (SDM volume 1, chapter 19.5): rings up to EFLAGS.IOPL all of them, others those
that the map in the task-state segment lets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import SegmentFault
from paravane.full.state import BIG_TASK
from paravane.x86 import Vector

if TYPE_CHECKING:
    from paravane.full.processor import VirtualProcessor

_MAP_BASE: Final = 0x66
"""Where a TSS of 32 bits says where its map is."""


def check_ports(processor: VirtualProcessor, port: int, size: int) -> None:
    """Whether the present ring may use `size` ports from `port` on. SegmentFault; PageFault where the TSS is
    not in memory."""
    state = processor.state
    if state.cpl <= state.iopl:
        return
    task, memory = state.task, processor.memory
    refusal = SegmentFault(Vector.GP, 0)
    if not task.has(BIG_TASK) or task.limit < _MAP_BASE + 1:
        raise refusal
    at = memory.read_number(task.base + _MAP_BASE, 2) + port // 8
    # Two bytes, whatever the size: a map ends with one of ones.
    if at + 1 > task.limit or memory.read_number(task.base + at, 2) >> port % 8 & (1 << size) - 1:
        raise refusal
