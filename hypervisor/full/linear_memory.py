"""Linear memory through the guest's own page tables (SDM volume 3, chapter 4): what its processor would
reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.classes import NamedTuple
from paravane.cpu import PAGE_MASK, PAGE_SIZE, PageFault
from paravane.full.guest_tables import PAE_RESERVED, RESERVED_IN_LARGE
from paravane.x86 import PAGE_SHIFT, Cr0, Cr4, PageFaultCode, Pte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.full.physical_memory import PhysicalMemory
    from paravane.full.state import PrivilegedState

_PRESENT, _RW, _USER = int(Pte.PRESENT), int(Pte.RW), int(Pte.USER)
_ACCESSED, _DIRTY, _LARGE = int(Pte.ACCESSED), int(Pte.DIRTY), int(Pte.PSE)
_WRITE: Final = int(PageFaultCode.write_access)
_BY_USER: Final = int(PageFaultCode.user_mode)
_WAS_PRESENT: Final = int(PageFaultCode.page_present)
_PAE, _PSE, _WP = int(Cr4.PAE), int(Cr4.PSE), int(Cr0.WP)
_RESERVED: Final = int(PageFaultCode.page_present | PageFaultCode.reserved_bit)
_LINEAR: Final = 0xFFFFFFFF
_ADDRESS: Final = 0xFFFFF000


class Walk(NamedTuple):
    """What was met in the guest's tables, as it is now: the frame of the directory and the entry there, and
    the frame of the page table with the entry there. `table` is None where the directory's entry is the page,
    which `leaf` is then too."""

    directory: int
    upper: int
    table: int | None
    leaf: int


class Translation(NamedTuple):
    """Where a linear address is, and what may be done there: by ring 3, and stores by whoever asks now.
    `clean`: the guest's entry has no dirty bit yet. `walk` is None without paging."""

    address: int
    user: bool
    writable: bool
    clean: bool
    walk: Walk | None = None


class Tlb(Protocol):
    """What a processor knows of linear addresses without a look at the tables."""

    def __call__(self, va: int, *, write: bool, user: bool) -> int | None:
        """The physical address of linear `va`, if it is known and may be read, or written (`write`), by ring
        3 (`user`) or ring 0."""


class LinearMemory:
    """Reads, writes and translations, as ring 3 (`user`) or as ring 0. PageFault where the guest's tables
    refuse them."""

    def __init__(self, physical: PhysicalMemory, state: PrivilegedState, tlb: Tlb | None = None) -> None:
        """Reads and writes ask `tlb` before they walk tables, as those of a processor do."""
        self.physical = physical
        self.accessed: Callable[[int, int, bool], None] | None = None
        """Told of each read and write that is possible: address, size in bytes, whether it is a write."""
        self._state = state
        self._tlb = tlb or _knows_nothing

    def translate(
        self, va: int, *, write: bool = False, user: bool = False, marks: bool = True
    ) -> Translation:
        """Walk the guest's tables, and mark there what hardware marks, unless somebody only looks on.
        PageFault."""
        state = self._state
        if not state.paging:
            return Translation(va & _LINEAR, user=True, writable=True, clean=False)
        code = _WRITE * write | _BY_USER * user
        pae = state.cr4 & _PAE != 0
        entry_of = self.physical.entry
        if pae:
            top = entry_of((state.cr3 & 0xFFFFFFE0) + 8 * (va >> 30 & 3), wide=True)
            if not top & _PRESENT:
                raise PageFault(va & _LINEAR, code)
            if top & PAE_RESERVED:
                raise PageFault(va & _LINEAR, code | _RESERVED)
            upper_at = (top & _ADDRESS) + 8 * (va >> 21 & 511)
        else:
            upper_at = (state.cr3 & _ADDRESS) + 4 * (va >> 22 & 1023)
        upper = leaf = entry_of(upper_at, wide=pae)
        if not upper & _PRESENT:
            raise PageFault(va & _LINEAR, code)
        leaf_at: int | None = None
        span = PAGE_SIZE
        reserved = upper & PAE_RESERVED
        if upper & _LARGE and (pae or state.cr4 & _PSE):
            span = 1 << (21 if pae else 22)
            reserved = upper & (PAE_RESERVED | RESERVED_IN_LARGE & span - 1)
        elif not reserved:
            if pae:
                leaf_at = (upper & _ADDRESS) + 8 * (va >> PAGE_SHIFT & 511)
            else:
                leaf_at = (upper & _ADDRESS) + 4 * (va >> PAGE_SHIFT & 1023)
            leaf = entry_of(leaf_at, wide=pae)
            if not leaf & _PRESENT:
                raise PageFault(va & _LINEAR, code)
            reserved = leaf & PAE_RESERVED
        if reserved:
            raise PageFault(va & _LINEAR, code | _RESERVED)
        rights = upper & leaf
        protected = user or state.cr0 & _WP
        if (user and not rights & _USER) or (write and protected and not rights & _RW):
            raise PageFault(va & _LINEAR, code | _WAS_PRESENT)
        if marks and not (rights & _ACCESSED and (leaf & _DIRTY or not write)):
            upper, leaf = self._mark(upper_at, upper, leaf_at, leaf, write=write, pae=pae)
        return Translation(
            leaf & _ADDRESS & -span | va & span - 1,
            user=rights & _USER != 0,
            writable=rights & _RW != 0 or not protected,
            clean=not leaf & _DIRTY,
            walk=Walk(
                upper_at >> PAGE_SHIFT, upper, None if leaf_at is None else leaf_at >> PAGE_SHIFT, leaf
            ),
        )

    def read(self, va: int, size: int, *, user: bool = False) -> bytes:
        """`size` bytes; PageFault names the first that cannot be read."""
        if 0 < size <= PAGE_SIZE - (va & PAGE_MASK):
            found = self.physical.read(self.reach(va, user=user), size)
        else:
            found = b"".join(
                self.physical.read(self.translate(at, user=user).address, step)
                for at, step in _pages(va, size)
            )
        if self.accessed is not None:
            self.accessed(va, size, False)
        return found

    def look(self, va: int, size: int) -> bytes:
        """As `read`, of `size` bytes in one page, and the guest cannot know of it."""
        return self.physical.read(self.translate(va, marks=False).address, size)

    def write(self, va: int, data: bytes, *, user: bool = False) -> None:
        """Store; on a PageFault nothing has been written."""
        size = len(data)
        if 0 < size <= PAGE_SIZE - (va & PAGE_MASK):
            self.physical.write(self.reach(va, write=True, user=user), data)
        else:
            places = [
                (self.translate(at, write=True, user=user).address, step) for at, step in _pages(va, size)
            ]
            done = 0
            for address, step in places:
                self.physical.write(address, data[done : done + step])
                done += step
        if self.accessed is not None:
            self.accessed(va, size, True)

    def read_number(self, va: int, size: int, *, user: bool = False) -> int:
        """A little-endian number of `size` bytes."""
        return int.from_bytes(self.read(va, size, user=user), "little")

    def fetch(self, va: int, size: int) -> bytes:
        """As many of `size` bytes of code as can be read. Nothing is marked: who fetched the instruction has
        done so, and what comes after it may lie in a page that the guest has never used."""
        code = b""
        for at, step in ((va, size),) if size <= PAGE_SIZE - (va & PAGE_MASK) else _pages(va, size):
            try:
                code += self.physical.read(self.reach(at, marks=False), step)
            except PageFault:
                break
        return code

    def reach(self, va: int, *, write: bool = False, user: bool = False, marks: bool = True) -> int:
        """Where an access ends, as `translate` says it. PageFault."""
        known = self._tlb(va & _LINEAR, write=write, user=user)
        if known is not None:
            return known
        return self.translate(va, write=write, user=user, marks=marks).address

    def _mark(
        self, upper_at: int, upper: int, leaf_at: int | None, leaf: int, *, write: bool, pae: bool
    ) -> tuple[int, int]:
        """Accessed bits in the entries that were met on the way, and the dirty bit in the last: both, so
        marked. One entry may be met twice, where a directory is a table of its own."""
        marked = leaf | _ACCESSED | _DIRTY * write
        if leaf_at is None:
            upper = marked
        elif not upper & _ACCESSED:
            upper |= _ACCESSED
            self._store(upper_at, upper, pae=pae)
        if marked != leaf:
            self._store(upper_at if leaf_at is None else leaf_at, marked, pae=pae)
        return upper, marked

    def _store(self, at: int, entry: int, *, pae: bool) -> None:
        self.physical.write(at, entry.to_bytes(8 if pae else 4, "little"))


def _pages(va: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a range that lie in one page each."""
    while size > 0:
        va &= _LINEAR
        step = min(size, PAGE_SIZE - (va & PAGE_MASK))
        yield va, step
        va, size = va + step, size - step


def _knows_nothing(va: int, *, write: bool, user: bool) -> None:
    """There is no TLB."""
