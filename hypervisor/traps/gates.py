"""Call gates, emulated as in Xen's pv/emul-gate-op.c: a far transfer through one raises #GP(gate selector).

A guest may put call gates into its descriptor tables, but the processor never takes one: descriptor checks
set their DPL to 0 and keep the DPL the guest asked for in the RPL of the gate's target selector. The fault
names the gate; what is done here leads to rings of the guest only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.arch import HYPERVISOR_VIRT_START_NONPAE, HYPERVISOR_VIRT_START_PAE, KERNEL_RING
from paravane.classes import NamedTuple
from paravane.cpu import PageFault, SegmentFault
from paravane.cpu.entry import raw_descriptor
from paravane.traps.bounce import Registers
from paravane.traps.emulate.fault import Fault, NotEmulated
from paravane.traps.far import decode_far
from paravane.traps.segments import reach, read_segment
from paravane.x86 import PageFaultCode, Vector

if TYPE_CHECKING:
    from paravane.cpu.segments import Descriptor
    from paravane.traps.state import TrapState

_SYSTEM_TYPE: Final = 0x1F00
_CALL_GATE_32, _CALL_GATE_16 = 0x0C00, 0x0400
_MASK: Final = 0xFFFFFFFF


class CallGate(NamedTuple):
    """Target selector without RPL, target offset, the DPL the guest asked for, words to copy, present."""

    selector: int
    offset: int
    dpl: int
    parameters: int
    is_32bit: bool
    present: bool


def unpack_gate(raw: int) -> CallGate | None:
    """A call gate as descriptor checks leave it (DPL 0), None for any other descriptor."""
    low, high = raw & _MASK, raw >> 32
    kind = high & _SYSTEM_TYPE
    if high >> 13 & 3 or kind not in (_CALL_GATE_32, _CALL_GATE_16):
        return None
    offset = low & 0xFFFF | (high & 0xFFFF0000 if kind == _CALL_GATE_32 else 0)
    selector = low >> 16
    return CallGate(
        selector & 0xFFFC, offset, selector & 3, high & 0x1F, kind == _CALL_GATE_32, bool(high >> 15 & 1)
    )


def emulate_gate(state: TrapState, error_code: int) -> Registers:
    """Carry out the far transfer at EIP that faulted with `error_code`; where the guest goes on.

    Raises Fault for what the guest gets instead.
    """
    cpu = state.cpu
    refused = Fault(Vector.GP, error_code)
    gate = _gate(state, error_code, refused)
    code = read_segment(state, cpu.cs)
    if code is None or not code.is_present or not code.is_code:
        raise refused
    try:
        transfer = decode_far(state, _fetch(state, code), code.bits)
    except NotEmulated:
        raise refused from None
    if transfer.selector & ~3 != error_code or gate.dpl < transfer.selector & 3:
        raise refused
    target = _target(state, gate, jump=transfer.is_jump)
    inner = target.dpl < cpu.cpl
    if transfer.is_jump or not inner:
        selector = gate.selector | cpu.cpl
    else:
        selector = gate.selector | target.dpl
        # The hypervisor knows one inner stack only, the kernel's.
        if selector & 3 != KERNEL_RING:
            raise refused
    to = Registers.target(selector, gate.offset, cpu.eflags, cpu.ss, cpu.esp)
    if transfer.is_jump:
        return to
    back = cpu.eip + transfer.length & _MASK
    if inner:
        return _call_inner(state, to, gate, back, refused)
    return _call_same_ring(state, to, back, refused)


def _gate(state: TrapState, selector: int, refused: Fault) -> CallGate:
    reach(state, selector)
    try:
        gate = unpack_gate(raw_descriptor(state.cpu, selector)) if selector >= 4 else None
    except SegmentFault:
        gate = None
    if gate is None or gate.dpl < state.cpu.cpl or not gate.is_32bit:
        raise refused
    if not gate.present:
        raise Fault(Vector.NP, selector)
    return gate


def _fetch(state: TrapState, code: Descriptor) -> bytes:
    """Up to 15 bytes at EIP."""
    linear = code.base + state.cpu.eip & _MASK
    try:
        return state.cpu.read(linear, 15)
    except PageFault as fault:
        readable = fault.va - linear & _MASK
        if not 0 < readable < 15:
            raise Fault(Vector.PF, 0, fault.va) from None
        return state.cpu.read(linear, readable)


def _target(state: TrapState, gate: CallGate, *, jump: bool) -> Descriptor:
    """The code segment that the gate leads to, with the checks of the processor (SDM 5.8.4)."""
    segment = read_segment(state, gate.selector)
    cpl = state.cpu.cpl
    if segment is None or not segment.is_code:
        raise Fault(Vector.GP, gate.selector)
    allowed = segment.dpl == cpl if jump and not segment.is_conforming else segment.dpl <= cpl
    if not allowed:
        raise Fault(Vector.GP, gate.selector)
    if not segment.is_present:
        raise Fault(Vector.NP, gate.selector)
    if gate.offset > segment.limit:
        raise Fault(Vector.GP, 0)
    return segment


def _call_inner(state: TrapState, to: Registers, gate: CallGate, back: int, refused: Fault) -> Registers:
    """A call into the kernel: its stack, the caller's SS and ESP, the parameters, the return address."""
    ss, esp = state.kernel_ss, state.kernel_sp
    stack = read_segment(state, ss)
    if ss & 3 != to.cpl or stack is None or stack.dpl != to.cpl or not stack.is_writable:
        raise Fault(Vector.TS, ss & ~3)
    size = (4 + gate.parameters) * 4
    if not stack.is_present or not _within_stack(stack, esp, size):
        raise Fault(Vector.SS, ss & ~3)
    _require_guest_memory(state, stack.base + esp - size, size, refused)
    words = [to.ss, to.esp, *_parameters(state, gate.parameters, refused), state.cpu.cs, back]
    esp = _push(state, stack, esp, words)
    return to._replace(ss=ss, esp=esp)


def _call_same_ring(state: TrapState, to: Registers, back: int, refused: Fault) -> Registers:
    stack = read_segment(state, to.ss)
    if stack is None or stack.dpl != to.cpl:
        raise refused
    if not _within_stack(stack, to.esp, 8):
        raise Fault(Vector.SS, 0)
    _require_guest_memory(state, stack.base + to.esp - 8, 8, refused)
    return to._replace(esp=_push(state, stack, to.esp, [state.cpu.cs, back]))


def _parameters(state: TrapState, count: int, refused: Fault) -> list[int]:
    """The caller's top `count` stack words, last pushed last."""
    cpu = state.cpu
    if not count:
        return []
    stack = read_segment(state, cpu.ss)
    if stack is None or stack.dpl != cpu.cpl or not stack.is_writable:
        raise refused
    if not _within_stack(stack, cpu.esp + 4 * count & _MASK, 4 * count):
        raise refused
    linear = stack.base + cpu.esp & _MASK
    _require_guest_memory(state, linear, 4 * count, refused)
    try:
        return [cpu.read_u32(linear + 4 * index) for index in reversed(range(count))]
    except PageFault as fault:
        raise Fault(Vector.PF, 0, fault.va) from None


def _push(state: TrapState, stack: Descriptor, esp: int, words: list[int]) -> int:
    for word in words:
        esp = esp - 4 & _MASK
        try:
            state.cpu.write_u32(stack.base + esp & _MASK, word)
        except PageFault as fault:
            raise Fault(Vector.PF, PageFaultCode.write_access, fault.va) from None
    return esp


def _within_stack(stack: Descriptor, esp: int, size: int) -> bool:
    """Whether `size` bytes below `esp` are in the segment; the expand-down bit turns the limit round."""
    bottom, top = esp - size & _MASK, esp - 1 & _MASK
    if bottom >= top:
        return False
    return bottom > stack.limit if stack.expands_down else top <= stack.limit


def _require_guest_memory(state: TrapState, linear: int, size: int, refused: Fault) -> None:
    """Nothing is pushed into the hypervisor's hole."""
    hole = HYPERVISOR_VIRT_START_PAE if state.cpu.geometry.pae else HYPERVISOR_VIRT_START_NONPAE
    if (linear & _MASK) + size > hole:
        raise refused
