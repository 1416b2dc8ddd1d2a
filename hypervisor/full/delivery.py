"""Interrupts and exceptions through the guest's IDT, with the stack that its TSS names (SDM volume 3, chapter
6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import PageFault, SegmentFault, segments
from paravane.full.processor import GuestFailure
from paravane.full.state import BIG_TASK, KERNEL
from paravane.x86 import VECTORS_WITH_ERROR_CODE, Eflags, Selector, Vector

if TYPE_CHECKING:
    from paravane.cpu.segments import Descriptor
    from paravane.full.processor import VirtualProcessor

_GATE_SIZE: Final = 8
_IN_IDT: Final = 2
_TASK_GATE: Final = 0x5
_INTERRUPT_16, _TRAP_16, _INTERRUPT_32, _TRAP_32 = 0x6, 0x7, 0xE, 0xF
_GATE_PRESENT: Final = 0x80
_RPL: Final = int(Selector.RPL)
_CLEARED: Final = int(Eflags.TF | Eflags.NT | Eflags.RF | Eflags.VM)
_CONTRIBUTORY: Final = frozenset((Vector.DE, Vector.TS, Vector.NP, Vector.SS, Vector.GP))


class TripleFault(GuestFailure):
    """A double fault that could not be delivered: a PC resets."""


def raise_exception(processor: VirtualProcessor, vector: int, error_code: int) -> None:
    """An exception of the guest's, EIP being at the instruction. What goes wrong as it is delivered is
    another one, or a double fault (table 6-5). Raises TripleFault and GuestFailure."""
    while True:
        try:
            deliver(processor, vector, error_code if vector in VECTORS_WITH_ERROR_CODE else None)
            return
        except PageFault as fault:
            processor.state.cr2 = fault.va
            second, code = int(Vector.PF), fault.error_code
        except SegmentFault as fault:
            second, code = fault.vector, fault.error_code
        if vector == Vector.DF:
            raise TripleFault("it has no handler for what goes wrong in its handlers: a triple fault")
        worse = vector == Vector.PF and (second == Vector.PF or second in _CONTRIBUTORY)
        if worse or (vector in _CONTRIBUTORY and second in _CONTRIBUTORY):
            second, code = int(Vector.DF), 0
        vector, error_code = second, code


def deliver(
    processor: VirtualProcessor, vector: int, error_code: int | None = None, *, software: bool = False
) -> None:
    """Go to the handler of `vector`; `software`: by `int n`, which the gate's DPL may refuse. Raises
    SegmentFault and PageFault, having changed nothing, and GuestFailure for task gates."""
    cpu, state, memory = processor.cpu, processor.state, processor.memory
    refusal = SegmentFault(Vector.GP, vector * _GATE_SIZE | _IN_IDT)
    if state.idt.limit is None or vector * _GATE_SIZE + _GATE_SIZE - 1 > state.idt.limit:
        raise refusal
    gate = memory.read_number(state.idt.base + vector * _GATE_SIZE, _GATE_SIZE)
    access = gate >> 40 & 0xFF
    kind = access & 0x1F
    if kind == _TASK_GATE:
        raise GuestFailure(f"vector {vector:#x} of its IDT is a task gate; tasks are not switched here")
    if kind not in (_INTERRUPT_16, _TRAP_16, _INTERRUPT_32, _TRAP_32) or (
        software and access >> 5 & 3 < state.cpl
    ):
        raise refusal
    if not access & _GATE_PRESENT:
        raise SegmentFault(Vector.NP, vector * _GATE_SIZE | _IN_IDT)
    code = _handler_segment(processor, gate >> 16 & 0xFFFF)
    cpl = state.cpl if code.is_conforming else code.dpl
    eflags = processor.eflags
    frame = [cpu.eip, processor.cs, eflags]
    if cpl == state.cpl:
        stack, esp, mask = None, cpu.esp, processor.stack_mask
        base = cpu.segment_base("ss")
    else:
        stack, esp = inner_stack(processor)
        frame += [cpu.esp, processor.ss]
        base, mask = stack.base, (1 << stack.bits) - 1
    if error_code is not None:
        frame.insert(0, error_code)
    big = kind in (_INTERRUPT_32, _TRAP_32)
    size = 4 if big else 2
    esp = cpu.esp & ~mask & 0xFFFFFFFF | esp - size * len(frame) & mask
    data = b"".join((word & (1 << 8 * size) - 1).to_bytes(size, "little") for word in frame)
    memory.write(base + (esp & mask) & 0xFFFFFFFF, data, user=cpl != KERNEL)
    code = processor.accessed(code)
    if stack is not None:
        stack = processor.accessed(stack)
    processor.set_cpl(cpl)
    if stack is not None:
        processor.hold("ss", stack)
    processor.hold("cs", code._replace(selector=code.selector & ~_RPL | cpl))
    cpu.shadowed = False
    cpu.esp, cpu.eip = esp, gate & 0xFFFF | (gate >> 32 & 0xFFFF0000) * big
    masks = kind in (_INTERRUPT_16, _INTERRUPT_32)
    processor.eflags = eflags & ~(_CLEARED | Eflags.IF * masks)


def _handler_segment(processor: VirtualProcessor, selector: int) -> Descriptor:
    """The code segment of a gate: of the present ring or a more privileged one."""
    found = processor.descriptor(selector)
    if not found.is_code or found.dpl > processor.state.cpl:
        raise SegmentFault(Vector.GP, selector & 0xFFFC)
    if not found.is_present:
        raise SegmentFault(Vector.NP, selector & 0xFFFC)
    return found


def inner_stack(processor: VirtualProcessor) -> tuple[Descriptor, int]:
    """Stack segment and pointer for ring 0, from the TSS (SDM volume 3, 7.2.1)."""
    task, memory = processor.state.task, processor.memory
    size = 4 if task.has(BIG_TASK) else 2  # ESP0, and after it SS0
    if not task.flags or task.limit < 3 * size - 1:
        raise SegmentFault(Vector.TS, task.selector & 0xFFFC)
    esp, selector = memory.read_number(task.base + size, size), memory.read_number(task.base + 2 * size, 2)
    try:
        stack = processor.descriptor(selector)
        segments.check_stack(stack, KERNEL)
    except SegmentFault as fault:
        vector = fault.vector if fault.vector == Vector.SS else Vector.TS
        raise SegmentFault(vector, selector & 0xFFFC) from None
    return stack, esp
