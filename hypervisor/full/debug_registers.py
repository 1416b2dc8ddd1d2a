"""DR0 to DR3 where the monitor accesses memory and ports in the guest's place: the engine, which sees to them
elsewhere, knows nothing of such an access (SDM volume 3B, 17.2).

What an instruction reads and writes counts, descriptors in the tables that it names too, but not the frame
that an interrupt or exception pushes, nor what is read of the IDT, the TSS and the GDT to deliver it: QEMU
aborts there, and a processor's own #DB would push one more frame on the stack that is watched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.cpu.watchpoints import armed
from paravane.x86 import Cr4, Dr6, Dr7, Dr7Type

if TYPE_CHECKING:
    from paravane.cpu import Cpu
    from paravane.cpu.watchpoints import Watch
    from paravane.full.linear_memory import LinearMemory
    from paravane.full.state import PrivilegedState

_HITS: Final = int(Dr6.B0 | Dr6.B1 | Dr6.B2 | Dr6.B3)
_DE: Final = int(Cr4.DE)


class _PortBreakpoint(NamedTuple):
    bit: int
    first: int
    size: int


class DebugRegisters:
    """Those of one processor. `watching` says that some breakpoint on data or ports is enabled."""

    def __init__(self, cpu: Cpu, state: PrivilegedState, memory: LinearMemory) -> None:
        self._cpu, self._state, self._memory = cpu, state, memory
        self._data: list[Watch] = []
        self._ports: list[_PortBreakpoint] = []
        self._hits = 0
        self.watching = False

    def write(self, index: int, value: int) -> None:
        """Load register `index` (0 to 3, 6, 7)."""
        self._cpu.set_dr(index, value)
        self.changed()

    def changed(self) -> None:
        """They have changed, or CR4.DE has."""
        cpu = self._cpu
        addresses, dr7 = [cpu.get_dr(index) for index in range(4)], cpu.get_dr(7)
        self._data = armed(addresses, dr7)
        self._ports = _port_breakpoints(addresses, dr7) if self._state.cr4 & _DE else []
        self.watching = bool(self._data or self._ports)
        self._memory.accessed = self._accessed if self._data else None

    def begin(self) -> None:
        """An instruction begins to be done: nothing is hit yet."""
        self._hits = 0

    def take(self) -> bool:
        """The instruction, or an element of a repeated one, is done: whether #DB follows. DR6 says why."""
        if not self._hits:
            return False
        self._cpu.set_dr(6, self._cpu.get_dr(6) & ~_HITS | self._hits)
        self._hits = 0
        return True

    def port_accessed(self, port: int, size: int) -> None:
        """`size` ports from `port` on are used."""
        for one in self._ports:
            if port < one.first + one.size and one.first < port + size:
                self._hits |= one.bit

    def _accessed(self, va: int, size: int, write: bool) -> None:
        for one in self._data:
            if va < one.start + one.size and one.start < va + size and (write or one.reads):
                self._hits |= one.bit


def _port_breakpoints(addresses: list[int], dr7: int) -> list[_PortBreakpoint]:
    found = []
    for index, address in enumerate(addresses):
        field = dr7 >> 16 + 4 * index
        if dr7 & Dr7.ENABLED and dr7 >> 2 * index & 3 and field & 3 == Dr7Type.IO:
            size = (field >> 2 & 3) + 1
            found.append(_PortBreakpoint(1 << index, address & 0xFFFF & ~(size - 1), size))
    return found
