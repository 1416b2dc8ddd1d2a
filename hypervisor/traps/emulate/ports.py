"""I/O ports of a domain without devices: which answer, and what (Xen's guest_io_read and guest_io_write).

No port is backed by hardware. What a kernel probes at boot answers so that the probe ends at once: the
timer's channel 2 stands still at 0, PCI configuration space has its address register and nothing behind it,
the CMOS its index register. Every other port reads as ones and swallows writes.
"""

from __future__ import annotations

from array import array
from typing import Final

PIT_CHANNEL_2 = 0x42
CMOS_INDEX = 0x70
PCI_ADDRESS = 0xCF8
FLOATING = 0xFF
"""What a byte of a port nobody drives reads as."""

PCI_LATCH: Final = 0
CMOS_LATCH: Final = 1


class PortSpace:
    """The two latches a domain can write: PCI configuration address and CMOS index."""

    __slots__ = ("cell",)

    def __init__(self) -> None:
        self.cell = array("q", (0, 0))
        """The latches, `PCI_LATCH` and `CMOS_LATCH`, where native code reads and writes them too."""

    @property
    def pci_address(self) -> int:
        return self.cell[PCI_LATCH]

    @pci_address.setter
    def pci_address(self, value: int) -> None:
        self.cell[PCI_LATCH] = value

    @property
    def cmos_index(self) -> int:
        return self.cell[CMOS_LATCH]

    @cmos_index.setter
    def cmos_index(self, value: int) -> None:
        self.cell[CMOS_LATCH] = value

    def read(self, port: int, size: int) -> int:
        """`size` (1, 2 or 4) bytes from `port`, little endian."""
        if port == PCI_ADDRESS and size == 4:
            return self.pci_address
        value = 0
        for at in range(size):
            value |= self._read_byte(port + at) << 8 * at
        return value

    def write(self, port: int, size: int, value: int) -> None:
        """`size` (1, 2 or 4) bytes to `port`."""
        if port == PCI_ADDRESS and size == 4:
            self.pci_address = value
            return
        for at in range(size):
            if port + at == CMOS_INDEX:
                self.cmos_index = value >> 8 * at & 0xFF

    def _read_byte(self, port: int) -> int:
        if port == PIT_CHANNEL_2:
            return 0
        if port == CMOS_INDEX:
            return self.cmos_index
        return FLOATING
