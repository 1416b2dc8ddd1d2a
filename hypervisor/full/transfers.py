"""IRET and far jumps, calls and returns, which all trap for want of a GDT (SDM volumes 2 and 3, chapter
5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from paravane.cpu import SegmentFault, segments
from paravane.full import call_gates
from paravane.full.processor import GuestFailure
from paravane.full.state import KERNEL
from paravane.x86 import DescriptorFlags, Eflags, Selector, Vector

if TYPE_CHECKING:
    from paravane.cpu.segments import Descriptor
    from paravane.full.processor import VirtualProcessor

_RPL: Final = int(Selector.RPL)
_IF, _IOPL, _VM, _NT = int(Eflags.IF), int(Eflags.IOPL), int(Eflags.VM), int(Eflags.NT)
_BUSY_TASKS: Final = (0x3, 0xB)
_ALWAYS_KEPT: Final = int(Eflags.VM | Eflags.VIF | Eflags.VIP)


def interrupt_return(processor: VirtualProcessor, size: int) -> None:
    """IRET with words of `size` bytes. Raises SegmentFault and PageFault, having changed nothing, and
    GuestFailure for returns to other tasks and to virtual-8086 mode."""
    state = processor.state
    eip, cs, image = (processor.stack_word(index, size) for index in range(3))
    before = processor.eflags
    if before & _NT:
        _return_to_task(processor)
    if image & _VM and size == 4 and state.cpl == KERNEL:
        raise GuestFailure("it returns to virtual-8086 mode, which is not virtualised")
    kept = _ALWAYS_KEPT
    if state.cpl > KERNEL:
        kept |= _IOPL
    if state.cpl > state.iopl:
        kept |= _IF
    if size == 2:
        kept |= 0xFFFF0000
    _return(processor, cs & 0xFFFF, eip, 3, size)
    processor.eflags = image & ~kept | before & kept


def _return_to_task(processor: VirtualProcessor) -> NoReturn:
    """IRET with EFLAGS.NT, which any ring may set, to the task that the TSS was entered from: SegmentFault
    unless it names one, or else GuestFailure."""
    selector = processor.memory.read_number(processor.state.task.base, 2)
    refusal = SegmentFault(Vector.TS, selector & 0xFFFC)
    if selector & Selector.LDT:
        raise refusal
    try:
        found = processor.descriptor(selector)
    except SegmentFault:
        raise refusal from None
    if found.flags >> 8 & 0x1F not in _BUSY_TASKS:
        raise refusal
    if not found.is_present:
        raise SegmentFault(Vector.NP, selector & 0xFFFC)
    raise GuestFailure("it returns to another task; tasks are not switched here")


def far_return(processor: VirtualProcessor, size: int, released: int) -> None:
    """RETF, which takes `released` bytes of arguments from both stacks. Raises as `interrupt_return`."""
    eip, cs = processor.stack_word(0, size), processor.stack_word(1, size)
    _return(processor, cs & 0xFFFF, eip, 2, size, released)


def far_jump(processor: VirtualProcessor, selector: int, offset: int) -> None:
    """JMP to another code segment of the present ring, or through a gate. Raises as `interrupt_return`."""
    named = processor.descriptor(selector)
    if not named.has(DescriptorFlags.NOT_SYSTEM):
        call_gates.jump(processor, call_gates.call_gate(processor, named))
        return
    code = _direct(processor, named)
    processor.hold("cs", code)
    processor.cpu.eip = offset


def far_call(processor: VirtualProcessor, selector: int, offset: int, size: int, after: int) -> None:
    """CALL of another code segment of the present ring, or through a gate, to return to EIP `after`. Raises
    as `interrupt_return`."""
    named = processor.descriptor(selector)
    if not named.has(DescriptorFlags.NOT_SYSTEM):
        call_gates.call(processor, call_gates.call_gate(processor, named), after)
        return
    code = processor.accessed(_direct(processor, named))
    processor.push((processor.cs, after), size)
    processor.hold("cs", code)
    processor.cpu.eip = offset


def _direct(processor: VirtualProcessor, found: Descriptor) -> Descriptor:
    """The segment as it is entered by a jump or a call, which never change the ring: its selector says so,
    whatever the one that named it said."""
    cpl = processor.state.cpl
    if found.is_code and not found.is_conforming and found.selector & _RPL > cpl:
        raise SegmentFault(Vector.GP, found.selector & 0xFFFC)
    entered = found._replace(selector=found.selector & ~_RPL | cpl)
    segments.check_code(entered, cpl)
    return entered


def _return(processor: VirtualProcessor, cs: int, eip: int, words: int, size: int, released: int = 0) -> None:
    """To the same ring or to an outer one, whose stack follows `words` and what is released."""
    cpu, state = processor.cpu, processor.state
    cpl = cs & _RPL
    if cpl < state.cpl or not cs & ~_RPL:
        raise SegmentFault(Vector.GP, cs & 0xFFFC)
    code = processor.code_segment(cs, cpl)
    if cpl == state.cpl:
        esp = processor.popped(words * size + released)
        processor.hold("cs", code)
        cpu.eip, cpu.esp = eip, esp
        return
    at = processor.linear("ss", cpu.esp + words * size + released & processor.stack_mask)
    data = processor.memory.read(at, 2 * size, user=processor.user)
    esp, ss = int.from_bytes(data[:size], "little"), int.from_bytes(data[size:], "little") & 0xFFFF
    code, stack = processor.accessed(code), processor.accessed(processor.stack_segment(ss, cpl))
    processor.set_cpl(cpl)
    processor.hold("cs", code)
    processor.hold("ss", stack)
    # With a stack of 16 bits the upper half of ESP stays what it was.
    mask = (1 << stack.bits) - 1
    cpu.eip, cpu.esp = eip, cpu.esp & ~mask & 0xFFFFFFFF | esp + released & mask
    processor.drop_privileged_segments()
