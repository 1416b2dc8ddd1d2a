"""The guest's trap table: what set_trap_table registered for each vector (public/arch-x86/xen.h)."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from paravane.abi.arch import KERNEL_RING
from paravane.abi.trap import TI_DPL_MASK, TI_IF
from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from paravane.abi.trap import TrapInfo

NR_VECTORS = 256


class Gate(NamedTuple):
    """One entry. `dpl` is the least privileged ring that may raise it with `int n`; `masks_events` is
    TI_IF."""

    cs: int
    eip: int
    dpl: int
    masks_events: bool

    @property
    def usable(self) -> bool:
        """Whether there is something to call: like Xen, the selector decides, not the address."""
        return self.cs & ~3 != 0


EMPTY = Gate(0, 0, 0, False)

GATE_CS_SHIFT: Final = 32
GATE_DPL_SHIFT: Final = 48
GATE_MASKS_SHIFT: Final = 50


def packed(cs: int, eip: int, *, dpl: int = 0, masks_events: bool = False) -> int:
    """A gate as one number, for native code: EIP in the low half, the rest at `GATE_*_SHIFT`."""
    return eip | cs << GATE_CS_SHIFT | dpl << GATE_DPL_SHIFT | masks_events << GATE_MASKS_SHIFT


def fix_selector(selector: int) -> int:
    """The selector a guest gave for a handler or a stack, raised to its kernel's ring.

    RPL 0 is the hypervisor's; a guest that asks for it means its own kernel, which it believes to run there.
    Rings 1 to 3 stay as they are.
    """
    selector &= 0xFFFF
    return selector if selector & 3 else selector | KERNEL_RING


class TrapTable:
    """The 256 gates of one vcpu. They hold no descriptor: selectors are looked up when a trap is
    delivered."""

    def __init__(self) -> None:
        self._gates = [EMPTY] * NR_VECTORS
        self.cell = array("Q", bytes(8 * NR_VECTORS))
        """The same gates, each `packed`."""

    def __getitem__(self, vector: int) -> Gate:
        return self._gates[vector]

    def install(self, info: TrapInfo) -> None:
        """Register one entry, its code selector raised to ring 1 at least."""
        gate = Gate(fix_selector(info.cs), info.address, info.flags & TI_DPL_MASK, bool(info.flags & TI_IF))
        self.set(info.vector, gate)

    def set(self, vector: int, gate: Gate) -> None:
        self._gates[vector] = gate
        self.cell[vector] = packed(gate.cs, gate.eip, dpl=gate.dpl, masks_events=gate.masks_events)

    def reset(self, vector: int) -> None:
        """Forget one entry."""
        self.set(vector, EMPTY)

    def clear(self) -> None:
        """Forget every entry: set_trap_table with a null pointer."""
        self._gates[:] = [EMPTY] * NR_VECTORS
        self.cell[:] = array("Q", bytes(8 * NR_VECTORS))  # in place: native code has its address
