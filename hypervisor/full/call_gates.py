"""Jumps and calls through call gates of 32 bits (SDM volume 3, 5.8.2 to 5.8.5), and what else a far pointer
may name that is no code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.cpu import SegmentFault
from paravane.full.delivery import inner_stack
from paravane.full.processor import GuestFailure
from paravane.full.state import KERNEL
from paravane.x86 import Selector, Vector

if TYPE_CHECKING:
    from paravane.cpu.segments import Descriptor
    from paravane.full.processor import VirtualProcessor

_RPL: Final = int(Selector.RPL)
_ADDRESS: Final = 0xFFFFFFFF
_CALL_GATE: Final = 0xC
_TASKS: Final = frozenset((1, 5, 9))
_CALL_GATE_16: Final = 4


class CallGate(NamedTuple):
    """Where it leads, and how many words of 4 bytes go with a call to an inner ring."""

    selector: int
    offset: int
    arguments: int


def call_gate(processor: VirtualProcessor, named: Descriptor) -> CallGate:
    """The gate that a far pointer names. SegmentFault for what nobody may go through, GuestFailure for what
    is not virtualised: tasks, and gates of 16 bits."""
    selector, kind = named.selector & 0xFFFC, named.flags >> 8 & 0xF
    if kind not in _TASKS and kind not in (_CALL_GATE, _CALL_GATE_16):
        raise SegmentFault(Vector.GP, selector)
    if named.dpl < max(processor.state.cpl, named.selector & _RPL):
        raise SegmentFault(Vector.GP, selector)
    if not named.is_present:
        raise SegmentFault(Vector.NP, selector)
    if kind in _TASKS:
        raise GuestFailure(f"it goes to a task by selector {selector:#x}; tasks are not switched here")
    if kind == _CALL_GATE_16:
        raise GuestFailure(f"selector {selector:#x} is a call gate of 16 bits, which is not virtualised")
    raw = processor.raw_descriptor(named.selector)
    return CallGate(raw >> 16 & 0xFFFF, raw & 0xFFFF | raw >> 32 & 0xFFFF0000, raw >> 32 & 0x1F)


def jump(processor: VirtualProcessor, gate: CallGate) -> None:
    """JMP: the ring stays. Raises SegmentFault and PageFault, having changed nothing."""
    code = _code(processor, gate)
    if not code.is_conforming and code.dpl != processor.state.cpl:
        raise SegmentFault(Vector.GP, gate.selector & 0xFFFC)
    _enter(processor, code, gate)


def call(processor: VirtualProcessor, gate: CallGate, after: int) -> None:
    """CALL, to return to EIP `after`: to an inner ring with the stack that the TSS names, and the arguments
    copied there. Raises as `jump`."""
    code = _code(processor, gate)
    if code.is_conforming or code.dpl == processor.state.cpl:
        code = processor.accessed(code)
        processor.push((processor.cs, after), 4)
        _enter(processor, code, gate)
        return
    cpu = processor.cpu
    arguments = [processor.stack_word(index, 4) for index in reversed(range(gate.arguments))]
    stack, esp = inner_stack(processor)
    words = (processor.ss, cpu.esp, *arguments, processor.cs, after)
    data = b"".join(word.to_bytes(4, "little") for word in reversed(words))
    mask = (1 << stack.bits) - 1
    esp = cpu.esp & ~mask & _ADDRESS | esp - len(data) & mask
    processor.memory.write(stack.base + (esp & mask) & _ADDRESS, data)
    code, stack = processor.accessed(code), processor.accessed(stack)
    processor.set_cpl(KERNEL)
    processor.hold("ss", stack)
    cpu.esp = esp
    _enter(processor, code, gate)


def _code(processor: VirtualProcessor, gate: CallGate) -> Descriptor:
    """The code segment that it leads to: of the present ring or an inner one."""
    found = processor.descriptor(gate.selector)
    if not found.is_code or found.dpl > processor.state.cpl:
        raise SegmentFault(Vector.GP, gate.selector & 0xFFFC)
    if not found.is_present:
        raise SegmentFault(Vector.NP, gate.selector & 0xFFFC)
    return found


def _enter(processor: VirtualProcessor, code: Descriptor, gate: CallGate) -> None:
    processor.hold("cs", code._replace(selector=code.selector & ~_RPL | processor.state.cpl))
    processor.cpu.eip = gate.offset
