"""SYSENTER by a 32-bit guest on an Intel processor (Xen's sysenter_entry and compat_sysenter).

The instruction saves nothing, so neither does the frame: CS 3, EIP 0 and ESP 0, SS the flat one of
applications, always on the registered kernel stack. Without a sysenter callback it is #GP(0) from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.arch import APPLICATION_RING, FlatSelector
from paravane.traps.bounce import Registers, bounce_at
from paravane.x86 import Eflags, Vector

if TYPE_CHECKING:
    from paravane.traps.state import TrapState


def enter(state: TrapState) -> None:
    """Enter the sysenter callback, or the guest's #GP handler if there is none."""
    cpu = state.cpu
    at = Registers(3, 0, cpu.eflags | Eflags.IF, int(FlatSelector.USER_SS), 0, APPLICATION_RING)
    callback = state.callbacks.sysenter
    if callback.eip and callback.usable:
        state.note(Vector.GP, None, "sysenter callback")
        bounce_at(state, at, callback.cs, callback.eip, masks_events=callback.masks_events, error_code=None)
        return
    gate = state.table[Vector.GP]
    state.note(Vector.GP, 0, "sysenter without a callback")
    bounce_at(state, at, gate.cs, gate.eip, masks_events=gate.masks_events, error_code=0)
