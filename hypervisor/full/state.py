"""What a processor of a bare PC has that its guest's instructions do not reach here: the ring 0 part of its
state."""

from __future__ import annotations

from enum import Enum
from typing import Final

from paravane.classes import dataclass
from paravane.cpu.segments import Descriptor, Table
from paravane.x86 import Cr0, Cr4

KERNEL: Final = 0
USER: Final = 3

RESET_CR0: Final = int(Cr0.PE | Cr0.ET)
"""CR0 as a multiboot loader leaves it: protected mode, no paging."""

KNOWN_CR0: Final = int(
    Cr0.PE | Cr0.MP | Cr0.EM | Cr0.TS | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM | Cr0.NW | Cr0.CD | Cr0.PG
)
KNOWN_CR4: Final = int(
    Cr4.TSD | Cr4.DE | Cr4.PSE | Cr4.PAE | Cr4.MCE | Cr4.PGE | Cr4.PCE | Cr4.OSFXSR | Cr4.OSXMMEXCPT
)
"""Bits that may be set: others of CR0 stay 0, to set another one of CR4 is #GP(0)."""

BIG_TASK: Final = 1 << 11
"""Of the flags of a task-state segment: it is one of 32 bits."""

_PG: Final = int(Cr0.PG)
_EMPTY_TABLE: Final = Table(0, 0xFFFF)
_NO_SEGMENT: Final = Descriptor(0, 0, 0, 0)


class Sensitive(Enum):
    """What is done about instructions that do not trap in ring 1, and should (`paravane.full.sensitive`).

    `IGNORE`: nothing, as on hardware, where the guest goes wrong. `REWRITE`: they are found before they run,
    and trap. `STATE`: what an emulator may cheat, its processor holding the guest's selectors and interrupt
    flag.
    """

    IGNORE = "ignore"
    REWRITE = "rewrite"
    STATE = "state"


@dataclass(slots=True)
class PrivilegedState:
    """Ring 0's registers, but for the debug registers, which the engine has. `cpl` is the guest's own level,
    0 or 3, which run in rings 1 and 3; `iopl` is what its EFLAGS say, `interrupts` whether IF is set there,
    where the engine's is not its own. A table's limit is in bytes, less one."""

    cpl: int = KERNEL
    iopl: int = 0
    interrupts: bool = False
    cr0: int = RESET_CR0
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    gdt: Table = _EMPTY_TABLE
    idt: Table = _EMPTY_TABLE
    ldt: Descriptor = _NO_SEGMENT
    task: Descriptor = _NO_SEGMENT

    @property
    def ldt_table(self) -> Table:
        """The LDT as a table."""
        return Table(self.ldt.base, self.ldt.limit if self.ldt.flags else None)

    @property
    def paging(self) -> bool:
        return self.cr0 & _PG != 0
