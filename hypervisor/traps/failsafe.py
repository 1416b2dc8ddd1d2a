"""The failsafe callback: a data segment could not be loaded for the guest (Xen's load_segments).

The frame is that of an exception from the interrupted place with DS, ES, FS and GS below it:

    DS  ES  FS  GS  EIP  CS | saved_upcall_mask << 16  EFLAGS  [ESP  SS]

Xen writes it at linear addresses, without the base of the stack segment, and enters through its own flat code
and stack segments whatever selector was registered. The segments that failed are null.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from paravane.abi.arch import FlatSelector
from paravane.cpu import PageFault
from paravane.traps.bounce import CLEARED_ON_ENTRY, IF, Registers, current, frame_eflags
from paravane.traps.crash import GuestCrash
from paravane.traps.iret import go

if TYPE_CHECKING:
    from paravane.traps.state import TrapState

SEGMENTS = ("ds", "es", "fs", "gs")


def deliver(state: TrapState, selectors: tuple[int, int, int, int]) -> None:
    """Enter the failsafe callback; `selectors` are those of DS, ES, FS and GS that were to be loaded.

    Raises GuestCrash when its frame cannot be written.
    """
    at = current(state)
    cpu = state.cpu
    mask = state.upcall_mask
    words = [*selectors]
    words += (at.eip, at.cs | mask << 16, frame_eflags(state, at.eflags, mask))
    esp = at.esp
    if at.enters_on_kernel_stack:
        words += (at.esp, at.ss)
        esp = state.kernel_sp
    esp = esp - 4 * len(words) & 0xFFFFFFFF
    try:
        if esp + 4 * len(words) > 1 << 32:
            raise PageFault(esp, 2)
        cpu.write(esp, struct.pack(f"<{len(words)}I", *words))
    except PageFault as fault:
        raise GuestCrash(f"a failsafe frame at {esp:#010x} cannot be written: {fault}") from None
    callback = state.callbacks.failsafe
    if callback.masks_events:
        state.upcall_mask = 1
    eflags = at.eflags & ~CLEARED_ON_ENTRY | IF
    kernel_cs, kernel_ss = int(FlatSelector.KERNEL_CS), int(FlatSelector.KERNEL_SS)
    go(state, Registers.target(kernel_cs, callback.eip, eflags, kernel_ss, esp))
