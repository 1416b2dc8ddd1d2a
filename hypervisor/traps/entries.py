"""The ways into the guest that have been worked out before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.arch import KERNEL_RING
from paravane.cpu import SegmentFault
from paravane.cpu.entry import PreparedEntry
from paravane.x86 import Selector

if TYPE_CHECKING:
    from paravane.cpu import Cpu

MAX_ENTRIES: Final = 8
"""More pairs of selectors than a kernel has; one that keeps changing them gains nothing."""


class Entries:
    """Prepared entries by code and stack selector; one that is no longer right is made anew."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._prepared: dict[tuple[int, int], PreparedEntry] = {}

    def find(self, cs: int, ss: int) -> PreparedEntry | None:
        """A valid entry, or None where `Cpu.enter` has to decide."""
        entry = self._prepared.get((cs, ss))
        if entry is not None:
            if entry.valid():
                return entry
            del self._prepared[cs, ss]
        ring = cs & Selector.RPL
        if ring < KERNEL_RING:
            return None
        try:
            entry = PreparedEntry(self._cpu, cs, ss, ring)
        except SegmentFault:
            return None
        if len(self._prepared) == MAX_ENTRIES:
            self._prepared.clear()
        self._prepared[cs, ss] = entry
        return entry
