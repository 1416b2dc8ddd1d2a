"""The fast system call: `int 0x80` straight into the guest kernel, without the bounce path.

Xen gives vector 0x80 a gate of its own that every ring may use, so that the commonest way into a kernel needs
no #GP. It is open when the guest registered a handler with a usable selector; whatever DPL the guest gave it
is not looked at. The frame is the same as a bounce makes, except that RF is not set: nothing faulted.

Here that gate is worked out when the trap table or the kernel stack changes: descriptors checked, frame
layout and store address known. Taking it is one store of five words and the new EIP, ESP, CS and SS. Where
something does not fit the plan (a descriptor has changed, the stack's page is not there or crossed, the
handler lies outside its segment, the caller is not ring 3), the bounce path does the same work slowly.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from paravane.abi.arch import APPLICATION_RING
from paravane.cpu import PageFault
from paravane.traps.state import DIRECT, KERNEL_SP, KERNEL_SS, UPCALL_MASK
from paravane.x86 import Eflags

if TYPE_CHECKING:
    from paravane.cpu.entry import PreparedEntry
    from paravane.traps.state import TrapState

SYSCALL_VECTOR: Final = 0x80
_FRAME = struct.Struct("<5I")
_FRAME_SIZE: Final = 20
_IF, _IF_IOPL = int(Eflags.IF), int(Eflags.IF | Eflags.IOPL)
KEPT: Final = ~int(Eflags.VM | Eflags.RF | Eflags.NT | Eflags.TF | Eflags.IOPL) & 0xFFFFFFFF
"""What the handler finds of EFLAGS as they were."""


class DirectGate:
    """The gate of one vcpu. `refresh` after every change of the trap table; another kernel stack is noticed,
    for native code may have switched to it."""

    def __init__(self, state: TrapState) -> None:
        self._state = state
        self._entry: PreparedEntry | None = None
        self._stale = True
        self._eip = 0
        self._masks = False
        self._frame = 0
        self._esp = 0
        self._stack = (0, 0)

    def refresh(self) -> None:
        """Forget the plan: it is made again when it is next needed."""
        self._stale = True
        self._entry = None

    @property
    def open(self) -> bool:
        """Whether int 0x80 goes to the guest's handler at all; if not, it is an ordinary refused `int n`."""
        return self._state.table[SYSCALL_VECTOR].usable

    def enter(self) -> bool:
        """Take the gate from ring 3. False when it has to be taken the slow way; nothing has changed then."""
        cell = self._state.cell
        if self._stale or self._stack != (cell[KERNEL_SS], cell[KERNEL_SP]):
            self._plan()
        entry = self._entry
        if entry is None:
            return False
        if not entry.valid():
            self.refresh()
            return False
        state = self._state
        cpu = state.cpu
        cs, eip, ss, esp, cpl = cpu.interrupted()
        if cpl != APPLICATION_RING:
            return False
        try:
            maddr = cpu.translate(self._frame, write=True)
        except PageFault:
            return False
        view = state.bytes
        info = state.info.maddr + UPCALL_MASK
        mask = view[info]
        eflags = cpu.eflags
        shown = eflags & ~_IF_IOPL | (0 if mask else _IF)
        if state.host.architectural_iopl:
            shown |= state.iopl << 12
        marks = mask << 16 | view[info + 1] << 24
        _FRAME.pack_into(view, maddr, eip, cs | marks, shown, esp, ss)
        cpu.ram.code_changed(maddr >> 12)
        if self._masks:
            view[info] = mask | 1
        entry.enter(self._eip, eflags & KEPT | _IF, self._esp)
        state.counters.cell[DIRECT] += 1
        return True

    def _plan(self) -> None:
        """Work the gate out. If descriptors are in the way it is tried again next time: they may change."""
        state = self._state
        gate = state.table[SYSCALL_VECTOR]
        self._stale = False
        self._entry = None
        if not gate.usable:
            return
        self._stack = state.kernel_ss, state.kernel_sp
        entry = state.entries.find(gate.cs, state.kernel_ss)
        if entry is None:
            self._stale = True
            return
        self._esp = state.kernel_sp - _FRAME_SIZE & 0xFFFFFFFF
        self._frame = entry.stack_base + self._esp
        one_page = (self._frame & 0xFFF) + _FRAME_SIZE <= 0x1000
        if self._frame + _FRAME_SIZE > 1 << 32 or not one_page or gate.eip > entry.code_limit:
            return
        self._eip = gate.eip
        self._masks = gate.masks_events
        self._entry = entry
