"""The FPU: what a vcpu starts with, and CR0.TS, by which a kernel learns that an application wants it.

Layout of an FXSAVE image: SDM volume 1, 10.5.1.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from paravane.x86 import FXSAVE_SIZE

if TYPE_CHECKING:
    from paravane.traps.state import TrapState

INITIAL_CONTROL_WORD: Final = 0x37F
INITIAL_MXCSR: Final = 0x1F80
"""Everything masked, results rounded to nearest, x87 results to 64 bits."""

_INITIAL: Final = struct.pack("<H22xI", INITIAL_CONTROL_WORD, INITIAL_MXCSR).ljust(FXSAVE_SIZE, b"\0")


def reset_fpu(state: TrapState) -> None:
    """The state of a new vcpu: nothing on the register stack, every exception masked."""
    state.cpu.fpu_load(_INITIAL)


def load_fpu(state: TrapState, image: bytes) -> None:
    """Start from an FXSAVE image of the guest's. For one that FXRSTOR refuses Xen takes zeroes."""
    try:
        state.cpu.fpu_load(image)
    except ValueError:
        state.cpu.fpu_load(bytes(FXSAVE_SIZE))


def set_task_switched(state: TrapState, on: bool) -> None:
    """Set or clear TS for the guest. One processor per vcpu: the FPU's registers are always its own."""
    if state.cr0_ts == on:
        return
    state.cr0_ts = on
    state.cpu.set_task_switched(on)
