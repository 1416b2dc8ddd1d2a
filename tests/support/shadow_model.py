"""What a processor may remember of page tables: a plain walk over all that they said since it was flushed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.classes import NamedTuple
from paravane.x86 import Cr0, Cr4

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.full.state import PrivilegedState

_P, _RW, _US, _A, _D, _PS = 1, 2, 4, 0x20, 0x40, 0x80
_BEYOND_32_BITS = 0xFFFFFFFF << 32


class Access(NamedTuple):
    """Of ring 3 (`user`) or ring 0."""

    va: int
    write: bool
    user: bool


class Memory:
    """The guest's `size` bytes: `watched` frames as they are and were, all others as of zeroes."""

    def __init__(self, view: memoryview, size: int, watched: Sequence[int]) -> None:
        self._view, self._size, self._watched = view, size, watched
        self._versions: list[dict[int, bytes]] = []
        self.note()

    def note(self) -> None:
        """Something may have changed."""
        now = {frame: self._view[frame << 12 : frame + 1 << 12].tobytes() for frame in self._watched}
        if not self._versions or now != self._versions[-1]:
            self._versions.append(now)

    @property
    def latest(self) -> int:
        return len(self._versions) - 1

    def values(self, address: int, size: int, since: int) -> set[int]:
        """What a number was at any time since a version."""
        if address >= self._size:
            return {(1 << 8 * size) - 1}
        frame, offset = address >> 12, address & 0xFFF
        if frame not in self._versions[-1]:
            return {int.from_bytes(self._view[address : address + size], "little")}
        return {
            int.from_bytes(version[frame][offset : offset + size], "little")
            for version in self._versions[since:]
        }


class Reference:
    """The processor that the guest thinks it has."""

    def __init__(self, memory: Memory, state: PrivilegedState) -> None:
        self._memory, self._state = memory, state
        self._flushed = 0
        self._pages: dict[int, int] = {}

    def flush(self) -> None:
        self._flushed = self._memory.latest
        self._pages.clear()

    def flush_page(self, va: int) -> None:
        self._pages[va >> 12] = self._memory.latest

    def allowed(self, access: Access) -> set[int]:
        """The physical addresses that an access may reach, by tables that are marked as used already."""
        return set(self._walks(access, remembers=True, marked=True))

    def granted_now(self, access: Access) -> set[int]:
        """Where the tables as they are now have it go, marked or not: one address or none."""
        return set(self._walks(access, remembers=False, marked=False))

    def entries_of(self, va: int) -> list[int]:
        """The addresses of the entries that map linear `va` now: of the directory, and of the page table if
        there is one."""
        memory, state, latest = self._memory, self._state, self._memory.latest
        pae = bool(state.cr4 & Cr4.PAE)
        size, mask, shift = (8, 0x000F_FFFF_FFFF_F000, 21) if pae else (4, 0xFFFF_F000, 22)
        directory = state.cr3 & mask
        if pae:
            (pointer,) = memory.values((state.cr3 & ~31) + 8 * (va >> 30), 8, latest)
            if not pointer & _P or pointer & _BEYOND_32_BITS:
                return []
            directory = pointer & mask
        upper_at = directory + size * (va >> shift & (511 if pae else 1023))
        (upper,) = memory.values(upper_at, size, latest)
        if not upper & _P or (upper & _PS and state.cr4 & (Cr4.PSE | Cr4.PAE)):
            return [upper_at]
        return [upper_at, (upper & mask) + size * (va >> 12 & (1 << shift - 12) - 1)]

    def _walks(self, access: Access, *, remembers: bool, marked: bool) -> Iterator[int]:
        state, va, latest = self._state, access.va, self._memory.latest
        if not state.cr0 & Cr0.PG:
            yield va
            return
        since = self._pages.get(va >> 12, self._flushed) if remembers else latest
        mark = _A if marked else 0
        dirty = _D if marked and access.write else 0
        if state.cr4 & Cr4.PAE:
            size, mask = 8, 0x000F_FFFF_FFFF_F000
            root = self._flushed if remembers else latest
            pointers = self._memory.values((state.cr3 & ~31) + 8 * (va >> 30), 8, root)
            directories = [
                pointer & mask for pointer in pointers if pointer & _P and not pointer & _BEYOND_32_BITS
            ]
            shift = 21
        else:
            size, mask, shift = 4, 0xFFFF_F000, 22
            directories = [state.cr3 & mask]
        large = bool(state.cr4 & (Cr4.PSE | Cr4.PAE))
        entries = (1 << shift - 12) - 1
        upper_mask = 511 if size == 8 else 1023
        for directory in directories:
            for upper in self._memory.values(directory + size * (va >> shift & upper_mask), size, since):
                if not upper & _P or upper & mark != mark or upper & _BEYOND_32_BITS:
                    continue
                if upper & _PS and large:
                    reserved = upper & (1 << shift) - 1 & ~0x1FFF
                    if upper & dirty == dirty and not reserved and self._may(access, upper):
                        yield (upper & mask & -(1 << shift)) + (va & (1 << shift) - 1)
                    continue
                table = upper & mask
                for leaf in self._memory.values(table + size * (va >> 12 & entries), size, since):
                    need = _P | mark | dirty
                    reserved = leaf & _BEYOND_32_BITS
                    if leaf & need == need and not reserved and self._may(access, upper & leaf):
                        yield (leaf & mask) + (va & 0xFFF)

    def _may(self, access: Access, rights: int) -> bool:
        if access.user:
            return bool(rights & _US) and (not access.write or bool(rights & _RW))
        return not access.write or bool(rights & _RW) or not self._state.cr0 & Cr0.WP
