"""The bounce: build an exception frame on the guest kernel's stack and enter its handler, as Xen 4.17 does.

The frame is the processor's, with two fields that are Xen's own (public/arch-x86/xen-x86_32.h): the upper
half of the CS word holds evtchn_upcall_mask as it was, and IF in EFLAGS is its complement. From low to high:

    [error code]  EIP  CS | saved_upcall_mask << 16  EFLAGS  [ESP  SS]

ESP and SS are there when the trap came from ring 2 or 3: then the frame is at the top of the stack that
stack_switch registered, otherwise below the interrupted ESP. A frame that cannot be written ends the domain.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from paravane.abi.arch import KERNEL_RING
from paravane.classes import NamedTuple
from paravane.cpu import PageFault, SegmentFault
from paravane.traps.crash import GuestCrash
from paravane.traps.segments import frame_base, reach
from paravane.traps.state import BOUNCED, KERNEL_SP, KERNEL_SS, UPCALL_MASK, trap_name
from paravane.x86 import PAGE_SIZE, VECTORS_WITH_ERROR_CODE, Eflags, Vector

if TYPE_CHECKING:
    from paravane.traps.state import TrapState

CLEARED_ON_ENTRY = int(Eflags.VM | Eflags.RF | Eflags.NT | Eflags.TF | Eflags.IOPL)
IF, IOPL, RF = int(Eflags.IF), int(Eflags.IOPL), int(Eflags.RF)

FAULTS = frozenset(
    (Vector.DE, Vector.BR, Vector.UD, Vector.NM, Vector.TS, Vector.NP, Vector.SS, Vector.GP, Vector.PF)
    + (Vector.MF, Vector.AC, Vector.XM)
)
"""Exceptions that report the instruction they stopped: the processor sets RF in the EFLAGS it saves."""

_NO_HANDLER = "the guest registered none, or one with a null selector"

MAX_NESTING = 16
"""Deliveries that may fail in a row. Each one pushes a frame, so Xen runs out of guest stack instead."""

_IF_IOPL = IF | IOPL
_IN_PAGE = PAGE_SIZE - 1
_FRAMES = {words: struct.Struct(f"<{words}I") for words in (3, 4, 5, 6)}


class Registers(NamedTuple):
    """The registers that an exception frame holds, and the ring they are of.

    The ring is told apart from the low bits of CS: every decision about a stack goes by `cpl`, which no guest
    can choose, and CS is only what the frame shows.
    """

    cs: int
    eip: int
    eflags: int
    ss: int
    esp: int
    cpl: int

    @property
    def enters_on_kernel_stack(self) -> bool:
        """A trap from here is a change of stack: to the one that stack_switch registered."""
        return self.cpl > KERNEL_RING

    @classmethod
    def target(cls, cs: int, eip: int, eflags: int, ss: int, esp: int) -> Registers:
        """Where an IRET is to lead. The RPL of CS is the ring it asks for; both segments have to agree."""
        return cls(cs, eip, eflags, ss, esp, cs & 3)


def current(state: TrapState) -> Registers:
    """What the processor would save now."""
    cpu = state.cpu
    cs, eip, ss, esp, cpl = cpu.interrupted()
    return Registers(cs, eip, cpu.eflags, ss, esp, cpl)


def frame_eflags(state: TrapState, eflags: int, mask: int) -> int:
    """EFLAGS as the guest is to see them: IF from the upcall mask, the virtual IOPL if it asked."""
    shown = eflags & ~(IF | IOPL) | (0 if mask else IF)
    return shown | state.iopl << 12 if state.host.architectural_iopl else shown


def stack_for(state: TrapState, at: Registers) -> tuple[int, int]:
    """SS and ESP below which the frame goes."""
    if not at.enters_on_kernel_stack:
        return at.ss, at.esp
    return state.cell[KERNEL_SS], state.cell[KERNEL_SP]


def _checked_base(state: TrapState, at: Registers, ss: int) -> int:
    try:
        return frame_base(state, ss)
    except SegmentFault as fault:
        whose = "registered with stack_switch" if at.enters_on_kernel_stack else "in use"
        raise GuestCrash(
            f"no exception frame can be built: the stack segment {ss:#06x} {whose} is unusable ({fault})"
        ) from None


def push_frame(
    state: TrapState, at: Registers, stack: tuple[int, int], *, masks_events: bool, error_code: int | None
) -> int:
    """Save `at` on the stack at (base, ESP); the new ESP. Masks upcalls if asked. Raises GuestCrash."""
    base, esp = stack
    info = state.info.maddr + UPCALL_MASK
    view = state.bytes
    # Xen saves a whole word from the mask on: the padding byte after it shows too.
    mask, padding = view[info], view[info + 1]
    words = [at.eip, at.cs | mask << 16 | padding << 24, frame_eflags(state, at.eflags, mask)]
    if error_code is not None:
        words.insert(0, error_code)
    if at.enters_on_kernel_stack:
        words += (at.esp, at.ss)
    size = 4 * len(words)
    esp = esp - size & 0xFFFFFFFF
    _store(state, base + esp, _FRAMES[len(words)].pack(*words))
    if masks_events:
        view[info] = mask | 1
    return esp


def _store(state: TrapState, linear: int, data: bytes) -> None:
    if linear + len(data) > 1 << 32:
        raise GuestCrash(f"an exception frame at {linear:#010x} does not fit below 4 GiB")
    try:
        state.cpu.write(linear, data)
    except PageFault as fault:
        raise GuestCrash(
            f"an exception frame of {len(data)} bytes at {linear:#010x} cannot be written: {fault}"
        ) from fault


def bounce(
    state: TrapState,
    cs: int,
    eip: int,
    *,
    masks_events: bool,
    error_code: int | None = None,
    rf: bool = False,
) -> None:
    """Save the processor's registers in a frame and go to `cs:eip` in the guest kernel.

    When the processor refuses the new CS or SS, that refusal is itself an exception of the guest, reported at
    the place it never reached. Raises GuestCrash for a frame that cannot be written and for a missing
    handler.
    """
    cpu = state.cpu
    old_cs, old_eip, old_ss, old_esp, cpl = cpu.interrupted()
    at = (old_cs, old_eip, cpu.eflags | RF if rf else cpu.eflags, old_ss, old_esp, cpl)
    if not cs & ~3 or not _bounce_prepared(state, at, cs, eip, masks_events, error_code):
        bounce_at(state, Registers(*at), cs, eip, masks_events=masks_events, error_code=error_code)


def _bounce_prepared(
    state: TrapState, at: tuple[int, ...], cs: int, eip: int, masks_events: bool, error_code: int | None
) -> bool:
    """As `bounce_at` where the way into the handler has been worked out before and the frame lies in one page
    that can be written: what nearly every trap is. False: anything else, and nothing was done."""
    old_cs, old_eip, eflags, old_ss, old_esp, cpl = at
    outer = cpl > KERNEL_RING
    ss, esp = (state.cell[KERNEL_SS], state.cell[KERNEL_SP]) if outer else (old_ss, old_esp)
    entry = state.entries.find(cs, ss)
    if entry is None or eip > entry.code_limit:
        return False
    view, info = state.bytes, state.info.maddr + UPCALL_MASK
    mask, padding = view[info], view[info + 1]
    shown = eflags & ~_IF_IOPL if mask else eflags & ~IOPL | IF
    if state.host.architectural_iopl:
        shown |= state.iopl << 12
    words: tuple[int, ...] = (old_eip, old_cs | mask << 16 | padding << 24, shown)
    if error_code is not None:
        words = (error_code, *words)
    if outer:
        words = (*words, old_esp, old_ss)
    frame = _FRAMES[len(words)].pack(*words)
    esp = esp - len(frame) & 0xFFFFFFFF
    linear = entry.stack_base + esp
    if linear >> 32 or (linear & _IN_PAGE) + len(frame) > PAGE_SIZE:
        return False
    try:
        state.cpu.write(linear, frame)
    except PageFault:
        return False
    if masks_events:
        view[info] = mask | 1
    entry.enter(eip, eflags & ~CLEARED_ON_ENTRY | IF, esp)
    return True


def bounce_at(
    state: TrapState,
    at: Registers,
    cs: int,
    eip: int,
    *,
    masks_events: bool,
    error_code: int | None,
    name: str = "a trap",
) -> None:
    """As `bounce`, with registers that the processor does not hold, or not yet, as the interrupted ones.

    `name` is what is said to have no handler if `cs` is a null selector.
    """
    for _ in range(MAX_NESTING):
        if not cs & ~3:
            raise GuestCrash(f"{name} has no handler: {_NO_HANDLER}")
        if _bounce_prepared(state, at, cs, eip, masks_events, error_code):
            return
        ss, esp = stack_for(state, at)
        eflags = at.eflags & ~CLEARED_ON_ENTRY | IF
        base = _checked_base(state, at, ss)
        esp = push_frame(state, at, (base, esp), masks_events=masks_events, error_code=error_code)
        reach(state, cs)
        try:
            state.cpu.enter(cs=cs, eip=eip, eflags=eflags, cpl=cs & 3, ss=ss, esp=esp)
        except SegmentFault as fault:
            at = Registers.target(cs, eip, eflags, ss, esp)
            gate = state.table[fault.vector]
            cs, eip, masks_events, error_code = gate.cs, gate.eip, gate.masks_events, fault.error_code
            name = trap_name(fault.vector)
        else:
            return
    raise GuestCrash("entering its exception handlers raises exceptions without end")


def bounce_refusal(state: TrapState, to: Registers, fault: SegmentFault) -> None:
    """The processor refused to go to `to`: an exception of the guest at the place it never reached."""
    gate = state.table[fault.vector]
    bounce_at(
        state,
        to,
        gate.cs,
        gate.eip,
        masks_events=gate.masks_events,
        error_code=fault.error_code,
        name=trap_name(fault.vector),
    )


def deliver(
    state: TrapState, vector: int, error_code: int | None = None, *, software: bool = False, why: str = ""
) -> None:
    """Give the guest exception `vector`, or with `software` the `int n` it executed, through its trap table.

    `why` says what led to it, for a domain that ends because it has no handler. Raises GuestCrash.
    """
    gate = state.table[vector]
    state.counters.cell[BOUNCED] += 1
    if state.observer is not None:
        state.note(vector, error_code, "bounced", (gate.cs, gate.eip))
    if not gate.usable:
        state.host.guest_note(f"unhandled trap {vector} with error code {error_code or 0:#06x}")
        name = f"int {vector:#04x}" if software else trap_name(vector)
        raise GuestCrash(f"{why}{name} has no handler: {_NO_HANDLER}")
    # A refused `int n` is a #GP that Xen turns into the interrupt, so RF is saved as for a fault.
    rf = software or vector in FAULTS
    bounce(state, gate.cs, gate.eip, masks_events=gate.masks_events, error_code=error_code, rf=rf)


def raise_exception(state: TrapState, vector: int, error_code: int | None, cr2: int | None = None) -> None:
    """As `deliver`, for an exception found by the hypervisor: fills CR2 and the user bit of #PF."""
    if vector == Vector.PF:
        assert error_code is not None
        deliver_page_fault(state, error_code, state.cr2 if cr2 is None else cr2)
        return
    deliver(state, vector, (error_code or 0) if vector in VECTORS_WITH_ERROR_CODE else None)


def deliver_page_fault(state: TrapState, error_code: int, address: int) -> None:
    """#PF at linear `address`. The user bit says whether the guest's kernel ran, not which ring paging
    saw."""
    state.show_cr2(address)
    deliver(state, Vector.PF, error_code & ~4 | (0 if state.in_kernel() else 4))
