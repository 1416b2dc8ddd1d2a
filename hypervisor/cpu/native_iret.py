"""IRET outside ring 0 with EFLAGS.VM set on the stack.

A processor ignores that bit there (SDM volume 2, IRET: a return to virtual-8086 mode takes CPL 0). The engine
enters virtual-8086 mode at any level, with ring 3 and with segments of the guest's choosing, and leaves
nothing to tell where it came from. So at each IRET a copy of the state is made; when the processor is found
in virtual-8086 mode, before it has executed an instruction there, the copy is put back and the IRET done
here.
"""

from typing import Final

from paravane.cpu import segments
from paravane.cpu.engine.errors import EngineError
from paravane.cpu.faults import PageFault, SegmentFault
from paravane.cpu.instructions import IRET, decode
from paravane.cpu.state import ProcessorState
from paravane.cpu.states_before import StatesBefore
from paravane.x86 import Eflags, Selector

_RPL: Final = int(Selector.RPL)
_VM: Final = int(Eflags.VM)
_ADDRESS: Final = 0xFFFFFFFF
# What IRET leaves alone outside ring 0; IF as well where the I/O privilege level is below the ring.
_KEPT: Final = int(Eflags.IOPL | Eflags.VM | Eflags.VIF | Eflags.VIP)
_INTERRUPT: Final = int(Eflags.IF)
_IOPL_SHIFT: Final = 12
_WORD: Final = 4


class NativeIrets:
    """The way back from virtual-8086 mode."""

    def __init__(self, cpu: ProcessorState, before: StatesBefore) -> None:
        """`before` must copy the state at every IRET."""
        self._cpu = cpu
        self._words = cpu._words
        self._eflags_at = cpu._layout.eflags
        self._before = before

    @property
    def in_virtual_8086(self) -> bool:
        """The engine entered virtual-8086 mode."""
        return self._words[self._eflags_at] & _VM != 0

    def take_back(self) -> None:
        """Make the state that of the IRET that led into virtual-8086 mode. EngineError when none did."""
        cpu = self._cpu
        if self._before.put_back() and self._would_set_vm(cpu.eip + cpu.segment_base("cs") & _ADDRESS):
            return
        raise EngineError("the processor got into virtual-8086 mode, and by no IRET")

    def _would_set_vm(self, address: int) -> bool:
        cpu = self._cpu
        try:
            instruction = decode(cpu.fetch(address), big=cpu.has_big_code)
            wide = instruction.has_operand_size_prefix != cpu.has_big_code
            return instruction.opcode == IRET and wide and _word(cpu, 2) & _VM != 0
        except (PageFault, IndexError):
            # It could not even be fetched, or not read its frame: the copy is of an older IRET.
            return False


def iret(cpu: ProcessorState) -> None:
    """Do the IRET at EIP, VM ignored. Raises PageFault or SegmentFault before anything has changed."""
    eip, cs, image = (_word(cpu, index) for index in range(3))
    cs &= 0xFFFF
    ring, to = cpu.cpl, cs & _RPL
    if cs & ~_RPL == 0:
        raise SegmentFault(segments.VECTOR_GP, 0)
    if to < ring:
        raise SegmentFault(segments.VECTOR_GP, cs & ~_RPL)
    # Before the rest of the frame is looked at, as the processor does.
    segments.check_code(segments.fetch(cpu, cpu._gdt, cpu._ldt, cs), to)
    kept = _KEPT if ring <= cpu.eflags >> _IOPL_SHIFT & _RPL else _KEPT | _INTERRUPT
    eflags = image & ~kept | cpu.eflags & kept
    if to > ring:
        esp, ss = _word(cpu, 3), _word(cpu, 4) & 0xFFFF
        cpu.enter(cs=cs, eip=eip, eflags=eflags, cpl=to, ss=ss, esp=esp)
        return
    mask = _stack_mask(cpu)
    popped = cpu.esp & ~mask | cpu.esp + 3 * _WORD & mask
    cpu.jump(cs=cs, eip=eip)
    cpu.eflags, cpu.esp = eflags, popped & _ADDRESS


def _word(cpu: ProcessorState, index: int) -> int:
    at = cpu.segment_base("ss") + (cpu.esp + index * _WORD & _stack_mask(cpu)) & _ADDRESS
    return int.from_bytes(cpu.read(at, _WORD, user=cpu.cpl == _RPL), "little")


def _stack_mask(cpu: ProcessorState) -> int:
    return _ADDRESS if cpu.has_big_stack else 0xFFFF
