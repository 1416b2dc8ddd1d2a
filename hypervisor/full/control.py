"""Control and debug registers, model-specific registers and descriptor-table registers of a bare PC (SDM
volume 3, chapter 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import SegmentFault
from paravane.cpu.segments import Table
from paravane.full.processor import GuestFailure, InvalidOpcode
from paravane.full.state import KNOWN_CR0, KNOWN_CR4
from paravane.x86 import Cr0, Cr4, Vector

if TYPE_CHECKING:
    from paravane.cpu.instructions import Instruction
    from paravane.full.processor import VirtualProcessor
    from paravane.full.state import PrivilegedState

HLT: Final = 0xF4
RDTSC: Final = 0xF31
_CLTS, _INVD, _WBINVD = 0xF06, 0xF08, 0xF09
_READ_CR, _READ_DR, _WRITE_CR, _WRITE_DR = 0xF20, 0xF21, 0xF22, 0xF23
_REGISTERS: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
_LMSW: Final = int(Cr0.MP | Cr0.EM | Cr0.TS)
_ENGINE_CR0: Final = int(Cr0.MP | Cr0.EM | Cr0.NE)
_DROPS_TLB: Final = int(Cr0.PG | Cr0.WP)
_GEOMETRY: Final = int(Cr4.PSE | Cr4.PAE)


def control(processor: VirtualProcessor, found: Instruction) -> bool:
    """An instruction that names such a register. False for any other. Raises SegmentFault, GuestFailure."""
    state, cpu = processor.state, processor.cpu
    register = _REGISTERS[found.modrm & 7]
    opcode = found.opcode
    if opcode == _CLTS:
        write_cr0(processor, state.cr0 & ~Cr0.TS)
    elif opcode in (_INVD, _WBINVD):
        pass  # there is no cache that anybody could see
    elif opcode in (_READ_CR, _WRITE_CR) and found.reg not in (0, 2, 3, 4):
        raise InvalidOpcode
    elif opcode == _READ_CR:
        value = (state.cr0, 0, state.cr2, state.cr3, state.cr4)[found.reg]
        setattr(cpu, register, value)
    elif opcode == _WRITE_CR:
        _write_control(processor, found.reg, getattr(cpu, register))
    elif opcode == _READ_DR:
        setattr(cpu, register, cpu.get_dr(_debug_number(state, found.reg)))
    elif opcode == _WRITE_DR:
        processor.debug.write(_debug_number(state, found.reg), getattr(cpu, register))
    else:
        return False
    return True


def read_time(processor: VirtualProcessor, now: int) -> None:
    """RDTSC, in any ring. SegmentFault where it is ring 0's alone."""
    if processor.user and processor.state.cr4 & Cr4.TSD:
        raise SegmentFault(Vector.GP, 0)
    processor.cpu.eax, processor.cpu.edx = now & 0xFFFFFFFF, now >> 32 & 0xFFFFFFFF


def load_table(processor: VirtualProcessor, base: int, limit: int, *, interrupts: bool) -> None:
    """LGDT or LIDT."""
    if interrupts:
        processor.state.idt = Table(base, limit)
    else:
        processor.state.gdt = Table(base, limit)


def load_machine_status(processor: VirtualProcessor, value: int) -> None:
    """LMSW: the low bits of CR0, of which PE can only be set."""
    write_cr0(processor, processor.state.cr0 & ~_LMSW | value & _LMSW)


def write_cr0(processor: VirtualProcessor, value: int) -> None:
    """MOV to CR0. SegmentFault #GP(0) for what cannot be, GuestFailure for real mode."""
    state, cpu = processor.state, processor.cpu
    value &= KNOWN_CR0
    if (value & Cr0.PG and not value & Cr0.PE) or (value & Cr0.NW and not value & Cr0.CD):
        raise SegmentFault(Vector.GP, 0)
    if not value & Cr0.PE:
        raise GuestFailure("it leaves protected mode; real mode is not virtualised")
    before, state.cr0 = state.cr0, value | Cr0.ET
    if (before ^ value) & (_ENGINE_CR0 | Cr0.TS):
        cpu.cr0 = cpu.cr0 & ~_ENGINE_CR0 | value & _ENGINE_CR0
        cpu.set_task_switched(value & Cr0.TS != 0)
    if (before ^ value) & _DROPS_TLB:
        _paging_changed(processor)


def _write_control(processor: VirtualProcessor, number: int, value: int) -> None:
    state = processor.state
    if number == 0:
        write_cr0(processor, value)
    elif number == 2:
        state.cr2 = value
    elif number == 3:
        state.cr3 = value
        if state.paging:
            processor.shadow.load_root()
    elif value & ~KNOWN_CR4:
        raise SegmentFault(Vector.GP, 0)
    else:
        before, state.cr4 = state.cr4, value
        if (before ^ value) & Cr4.DE:
            processor.debug.changed()
        if not state.paging:
            return
        if (before ^ value) & _GEOMETRY:
            processor.shadow.change_mode()
        elif (before ^ value) & Cr4.PGE:
            processor.shadow.load_root()


def _paging_changed(processor: VirtualProcessor) -> None:
    if processor.state.paging:
        processor.shadow.change_mode()
    else:
        processor.shadow.map_physical()


def _debug_number(state: PrivilegedState, number: int) -> int:
    """DR4 and DR5 are DR6 and DR7 by another name, or not there."""
    if number not in (4, 5):
        return number
    if state.cr4 & Cr4.DE:
        raise InvalidOpcode
    return number + 2
