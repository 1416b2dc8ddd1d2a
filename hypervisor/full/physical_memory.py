"""The physical memory of a bare PC, as the monitor sees it: from machine address 0 on, so that guest-physical
and machine addresses are the same where there is memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu import Ram

NOTHING: Final = 0xFF
"""What each byte reads as where there is no memory."""

_NO_ENTRY: Final = (1 << 64) - 1


class PhysicalMemory:
    """`size` bytes of machine memory from address 0, and nothing beyond: reads there are all ones, writes are
    lost."""

    def __init__(self, ram: Ram, size: int) -> None:
        self._ram = ram
        self.size = size
        self.stored: Callable[[int, int], None] = _nobody
        """Told of each store that is made here, after it: address and size in bytes."""

    def read(self, address: int, size: int) -> bytes:
        if address + size <= self.size:  # nearly always, and this is what traps wait for
            return self._ram.bytes[address : address + size].tobytes()
        held = max(0, min(size, self.size - address))
        found = self._ram.bytes[address : address + held].tobytes() if held else b""
        return found + bytes((NOTHING,)) * (size - held)

    def entry(self, address: int, *, wide: bool) -> int:
        """The entry of a page table, of 4 or (`wide`) 8 bytes, at a multiple of its size."""
        if address >= self.size:
            return _NO_ENTRY if wide else _NO_ENTRY & 0xFFFFFFFF
        entry: int = self._ram.quads[address >> 3] if wide else self._ram.words[address >> 2]
        return entry

    def write(self, address: int, data: bytes) -> None:
        held = max(0, min(len(data), self.size - address))
        if not held:
            return
        self._ram.bytes[address : address + held] = data[:held]
        for frame in range(address >> PAGE_SHIFT, (address + held - 1 >> PAGE_SHIFT) + 1):
            self._ram.code_changed(frame)
        self.stored(address, held)

    def clear(self, address: int, size: int) -> None:
        """Fill with zeroes."""
        for at in range(address, address + size, PAGE_SIZE):
            self.write(at, bytes(min(PAGE_SIZE, address + size - at)))


def _nobody(address: int, size: int) -> None:
    """There is nobody who would want to know."""
