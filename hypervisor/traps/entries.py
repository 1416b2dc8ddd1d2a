"""The ways into the guest that have been worked out before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.arch import KERNEL_RING
from paravane.cpu import SegmentFault
from paravane.cpu.entry import PreparedEntry
from paravane.x86 import Selector

if TYPE_CHECKING:
    from paravane.cpu import Cpu

MAX_ENTRIES: Final = 8
"""More pairs of selectors than a kernel has; one that keeps changing them gains nothing."""


class NativeWays(Protocol):
    """What enters the guest without Python, by ways that it is told of."""

    def open(self, slot: int, cs: int, ss: int, entry: PreparedEntry, /) -> None:
        """In `slot` is from now on the way into these segments. It is compared with what it was made from
        each time it is used."""
        ...

    def shut(self, slot: int, /) -> None:
        """There is none in `slot`."""
        ...


class Entries:
    """Prepared entries by code and stack selector; one that is no longer right is made anew."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._prepared: dict[tuple[int, int], PreparedEntry] = {}
        self._slots: list[tuple[int, int] | None] = [None] * MAX_ENTRIES
        self._native: NativeWays | None = None

    def find(self, cs: int, ss: int) -> PreparedEntry | None:
        """A valid entry, or None where `Cpu.enter` has to decide."""
        entry = self._prepared.get((cs, ss))
        if entry is not None:
            if entry.valid():
                return entry
            self._forget((cs, ss))
        ring = cs & Selector.RPL
        if ring < KERNEL_RING:
            return None
        try:
            entry = PreparedEntry(self._cpu, cs, ss, ring)
        except SegmentFault:
            return None
        if len(self._prepared) == MAX_ENTRIES:
            for key in list(self._prepared):
                self._forget(key)
        self._keep((cs, ss), entry)
        return entry

    def tell(self, native: NativeWays) -> None:
        """Tell `native` of all that is and will be worked out."""
        self._native = native
        for key, entry in self._prepared.items():
            native.open(self._slots.index(key), *key, entry)

    def _keep(self, key: tuple[int, int], entry: PreparedEntry) -> None:
        self._prepared[key] = entry
        slot = self._slots.index(None)
        self._slots[slot] = key
        if self._native is not None:
            self._native.open(slot, *key, entry)

    def _forget(self, key: tuple[int, int]) -> None:
        del self._prepared[key]
        slot = self._slots.index(key)
        self._slots[slot] = None
        if self._native is not None:
            self._native.shut(slot)
