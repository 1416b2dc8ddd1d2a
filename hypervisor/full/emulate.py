"""Instructions that trap in ring 1 and would not in ring 0, done as ring 0 does them (SDM volume 2).

What needs ring 0 is #GP(0) elsewhere; segment loads and far transfers are emulated in ring 3 too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import SegmentFault
from paravane.cpu.instructions import MAX_LENGTH, STRING_IO, decode
from paravane.cpu.segments import Descriptor
from paravane.full import control, sensitive, transfers
from paravane.full.operation import Operation
from paravane.full.port_rights import check_ports
from paravane.full.processor import InvalidOpcode
from paravane.full.state import KERNEL
from paravane.full.string_io import StringIo, string_io
from paravane.x86 import Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu.instructions import Instruction
    from paravane.full.ports import Ports
    from paravane.full.processor import VirtualProcessor

_SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs")
_CLI, STI = 0xFA, 0xFB
_POPS: Final = {0x07: "es", 0x17: "ss", 0x1F: "ds", 0xFA1: "fs", 0xFA9: "gs"}
_POP_SS: Final = 0x17
_FAR_POINTERS: Final = {0xC4: "es", 0xC5: "ds", 0xFB2: "ss", 0xFB4: "fs", 0xFB5: "gs"}
_MOV_SEGMENT, _JMP_FAR, _CALL_FAR, _RETF_RELEASING, _RETF, _IRET, _GROUP_5 = (
    *(0x8E, 0xEA, 0x9A, 0xCA, 0xCB, 0xCF),
    0xFF,
)
_CALL_FAR_MEMORY, _JMP_FAR_MEMORY = 3, 5
_GROUP_6, _GROUP_7 = 0xF00, 0xF01
_LLDT, _LTR = 2, 3
_LGDT, _LIDT, _LMSW, _INVLPG = 2, 3, 6, 7
_OUTS: Final = range(0x6E, 0x70)
_IN_IMMEDIATE, _OUT_IMMEDIATE, _IN, _OUT = (
    range(0xE4, 0xE6),
    range(0xE6, 0xE8),
    range(0xEC, 0xEE),
    range(0xEE, 0xF0),
)
_PORTS: Final = STRING_IO.union(_IN_IMMEDIATE, _OUT_IMMEDIATE, _IN, _OUT)
_MOST_DECODED: Final = 4096


class Emulator:
    """Does one instruction at a time for one processor."""

    def __init__(
        self,
        processor: VirtualProcessor,
        ports: Ports,
        halt: Callable[[], None],
        time: Callable[[], int],
        leave: Callable[[], bool],
        repeated: Callable[[int, bool], None],
    ) -> None:
        """`halt` has the vcpu sleep until an interrupt; `time` is what RDTSC reads; `leave` says whether a
        repeated instruction is to be left between two elements, and `repeated` is told how many were done,
        and whether a device was asked for each."""
        self._processor = processor
        self._ports = ports
        self._halt = halt
        self._time = time
        self._decoded: dict[tuple[bytes, bool], Instruction] = {}
        self._leave, self._repeated = leave, repeated
        self.last: Instruction
        """What was looked at last."""

    def emulate_sensitive(self) -> bool:
        """As `emulate`, for an instruction that would not have trapped by itself, or too late."""
        one = self._operation()
        if one is None or not (sensitive.emulate(one) or self._input_output(one)):
            return False
        self._processor.cpu.shadowed = False
        return True

    def _operation(self) -> Operation | None:
        """The instruction at EIP; None where that is none, or one with LOCK. PageFault where it goes on in a
        page that is not there."""
        processor = self._processor
        cpu = processor.cpu
        at = processor.linear("cs", cpu.eip)
        code = processor.memory.fetch(at, MAX_LENGTH)
        key = code, cpu.has_big_code
        found = self._decoded.get(key)
        if found is None:
            found = self._decode(*key)
            if found is None:
                if len(code) < MAX_LENGTH:
                    processor.memory.translate(at + len(code), user=processor.user)
                return None
        self.last = found
        processor.debug.begin()
        return Operation(processor, found, code, cpu.eip + found.length & 0xFFFFFFFF)

    def _decode(self, code: bytes, big: bool) -> Instruction | None:
        """As `_operation`, which need not decode the same bytes again."""
        try:
            found = decode(code, big=big)
        except IndexError:
            return None
        if found.is_locked or found.length > MAX_LENGTH:
            return None
        if len(self._decoded) == _MOST_DECODED:
            self._decoded.clear()
        self._decoded[code, big] = found
        return found

    def emulate(self) -> bool:
        """The instruction at EIP, if it is one of those: it is done, and EIP after it. False for any other.
        Raises SegmentFault, PageFault (EIP is where it was) and GuestFailure."""
        one = self._operation()
        if one is None:
            return False
        processor, cpu, found = self._processor, self._processor.cpu, one.found
        if found.opcode in (_CLI, STI):
            _set_interrupt_flag(one, enabled=found.opcode == STI)
            return True
        if self._input_output(one) or _transfers(one) or _segments(one):
            cpu.shadowed = _loads_stack_segment(one)
            return True
        if found.opcode == control.RDTSC:
            control.read_time(processor, self._time())
            one.done()
            cpu.shadowed = False
            return True
        if found.opcode == _GROUP_7 and found.reg == _INVLPG and not found.has_memory_operand:
            raise InvalidOpcode  # RDTSCP, which CPUID does not name
        if processor.state.cpl != KERNEL:
            return False
        if found.opcode != control.HLT and not (_tables(one) or control.control(processor, found)):
            return False
        one.done()
        cpu.shadowed = False
        if found.opcode == control.HLT:
            self._halt()
        return True

    def _input_output(self, one: Operation) -> bool:
        opcode = one.found.opcode
        if opcode not in _PORTS:
            return False
        immediate = opcode in _IN_IMMEDIATE or opcode in _OUT_IMMEDIATE
        processor = self._processor
        cpu = processor.cpu
        size = one.size if opcode & 1 else 1
        port = one.code[one.found.length - 1] if immediate else cpu.edx & 0xFFFF
        check_ports(processor, port, size)
        if opcode in STRING_IO:
            output = opcode in _OUTS
            asked = self._ports.asks_for_each(port, size, output=output)
            what = StringIo(
                size, output, one.found.segment or "ds", one.address_mask, one.found.is_repeated, asked
            )
            moved, over = string_io(processor, self._ports, what, self._leave)
            self._repeated(moved, asked)
            if over:
                one.done()
            return True
        processor.debug.port_accessed(port, size)
        mask = (1 << 8 * size) - 1
        one.done()
        if opcode in _IN_IMMEDIATE or opcode in _IN:
            cpu.eax = cpu.eax & ~mask | self._ports.read(port, size)
        else:
            self._ports.write(port, size, cpu.eax & mask)
        return True


def _set_interrupt_flag(one: Operation, *, enabled: bool) -> None:
    """CLI or STI. No interrupt comes before the instruction after an STI that did something."""
    processor = one.processor
    if processor.state.cpl > processor.state.iopl:
        raise SegmentFault(Vector.GP, 0)
    before = processor.interrupt_flag
    processor.interrupt_flag = enabled
    one.done()
    processor.cpu.shadowed = enabled and not before


def _loads_stack_segment(one: Operation) -> bool:
    """No interrupt comes before the next instruction, which is to load ESP. LSS loads both."""
    return one.found.opcode == _POP_SS or (one.found.opcode == _MOV_SEGMENT and one.found.reg == 2)


def _segments(one: Operation) -> bool:
    """Loads of data and stack segments."""
    processor, found = one.processor, one.found
    if found.opcode == _MOV_SEGMENT and found.reg in (0, 2, 3, 4, 5):
        processor.load_segment(_SEGMENTS[found.reg], one.read(2))
    elif found.opcode in _POPS:
        name, esp = _POPS[found.opcode], processor.popped(one.size)
        processor.load_segment(name, processor.stack_word(0, one.size))
        processor.cpu.esp = esp
    elif found.opcode in _FAR_POINTERS and found.has_memory_operand:
        offset, selector = one.read(one.size), one.read(2, one.size)
        processor.load_segment(_FAR_POINTERS[found.opcode], selector)
        one.set_register(found.reg, offset)
    else:
        return False
    one.done()
    return True


def _transfers(one: Operation) -> bool:
    """What goes to another code segment. EIP is theirs."""
    processor, found, size = one.processor, one.found, one.size
    if found.opcode == _IRET:
        transfers.interrupt_return(processor, size)
    elif found.opcode == _RETF:
        transfers.far_return(processor, size, 0)
    elif found.opcode == _RETF_RELEASING:
        transfers.far_return(processor, size, one.immediate(2))
    elif found.opcode == _JMP_FAR:
        transfers.far_jump(processor, one.immediate(2), one.immediate(size, 2))
    elif found.opcode == _CALL_FAR:
        transfers.far_call(processor, one.immediate(2), one.immediate(size, 2), size, one.after)
    elif found.opcode == _GROUP_5 and found.has_memory_operand and found.reg == _JMP_FAR_MEMORY:
        transfers.far_jump(processor, one.read(2, size), one.read(size))
    elif found.opcode == _GROUP_5 and found.has_memory_operand and found.reg == _CALL_FAR_MEMORY:
        transfers.far_call(processor, one.read(2, size), one.read(size), size, one.after)
    else:
        return False
    return True


def _tables(one: Operation) -> bool:
    """LGDT, LIDT, LLDT, LTR, LMSW, INVLPG."""
    processor, found = one.processor, one.found
    kind = found.opcode, found.reg
    if kind in ((_GROUP_7, _LGDT), (_GROUP_7, _LIDT)) and found.has_memory_operand:
        limit, base = one.read(2), one.read(4, 2) & (0xFFFFFFFF if one.size == 4 else 0xFFFFFF)
        control.load_table(processor, base, limit, interrupts=found.reg == _LIDT)
    elif kind == (_GROUP_7, _LMSW):
        control.load_machine_status(processor, one.read(2))
    elif kind == (_GROUP_7, _INVLPG) and found.has_memory_operand:
        if processor.state.paging:
            processor.shadow.drop_page(one.address)
    elif kind == (_GROUP_6, _LLDT):
        selector = one.read(2)
        processor.state.ldt = _system_segment(processor, selector, (0x2,)) if selector & ~3 else _NONE
    elif kind == (_GROUP_6, _LTR):
        task = _system_segment(processor, one.read(2), (0x1, 0x9))
        at = processor.state.gdt.base + (task.selector & ~7) + 5
        processor.memory.write(at, bytes((processor.memory.read(at, 1)[0] | 0x2,)))  # busy
        processor.state.task = task
    else:
        return False
    return True


_NONE: Final = Descriptor(0, 0, 0, 0)


def _system_segment(processor: VirtualProcessor, selector: int, kinds: tuple[int, ...]) -> Descriptor:
    """An LDT or a free TSS, which only the GDT has. SegmentFault, PageFault."""
    if selector & 4:
        raise SegmentFault(Vector.GP, selector & 0xFFFC)
    found = processor.descriptor(selector)
    if found.flags >> 8 & 0x1F not in kinds:
        raise SegmentFault(Vector.GP, selector & 0xFFFC)
    if not found.is_present:
        raise SegmentFault(Vector.NP, selector & 0xFFFC)
    return found
