"""The traps of a vcpu, and the hardware its domain shares, as plain state to keep and put back.

Not part of it: the processor's registers, what lies in guest memory (vcpu_info, frames), counters, and what
is only remembered to save work (prepared entries, the direct gate).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.classes import dataclass
from paravane.traps.fpu import set_task_switched
from paravane.traps.table import NR_VECTORS

if TYPE_CHECKING:
    from paravane.abi.trap import CpuUserRegs
    from paravane.traps.callbacks import Callbacks
    from paravane.traps.debug import DebugRegisters
    from paravane.traps.peripherals import Peripherals
    from paravane.traps.state import TrapState
    from paravane.traps.table import Gate


@dataclass(frozen=True)
class TrapsSaved:
    """One vcpu: what the guest registered, its virtual registers, NMIs on their way, and the registers it is
    to start with if it has not run yet."""

    gates: tuple[Gate, ...]
    callbacks: Callbacks
    kernel_ss: int
    kernel_sp: int
    iopl: int
    io_bitmap: int
    io_bitmap_ports: int
    cr0_ts: bool
    cr2: int
    cr4: int
    tsc_aux: int
    debug: DebugRegisters
    msrs: dict[int, int]
    nmi_pending: bool
    nmi_active: bool
    entry: CpuUserRegs | None


@dataclass(frozen=True)
class PeripheralsSaved:
    """One domain: the latches of its ports, its interrupt numbers in use, the frame of the EOI bitmap."""

    pci_address: int
    cmos_index: int
    reserved: frozenset[int]
    eoi_map: int | None


def save(state: TrapState) -> TrapsSaved:
    """A copy that later changes of the vcpu do not reach."""
    return TrapsSaved(
        tuple(state.table[vector] for vector in range(NR_VECTORS)),
        state.callbacks.copy(),
        state.kernel_ss,
        state.kernel_sp,
        state.iopl,
        state.io_bitmap,
        state.io_bitmap_ports,
        state.cr0_ts,
        state.cr2,
        state.cr4,
        state.tsc_aux,
        state.debug.copy(),
        dict(state.msrs),
        state.nmi_pending,
        state.nmi_active,
        state.entry,
    )


def restore(state: TrapState, saved: TrapsSaved) -> None:
    """Become what was saved. CR0.TS and the debug registers go to the processor too."""
    for vector, gate in enumerate(saved.gates):
        state.table.set(vector, gate)
    state.callbacks.become(saved.callbacks)
    state.kernel_ss, state.kernel_sp = saved.kernel_ss, saved.kernel_sp
    state.iopl = saved.iopl
    state.io_bitmap, state.io_bitmap_ports = saved.io_bitmap, saved.io_bitmap_ports
    state.cr2, state.cr4, state.tsc_aux = saved.cr2, saved.cr4, saved.tsc_aux
    state.msrs = dict(saved.msrs)
    state.nmi_pending, state.nmi_active = saved.nmi_pending, saved.nmi_active
    state.entry = saved.entry
    set_task_switched(state, saved.cr0_ts)
    state.debug = saved.debug.copy()
    state.debug.load(state.cpu)


def save_peripherals(peripherals: Peripherals) -> PeripheralsSaved:
    """A copy that later changes of the domain do not reach."""
    ports, irqs = peripherals.ports, peripherals.irqs
    return PeripheralsSaved(ports.pci_address, ports.cmos_index, frozenset(irqs.reserved), irqs.eoi_map)


def restore_peripherals(peripherals: Peripherals, saved: PeripheralsSaved) -> None:
    """Become what was saved."""
    ports, irqs = peripherals.ports, peripherals.irqs
    ports.pci_address, ports.cmos_index = saved.pci_address, saved.cmos_index
    irqs.reserved, irqs.eoi_map = set(saved.reserved), saved.eoi_map
