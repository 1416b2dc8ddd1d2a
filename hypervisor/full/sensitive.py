"""Instructions that do not trap in ring 1, and do or tell there something else than in ring 0 (SDM volume 2).

PUSHF and POPF, reads of CS and SS, SGDT, SIDT, SLDT, STR, SMSW, LAR, LSL, VERR and VERW: some of them tell
the monitor's state in ring 3 as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from paravane.cpu import SegmentFault
from paravane.x86 import Eflags

if TYPE_CHECKING:
    from paravane.cpu.instructions import Instruction
    from paravane.cpu.segments import Descriptor
    from paravane.full.operation import Operation
    from paravane.full.processor import VirtualProcessor

# What one of them has among its bytes.
POSSIBLE: Final = re.compile(rb"[\x0e\x16\x9c\x9d\x8c]|\x0f[\x00-\x03]", re.DOTALL)

_PUSH_CS, _PUSH_SS, _MOV_FROM_SEGMENT, _PUSHF, _POPF = 0x0E, 0x16, 0x8C, 0x9C, 0x9D
_GROUP_6, _GROUP_7, _LAR, _LSL = 0xF00, 0xF01, 0xF02, 0xF03
_CS, _SS = 1, 2
_SLDT, _STR, _VERR, _VERW = 0, 1, 4, 5
_SGDT, _SIDT, _SMSW = 0, 1, 4
_ALWAYS: Final = frozenset((_PUSH_CS, _PUSH_SS, _PUSHF, _POPF, _LAR, _LSL))
_BY_REG: Final = {
    _MOV_FROM_SEGMENT: frozenset((_CS, _SS)),
    _GROUP_6: frozenset((_SLDT, _STR, _VERR, _VERW)),
    _GROUP_7: frozenset((_SGDT, _SIDT, _SMSW)),
}
_PUSHED: Final = ~int(Eflags.RF | Eflags.VM)
_NEVER_POPPED: Final = int(Eflags.RF | Eflags.VM | Eflags.VIF | Eflags.VIP)
_IF, _IOPL, _ZF = int(Eflags.IF), int(Eflags.IOPL), int(Eflags.ZF)
_LAR_SYSTEM: Final = frozenset((1, 2, 3, 4, 5, 9, 11, 12))
_LSL_SYSTEM: Final = frozenset((1, 2, 3, 9, 11))
_LAR_BITS: Final = 0x00F0FF00


def is_sensitive(instruction: Instruction) -> bool:
    """Whether it is one of them."""
    opcode = instruction.opcode
    if opcode == _GROUP_7 and instruction.reg != _SMSW and not instruction.has_memory_operand:
        return False
    return opcode in _ALWAYS or instruction.reg in _BY_REG.get(opcode, ())


def emulate(one: Operation) -> bool:
    """Do one of them, as a processor does it for which the guest's state is its own. False for any other.
    Raises PageFault and SegmentFault, having changed nothing but what SGDT and SIDT store first."""
    if not is_sensitive(one.found):
        return False
    processor, opcode, reg = one.processor, one.found.opcode, one.found.reg
    if opcode == _PUSHF:
        processor.push((processor.eflags & _PUSHED,), one.size)
    elif opcode == _POPF:
        _pop_flags(processor, one.size)
    elif opcode in (_PUSH_CS, _PUSH_SS):
        processor.push((processor.cs if opcode == _PUSH_CS else processor.ss,), one.size)
    elif opcode == _MOV_FROM_SEGMENT:
        one.write(processor.cs if reg == _CS else processor.ss)
    elif opcode in (_LAR, _LSL):
        _describe(one, limit=opcode == _LSL)
    elif opcode == _GROUP_7:
        _store_machine_state(one)
    elif reg in (_SLDT, _STR):
        one.write((processor.state.ldt if reg == _SLDT else processor.state.task).selector)
    else:
        _set_zero(processor, _verified(one, writing=reg == _VERW))
    one.done()
    return True


def _pop_flags(processor: VirtualProcessor, size: int) -> None:
    value, state, before = processor.stack_word(0, size), processor.state, processor.eflags
    kept = _NEVER_POPPED | (0xFFFF0000 if size == 2 else 0)
    kept |= (_IOPL if state.cpl else 0) | (_IF if state.cpl > state.iopl else 0)
    processor.cpu.esp = processor.popped(size)
    processor.eflags = value & ~kept | before & kept & ~int(Eflags.RF)


def _store_machine_state(one: Operation) -> None:
    processor, reg = one.processor, one.found.reg
    if reg == _SMSW:
        one.write(processor.state.cr0)
        return
    table = processor.state.gdt if reg == _SGDT else processor.state.idt
    address, user = one.address, processor.user
    # Two stores: the limit is there when the other one faults.
    processor.memory.write(address, (table.limit or 0).to_bytes(2, "little"), user=user)
    processor.memory.write(address + 2 & 0xFFFFFFFF, table.base.to_bytes(4, "little"), user=user)


def _describe(one: Operation, *, limit: bool) -> None:
    """LAR or LSL: the destination changes only where the descriptor may be seen, which ZF says."""
    selector = one.read(2)
    found = _visible(one.processor, selector)
    if found is not None and not found.has(1 << 12):
        kinds = _LSL_SYSTEM if limit else _LAR_SYSTEM
        found = found if found.flags >> 8 & 0xF in kinds else None
    if found is not None:
        one.set_register(one.found.reg, found.limit if limit else found.flags & _LAR_BITS)
    _set_zero(one.processor, found is not None)


def _verified(one: Operation, *, writing: bool) -> bool:
    found = _visible(one.processor, one.read(2))
    if found is None or not found.has(1 << 12):
        return False
    return found.is_writable if writing else found.is_readable


def _visible(processor: VirtualProcessor, selector: int) -> Descriptor | None:
    """The descriptor at a selector, if there is one that the present ring may see."""
    try:
        found = processor.descriptor(selector)
    except SegmentFault:
        return None
    return found if found.is_conforming or max(processor.state.cpl, selector & 3) <= found.dpl else None


def _set_zero(processor: VirtualProcessor, zero: bool) -> None:
    processor.eflags = processor.eflags & ~_ZF | _ZF * zero
