"""The parts of an instruction that is done in the processor's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu.instructions import ADDRESS_SIZE, OPERAND_SIZE
from paravane.cpu.operands import memory_operand

if TYPE_CHECKING:
    from paravane.cpu.instructions import Instruction
    from paravane.full.processor import VirtualProcessor

REGISTERS: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")


class Operation:
    """An instruction that is being done: where its operands are, and what follows it."""

    def __init__(self, processor: VirtualProcessor, found: Instruction, code: bytes, after: int) -> None:
        self.processor, self.found, self.code, self.after = processor, found, code, after
        big = processor.cpu.has_big_code
        prefixes = found.prefixes
        self.size = 4 if big != (OPERAND_SIZE in prefixes) else 2
        self.address_mask = 0xFFFFFFFF if big != (ADDRESS_SIZE in prefixes) else 0xFFFF

    def done(self) -> None:
        """EIP goes on."""
        self.processor.cpu.eip = self.after

    @property
    def address(self) -> int:
        """The linear address of its memory operand."""
        operand = memory_operand(self.code, self.found, big=self.processor.cpu.has_big_code)
        segment = self.found.segment or operand.segment
        return self.processor.linear(segment, operand.offset(self.processor.cpu.gprs()))

    def read(self, size: int, offset: int = 0) -> int:
        """`size` bytes of its operand, from `offset` on, or of the register that it is."""
        if self.found.has_memory_operand:
            processor = self.processor
            return processor.memory.read_number(self.address + offset, size, user=processor.user)
        value: int = getattr(self.processor.cpu, REGISTERS[self.found.modrm & 7])
        return value & (1 << 8 * size) - 1

    def immediate(self, size: int, before: int = 0) -> int:
        """A number at its end, `before` bytes before that."""
        end = self.found.length - before
        return int.from_bytes(self.code[end - size : end], "little")

    def write(self, value: int) -> None:
        """The low 16 bits to its operand in memory; to a register as many as that has by the operand's
        size."""
        processor = self.processor
        if self.found.has_memory_operand:
            processor.memory.write(self.address, (value & 0xFFFF).to_bytes(2, "little"), user=processor.user)
        else:
            self.set_register(self.found.modrm & 7, value)

    def set_register(self, number: int, value: int) -> None:
        """A general register, of which the upper half stays with operands of 16 bits."""
        cpu, name = self.processor.cpu, REGISTERS[number]
        kept: int = getattr(cpu, name) & 0xFFFF0000 if self.size == 2 else 0
        setattr(cpu, name, kept | value & (0xFFFF if self.size == 2 else 0xFFFFFFFF))
