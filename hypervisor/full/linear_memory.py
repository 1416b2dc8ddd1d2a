"""Linear memory through the guest's own page tables (SDM volume 3, chapter 4): what its processor would
reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.cpu import PAGE_MASK, PAGE_SIZE, PageFault
from paravane.x86 import PAGE_SHIFT, Cr0, Cr4, PageFaultCode, Pte

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.full.physical_memory import PhysicalMemory
    from paravane.full.state import PrivilegedState

_PRESENT, _RW, _USER = int(Pte.PRESENT), int(Pte.RW), int(Pte.USER)
_ACCESSED, _DIRTY, _LARGE = int(Pte.ACCESSED), int(Pte.DIRTY), int(Pte.PSE)
_WRITE: Final = int(PageFaultCode.write_access)
_BY_USER: Final = int(PageFaultCode.user_mode)
_WAS_PRESENT: Final = int(PageFaultCode.page_present)
_PAE, _PSE, _WP = int(Cr4.PAE), int(Cr4.PSE), int(Cr0.WP)
_LINEAR: Final = 0xFFFFFFFF
_PAE_ADDRESS: Final = 0x000F_FFFF_FFFF_F000


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


class _Level(NamedTuple):
    """One level of tables: where its index begins and how wide it is, the bytes of an entry, and whether an
    entry has rights, and may be a page."""

    shift: int
    bits: int
    has_rights: bool
    may_be_page: bool


_TWO_LEVELS: Final = (_Level(22, 10, True, True), _Level(12, 10, True, False))
_THREE_LEVELS: Final = (
    _Level(30, 2, False, False),
    _Level(21, 9, True, True),
    _Level(12, 9, True, False),
)


class LinearMemory:
    """Reads, writes and translations, as ring 3 (`user`) or as ring 0. PageFault where the guest's tables
    refuse them."""

    def __init__(self, physical: PhysicalMemory, state: PrivilegedState) -> None:
        self.physical = physical
        self._state = state

    def translate(
        self, va: int, *, write: bool = False, user: bool = False, marks: bool = True
    ) -> Translation:
        """Walk the guest's tables, and mark there what hardware marks, unless somebody only looks on.
        PageFault."""
        state = self._state
        if not state.paging:
            return Translation(va & _LINEAR, user=True, writable=True, clean=False)
        pae = state.cr4 & _PAE != 0
        code = _WRITE * write | _BY_USER * user
        table, rights = state.cr3 & (0xFFFFFFE0 if pae else 0xFFFFF000), _RW | _USER
        met: list[tuple[int, int]] = []
        span = PAGE_SIZE
        for level in _THREE_LEVELS if pae else _TWO_LEVELS:
            at = table + (va >> level.shift & (1 << level.bits) - 1) * (8 if pae else 4)
            entry = self.physical.entry(at, wide=pae)
            if not entry & _PRESENT:
                raise PageFault(va & _LINEAR, code)
            if level.has_rights:
                rights &= entry
                met.append((at, entry))
            table = entry & (_PAE_ADDRESS if pae else 0xFFFFF000)
            if level.may_be_page and entry & _LARGE and (pae or state.cr4 & _PSE):
                span = 1 << level.shift
                break
        protected = user or state.cr0 & _WP
        if (user and not rights & _USER) or (write and protected and not rights & _RW):
            raise PageFault(va & _LINEAR, code | _WAS_PRESENT)
        marked = self._mark(met, write=write, pae=pae) if marks else [entry for _, entry in met]
        upper, leaf = marked[0], marked[-1]
        return Translation(
            table & -span | va & span - 1,
            user=bool(rights & _USER),
            writable=bool(rights & _RW) or not protected,
            clean=not leaf & _DIRTY,
            walk=Walk(
                met[0][0] >> PAGE_SHIFT,
                upper,
                met[1][0] >> PAGE_SHIFT if len(met) > 1 else None,
                leaf,
            ),
        )

    def read(self, va: int, size: int, *, user: bool = False) -> bytes:
        """`size` bytes; PageFault names the first that cannot be read."""
        if 0 < size <= PAGE_SIZE - (va & PAGE_MASK):
            return self.physical.read(self.translate(va, user=user).address, size)
        return b"".join(
            self.physical.read(self.translate(at, user=user).address, step) for at, step in _pages(va, size)
        )

    def look(self, va: int, size: int) -> bytes:
        """As `read`, of `size` bytes in one page, and the guest cannot know of it."""
        return self.physical.read(self.translate(va, marks=False).address, size)

    def write(self, va: int, data: bytes, *, user: bool = False) -> None:
        """Store; on a PageFault nothing has been written."""
        places = [
            (self.translate(at, write=True, user=user).address, step) for at, step in _pages(va, len(data))
        ]
        done = 0
        for address, step in places:
            self.physical.write(address, data[done : done + step])
            done += step

    def read_number(self, va: int, size: int, *, user: bool = False) -> int:
        """A little-endian number of `size` bytes."""
        return int.from_bytes(self.read(va, size, user=user), "little")

    def fetch(self, va: int, size: int) -> bytes:
        """As many of `size` bytes of code as can be read."""
        code = b""
        for at, step in _pages(va, size):
            try:
                code += self.physical.read(self.translate(at).address, step)
            except PageFault:
                break
        return code

    def _mark(self, met: list[tuple[int, int]], *, write: bool, pae: bool) -> list[int]:
        """Accessed bits in what was met on the way, and the dirty bit in the last: the entries, so marked.
        One entry may be met twice, where a directory is a table of its own."""
        if all(entry & _ACCESSED for _, entry in met) and (not write or met[-1][1] & _DIRTY):
            return [entry for _, entry in met]
        marks = [_ACCESSED] * (len(met) - 1) + [_ACCESSED | _DIRTY * write]
        marked = []
        for (at, entry), mark in zip(met, marks, strict=True):
            marked.append(entry | mark)
            if entry | mark != entry:
                self.physical.write(at, (entry | mark).to_bytes(8 if pae else 4, "little"))
        return marked


def _pages(va: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a range that lie in one page each."""
    while size > 0:
        va &= _LINEAR
        step = min(size, PAGE_SIZE - (va & PAGE_MASK))
        yield va, step
        va, size = va + step, size - step
