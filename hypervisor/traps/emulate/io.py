"""IN, OUT, INS and OUTS: who may use a port, and the transfer (Xen's pv/emul-priv-op.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.classes import NamedTuple
from paravane.cpu import PageFault
from paravane.traps.emulate.control import io_privilege
from paravane.traps.emulate.fault import Completion, Fault, NotEmulated
from paravane.traps.segments import read_segment
from paravane.x86 import Eflags, PageFaultCode, Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu.segments import Descriptor
    from paravane.traps.emulate.decode import Instruction
    from paravane.traps.state import TrapState

MAX_REPEATS = 1024
"""Repetitions per trap: a longer REP INS or OUTS traps again, so that one instruction cannot hold the
machine."""


def port_allowed(state: TrapState, port: int, size: int) -> bool:
    """By virtual IOPL, or by the I/O bitmap of PHYSDEVOP_set_iobitmap. Unreadable bitmap bytes forbid."""
    if io_privilege(state):
        return True
    if port + size > state.io_bitmap_ports:
        return False
    at = state.io_bitmap + (port >> 3)
    try:
        bits = state.cpu.read(at, 1)[0]
    except PageFault:
        return False
    try:
        bits |= state.cpu.read(at + 1, 1)[0] << 8
    except PageFault:
        bits |= 0xFF00
    return not bits & ((1 << size) - 1) << (port & 7)


def in_out(state: TrapState, instruction: Instruction) -> Completion:
    """IN and OUT, all forms."""
    cpu = state.cpu
    port = instruction.immediate if instruction.opcode < 0xE8 else cpu.edx & 0xFFFF
    size = instruction.operand_size // 8 if instruction.opcode & 1 else 1
    if not port_allowed(state, port, size):
        raise NotEmulated
    mask = (1 << 8 * size) - 1
    if instruction.opcode & 2:
        state.ports.write(port, size, cpu.eax & mask)
    else:
        cpu.eax = cpu.eax & ~mask | state.ports.read(port, size) & mask
    _breakpoints(state, port, size)
    return Completion.COMPLETE


def string_in_out(state: TrapState, instruction: Instruction) -> Completion:
    """INS and OUTS with or without REP."""
    cpu = state.cpu
    port = cpu.edx & 0xFFFF
    size = instruction.operand_size // 8 if instruction.opcode & 1 else 1
    if not port_allowed(state, port, size):
        raise NotEmulated
    mask = (1 << instruction.address_size) - 1
    count = cpu.ecx & mask if instruction.repeat else 1
    transfer = _outs if instruction.opcode & 2 else _ins
    done = transfer(state, instruction, port, size, min(count, MAX_REPEATS)) if count else 0
    if instruction.repeat:
        cpu.ecx = cpu.ecx & ~mask | count - done
    if done:
        _breakpoints(state, port, size)
    return Completion.COMPLETE if done == count else Completion.REPEATS


class _Items(NamedTuple):
    """Items of `size` bytes in `segment`, walked with `register` in steps of the direction flag."""

    segment: Descriptor
    register: str
    size: int
    stack: bool


def _ins(state: TrapState, instruction: Instruction, port: int, size: int, count: int) -> int:
    segment = _segment(state, "es")
    if not segment.is_writable:
        raise Fault(Vector.GP, 0)

    def store(linear: int) -> None:
        data = state.ports.read(port, size).to_bytes(size, "little")
        try:
            state.cpu.write(linear, data)
        except PageFault as fault:
            raise Fault(Vector.PF, PageFaultCode.write_access, fault.va) from None

    return _each(state, instruction, _Items(segment, "edi", size, stack=False), count, store)


def _outs(state: TrapState, instruction: Instruction, port: int, size: int, count: int) -> int:
    name = instruction.segment or "ds"
    segment = _segment(state, name)
    if not segment.is_readable:
        raise Fault(Vector.SS if name == "ss" else Vector.GP, 0)

    def load(linear: int) -> None:
        try:
            data = state.cpu.read(linear, size)
        except PageFault as fault:
            raise Fault(Vector.PF, 0, fault.va) from None
        state.ports.write(port, size, int.from_bytes(data, "little"))

    return _each(state, instruction, _Items(segment, "esi", size, stack=name == "ss"), count, load)


def _each(
    state: TrapState, instruction: Instruction, items: _Items, count: int, transfer: Callable[[int], None]
) -> int:
    """Transfer up to `count` items; how many. A fault after the first leaves those done."""
    cpu = state.cpu
    mask = (1 << instruction.address_size) - 1
    step = -items.size if cpu.eflags & Eflags.DF else items.size
    value: int = getattr(cpu, items.register)
    offset = value & mask
    done = 0
    try:
        while done < count:
            if not items.segment.contains(offset, items.size):
                raise Fault(Vector.SS if items.stack else Vector.GP, 0)
            transfer(items.segment.base + offset & 0xFFFFFFFF)
            done += 1
            offset = offset + step & mask
    except Fault:
        if not done:
            raise
    setattr(cpu, items.register, value & ~mask | offset)
    return done


def _segment(state: TrapState, name: str) -> Descriptor:
    segment = read_segment(state, state.cpu.selector(name))
    if segment is None or not segment.is_present:
        raise NotEmulated
    return segment


def _breakpoints(state: TrapState, port: int, size: int) -> None:
    matched = state.debug.io_breakpoints(port, size, state.cr4)
    if matched:
        state.debug.stepped(matched)
        state.breakpoint_hit = True
