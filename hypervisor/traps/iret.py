"""HYPERVISOR_iret for a 32-bit guest, and the return from NMIs (Xen's compat_iret).

The frame at ESP is EAX, EIP, CS, EFLAGS and, for a return to ring 2 or 3, ESP and SS. Xen reads it at linear
ESP whatever SS is. IF in EFLAGS becomes the complement of the upcall mask.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from paravane.cpu import PageFault, SegmentFault
from paravane.traps.bounce import Registers, bounce_refusal, current
from paravane.traps.crash import GuestCrash
from paravane.traps.segments import FLAT_SELECTORS, reach
from paravane.x86 import PAGE_SIZE, Eflags, Vector

if TYPE_CHECKING:
    from paravane.traps.state import TrapState

_IF, _VM = int(Eflags.IF), int(Eflags.VM)
_KEPT = ~int(Eflags.IOPL | Eflags.VM) & 0xFFFFFFFF
_LAST_WITHIN_PAGE = PAGE_SIZE - 24
"""Offset of the last frame with ESP and SS that lies in one page."""

VM86_WORDS = 9
"""Words of a virtual-8086 frame: EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS."""


def iret(state: TrapState) -> None:
    """Return as the frame at ESP says. Raises GuestCrash for a frame that cannot be read or asks for ring
    0."""
    cpu = state.cpu
    esp = cpu.esp
    # A return to an application has six words. Within a page they can be read before it is known to be one.
    frame = _words(state, esp, 0, 6 if esp & (PAGE_SIZE - 1) <= _LAST_WITHIN_PAGE else 4)
    eax, eip, cs, eflags = frame[:4]
    cs &= 0xFFFF
    if state.host.architectural_iopl:
        state.iopl = eflags >> 12 & 3
    target = eflags & _KEPT | _IF
    if eflags & _VM:
        _refuse_virtual_8086(state, eax, esp, eflags)
        return
    if cs & 3 == 0:
        raise GuestCrash(f"its iret hypercall asked for ring 0: CS is {cs:#06x}")
    if cs & 3 == 1:
        ss, new_esp = cpu.ss, esp + 16 & 0xFFFFFFFF
    else:
        new_esp, ss = frame[4:] or _words(state, esp, 4, 2)
        ss &= 0xFFFF
    cpu.eax = eax
    state.upcall_mask = 0 if eflags & _IF else 1
    if state.nmi_active:
        state.nmi_active = False
    entry = state.entries.find(cs, ss)
    if entry is not None and eip <= entry.code_limit:  # as `go` does, for the return that nearly every one is
        entry.enter(eip, target, new_esp)
    else:
        go(state, Registers.target(cs, eip, target, ss, new_esp))


def go(state: TrapState, to: Registers) -> None:
    """Return to the guest with these registers; what the processor refuses is an exception there."""
    entry = state.entries.find(to.cs, to.ss)
    if entry is not None and to.eip <= entry.code_limit:
        entry.enter(to.eip, to.eflags, to.esp)
        return
    reach(state, to.cs)
    reach(state, to.ss)
    try:
        state.cpu.enter(cs=to.cs, eip=to.eip, eflags=to.eflags, cpl=to.cpl, ss=to.ss, esp=to.esp)
    except SegmentFault as fault:
        bounce_refusal(state, to, fault)


def reload(state: TrapState) -> None:
    """Load CS and SS of the place where the guest goes on, as the return from the hypervisor does.

    The flat segments need no look: their descriptors are the hypervisor's and never change.
    """
    at = current(state)
    if at.cs not in FLAT_SELECTORS or at.ss not in FLAT_SELECTORS:
        go(state, at)


def _words(state: TrapState, esp: int, first: int, count: int) -> tuple[int, ...]:
    """`count` words of the frame from word `first` on. GuestCrash when they cannot be read."""
    address = esp + 4 * first
    try:
        if address + 4 * count > 1 << 32:
            raise PageFault(address & 0xFFFFFFFF, 0)
        return struct.unpack(f"<{count}I", state.cpu.read(address, 4 * count))
    except PageFault as fault:
        raise GuestCrash(f"the frame of its iret hypercall at {esp:#010x} cannot be read: {fault}") from None


def _refuse_virtual_8086(state: TrapState, eax: int, esp: int, eflags: int) -> None:
    """A return to virtual-8086 mode, which does not exist: #GP(0) at its first instruction.

    The frame stays as it is, moved to the top of the registered kernel stack, with an error code of 0 below
    it.
    """
    cpu = state.cpu
    frame = _words(state, esp, 1, VM86_WORDS)
    moved = state.kernel_sp - 4 * (VM86_WORDS + 1) & 0xFFFFFFFF
    state.host.guest_note(
        f"refused to return to virtual-8086 mode, frame at {esp:#010x} moved to {moved:#010x}"
    )
    data = b"".join(word.to_bytes(4, "little") for word in (0, *frame))
    try:
        if moved + len(data) > 1 << 32:
            raise PageFault(moved, 2)
        cpu.write(moved, data)
    except PageFault as fault:
        raise GuestCrash(f"a virtual-8086 frame at {moved:#010x} cannot be written: {fault}") from None
    gate = state.table[Vector.GP]
    if gate.masks_events:
        eflags &= ~Eflags.IF
    cleared = Eflags.IOPL | Eflags.VM | Eflags.RF | Eflags.NT | Eflags.TF
    cpu.eax = eax
    state.upcall_mask = 0 if eflags & Eflags.IF else 1
    state.nmi_active = False
    go(
        state,
        Registers.target(
            gate.cs, gate.eip, eflags & ~cleared & 0xFFFFFFFF | Eflags.IF, state.kernel_ss, moved
        ),
    )
