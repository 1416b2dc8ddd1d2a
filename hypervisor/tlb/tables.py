"""The page tables that the engine walks for a modelled TLB: they map what it holds, and the kernel's area.

The engine's processor has a hardware walker and no other. So its tables hold no more than the TLB does at
that moment, below `TLB_USER_END`; the level 2 table above is the guest's own, whose addresses no TLB
translates, as those of MIPS's kernel segments. A level 1 table is taken when a page of its 2 MiB is first
held, and free again when none is; each TLB has as many of them as it has entries, so there is always one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from paravane.tlb.spec import UPPER_TABLES
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Pte

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paravane.memory.machine_memory import MachineMemory

_UPPER: Final = int(Pte.PRESENT | Pte.RW | Pte.USER | Pte.ACCESSED)
_SLOTS: Final = UPPER_TABLES - 1
"""Level 3 entries below the kernel's area, `TLB_USER_END`; there is one above."""

_ENTRY: Final = 8
_L2_SHIFT: Final = 21


class EngineTables:
    """Tables in frames of the hypervisor's own. `root` is their machine address.

    `shown` has what they map: virtual page number -> leaf entry.
    """

    def __init__(self, machine: MachineMemory, pages: int) -> None:
        """For up to so many pages at a time. Raises MemoryError."""
        self._machine = machine
        self._quads = machine.ram.quads
        self._frames = machine.allocate_own(UPPER_TABLES + pages)
        root, *rest = self._frames
        self.root = root << PAGE_SHIFT
        self._l2, self._free = rest[:_SLOTS], rest[_SLOTS:]
        self._l1: dict[int, int] = {}
        self._used: Counter[int] = Counter()
        self.shown: dict[int, int] = {}
        for slot, mfn in enumerate(self._l2):
            self._quads[self.root // _ENTRY + slot] = mfn << PAGE_SHIFT | Pte.PRESENT

    def close(self) -> None:
        """Give the frames back; the processor that walks them must not run any more."""
        frames, self._frames = self._frames, self._frames[:0]
        self._machine.free_own(frames)

    def set_kernel(self, entry: int) -> None:
        """The level 3 entry of the kernel's area."""
        self._quads[self.root // _ENTRY + _SLOTS] = entry

    def show(self, vpn: int, entry: int) -> None:
        """Map a page."""
        if vpn not in self.shown:
            region = vpn << PAGE_SHIFT >> _L2_SHIFT
            if region not in self._l1:
                table = self._l1[region] = self._free.pop()
                self._quads[self._upper(region)] = table << PAGE_SHIFT | _UPPER
            self._used[region] += 1
        self.shown[vpn] = entry
        self._quads[self._leaf(vpn)] = entry

    def hide(self, vpn: int) -> int:
        """Map the page no more: the entry that it had."""
        self._quads[self._leaf(vpn)] = 0
        region = vpn << PAGE_SHIFT >> _L2_SHIFT
        self._used[region] -= 1
        if not self._used[region]:
            del self._used[region]
            self._quads[self._upper(region)] = 0
            self._free.append(self._l1.pop(region))
        return self.shown.pop(vpn)

    def mapped(self) -> Mapping[int, int]:
        """What the tables really map, read from machine memory: for audits."""
        found = {}
        for slot in range(_SLOTS):
            for at, upper in self._entries(self._quads[self.root // _ENTRY + slot]):
                for leaf, entry in self._entries(upper):
                    found[slot << 18 | at << 9 | leaf] = entry
        return found

    def _entries(self, table: int) -> list[tuple[int, int]]:
        first = (table & 0xFFFFF_FFFFF000) // _ENTRY
        entries = self._quads[first : first + PAGE_SIZE // _ENTRY].tolist()
        return [(at, entry) for at, entry in enumerate(entries) if entry & Pte.PRESENT]

    def _upper(self, region: int) -> int:
        return (self._l2[region >> 9] << PAGE_SHIFT) // _ENTRY + (region & 511)

    def _leaf(self, vpn: int) -> int:
        return (self._l1[vpn >> 9] << PAGE_SHIFT) // _ENTRY + (vpn & 511)
