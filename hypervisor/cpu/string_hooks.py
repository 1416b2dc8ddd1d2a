"""Carrying out comparisons of strings in place of the engine."""

from typing import Final

from paravane.cpu.faults import PageFault
from paravane.cpu.handler import TrapHandler
from paravane.cpu.instructions import Instruction, decode
from paravane.cpu.operands import memory_operand
from paravane.cpu.state import ProcessorState
from paravane.cpu.string_compare import (
    OPERAND,
    STRING_COMPARES,
    compare,
    eflags_after,
    engine_is_wrong,
    gives_index,
)
from paravane.x86 import Cr0, Cr4, Dr6, Eflags, Vector

_LINEAR: Final = 0xFFFFFFFF
_USER_RING: Final = 3


class StringCompares:
    """Those of one processor. A data breakpoint on what is read here does not fire."""

    def __init__(self, cpu: ProcessorState, handler: TrapHandler) -> None:
        self._cpu = cpu
        self._handler = handler

    def due(self, address: int) -> bool:
        """Whether the instruction at linear `address`, about to be executed, is to be carried out here."""
        cpu = self._cpu
        if cpu.cr0 & (Cr0.EM | Cr0.TS) or not cpu.cr4 & Cr4.OSFXSR:
            # #UD or #NM: that is the engine's.
            return False
        try:
            instruction, code = self._instruction(address)
        except IndexError:
            return False
        eax, _, edx, *_ = cpu.gprs()
        return (
            instruction.opcode in STRING_COMPARES
            and instruction.has_operand_size_prefix
            and engine_is_wrong(instruction, code[instruction.length - 1], eax, edx)
        )

    def carry_out(self) -> None:
        """Do the instruction at EIP, or report the page fault of its operand in memory."""
        cpu = self._cpu
        instruction, code = self._instruction(cpu.eip + cpu.segment_base("cs") & _LINEAR)
        stepping = cpu.eflags & Eflags.TF
        try:
            second = self._second(instruction, code)
        except PageFault as fault:
            cpu.cr2 = fault.va
            self._handler.exception(Vector.PF, fault.error_code)
            return
        first = self._cpu.read_xmm(instruction.reg)
        control = code[instruction.length - 1]
        eax, _, edx, *_ = cpu.gprs()
        result = compare(instruction, control, first, second, eax, edx)
        if gives_index(instruction):
            cpu.ecx = result.value
        else:
            cpu.write_xmm(0, result.value.to_bytes(OPERAND, "little"))
        cpu.eflags = eflags_after(cpu.eflags, result)
        cpu.eip += instruction.length
        if stepping:
            cpu._words[cpu._layout.dr + 12] |= Dr6.BS
            self._handler.exception(Vector.DB, 0)

    def _instruction(self, address: int) -> tuple[Instruction, bytes]:
        code = self._cpu.fetch(address)
        return decode(code, big=self._cpu.has_big_code), code

    def _second(self, instruction: Instruction, code: bytes) -> bytes:
        cpu = self._cpu
        if not instruction.has_memory_operand:
            return self._cpu.read_xmm(instruction.modrm & 7)
        operand = memory_operand(code, instruction, big=cpu.has_big_code)
        base = cpu.segment_base(instruction.segment or operand.segment)
        return cpu.read(base + operand.offset(cpu.gprs()) & _LINEAR, OPERAND, user=cpu.cpl == _USER_RING)
