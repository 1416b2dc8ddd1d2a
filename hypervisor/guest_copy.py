"""A guest's linear memory as hypercalls copy from and to it (Xen's copy_from_guest, copy_to_guest)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.cpu import PageFault
from paravane.x86 import PAGE_SIZE, PageFaultCode

if TYPE_CHECKING:
    from struct import Struct

    from paravane.cpu import Cpu


class GuestCopy:
    """Copies through the page tables a processor is on, with the rights of the guest's kernel.

    `hole` is the linear address from which on all is the hypervisor's. Those addresses are refused whatever
    is mapped there, as Xen's access_ok has it.
    """

    def __init__(self, cpu: Cpu, hole: int) -> None:
        self.cpu = cpu
        self.hole = hole

    def copy_from_guest(self, va: int, size: int) -> bytes:
        """`size` bytes at linear address `va`. Raises PageFault where the kernel could not read itself."""
        if va + size > self.hole and size:
            raise PageFault(va, 0)
        return self.cpu.read(va, size)

    def words_from_guest(self, layout: Struct, va: int) -> tuple[int, ...]:
        """As `copy_from_guest` for one small struct of numbers: read where it is, if it lies in one page."""
        cpu, size = self.cpu, layout.size
        if va + size <= self.hole and (va & PAGE_SIZE - 1) + size <= PAGE_SIZE:
            return layout.unpack_from(cpu.ram.bytes, cpu.translate(va))
        return layout.unpack(self.copy_from_guest(va, size))

    def copy_to_guest(self, va: int, data: bytes) -> None:
        """Store `data` at linear address `va`. Raises PageFault where the kernel could not write itself."""
        if va + len(data) > self.hole and data:
            raise PageFault(va, PageFaultCode.write_access)
        self.cpu.write(va, data)
