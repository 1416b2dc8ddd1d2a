"""Shadow page tables without an engine: a guest's memory and registers, and a processor of a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.cpu import Ram
from paravane.full.guest_tables import GuestTables
from paravane.full.linear_memory import LinearMemory
from paravane.full.physical_memory import PhysicalMemory
from paravane.full.shadow import Policy, Shadow
from paravane.full.shadow_audit import audit
from paravane.full.state import PrivilegedState
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from tests.support.shadow_model import Access

OWN_FRAMES = 450
"""Frames of the monitor."""


class FakeEngine:
    """A processor: a plain walk of PAE tables, with a TLB that keeps all until it is told to forget."""

    def __init__(self, ram: Ram) -> None:
        self._ram = ram
        self._cr3 = 0
        self._tlb: dict[int, tuple[int, int]] = {}

    @property
    def cr3(self) -> int:
        return self._cr3

    @cr3.setter
    def cr3(self, value: int) -> None:
        self._cr3 = value
        self._tlb.clear()

    def flush_tlb(self) -> None:
        self._tlb.clear()

    def flush_page(self, va: int) -> None:
        self._tlb.pop(va >> 12, None)

    def reach(self, access: Access) -> int | None:
        """The machine address, or None for a page fault."""
        found = self._tlb.get(access.va >> 12)
        if found is None or not _allows(found[1], access):
            found = self._walk(access.va)
            if found is None or not _allows(found[1], access):
                return None
            self._tlb[access.va >> 12] = found
        return found[0] + (access.va & 0xFFF)

    def _walk(self, va: int) -> tuple[int, int] | None:
        quads = self._ram.quads
        root = quads[self._cr3 // 8 + (va >> 30)]
        upper = quads[(root & -PAGE_SIZE) // 8 + (va >> 21 & 511)]
        if not upper & 1:
            return None
        if upper & 0x80:
            return (upper & ~0x1FFFFF) + (va & 0x1FF000), upper
        leaf = quads[(upper & -PAGE_SIZE) // 8 + (va >> 12 & 511)]
        return (leaf & -PAGE_SIZE, leaf & upper) if leaf & 1 else None


def _allows(rights: int, access: Access) -> bool:
    return (not access.write or bool(rights & 2)) and (not access.user or bool(rights & 4))


class ShadowBench:
    """A guest with `frames` frames of memory, without paging at first."""

    def __init__(self, frames: int, policy: Policy) -> None:
        self._next, self._size = frames, frames * PAGE_SIZE
        self.ram = Ram(frames + OWN_FRAMES)
        self.state = PrivilegedState()
        self.physical = PhysicalMemory(self.ram, self._size)
        self.memory = LinearMemory(self.physical, self.state)
        self.guest = GuestTables(self.physical, self.state)
        self.engine = FakeEngine(self.ram)
        self.shadow = Shadow(self.ram, self.engine, self._size, self._allocate, self.guest, policy)
        self.physical.stored = self.shadow.stored

    def _allocate(self, count: int) -> range:
        self._next += count
        assert self._next <= self.ram.nr_frames
        return range(self._next - count, self._next)

    def put(self, frame: int, index: int, entry: int) -> None:
        """An entry of one of the guest's tables."""
        size = self.guest.entry_size
        self.physical.write(frame * PAGE_SIZE + index * size, entry.to_bytes(size, "little"))

    def fault(self, va: int, *, write: bool = False, user: bool = False) -> None:
        """An access that the guest's tables allow, and the shadow does not have yet. PageFault."""
        self.shadow.fill(va, self.memory.translate(va, write=write, user=user), write=write)

    def audit(self) -> list[str]:
        return audit(self.shadow, self.guest, self.state, self.engine.cr3, self._size)
