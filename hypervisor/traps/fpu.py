"""CR0.TS: how a kernel learns that an application wants the FPU (fpu_taskswitch, CLTS, #NM)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.x86 import Cr0

if TYPE_CHECKING:
    from paravane.traps.state import TrapState


def set_task_switched(state: TrapState, on: bool) -> None:
    """Set or clear TS for the guest. One processor per vcpu: the FPU's registers are always its own."""
    if state.cr0_ts == on:
        return
    state.cr0_ts = on
    cpu = state.cpu
    cpu.cr0 = cpu.cr0 | Cr0.TS if on else cpu.cr0 & ~Cr0.TS
