"""Memory operands against Capstone, over every ModRM byte and a few SIB bytes, in both address sizes."""

from __future__ import annotations

import itertools

import pytest
from capstone import CS_ARCH_X86, CS_MODE_16, CS_MODE_32, Cs
from capstone.x86 import X86_OP_MEM

from paravane.cpu.instructions import decode
from paravane.cpu.operands import NONE, memory_operand

NAMES = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
SHORT = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
REGISTERS = tuple(0x1000_0001 * (number + 1) for number in range(8))
TAIL = bytes((0x84, 0x93, 0xA2, 0xF1, 0x00, 0x00))
"""Displacements with their top bits set, then zeroes."""


@pytest.mark.slow
@pytest.mark.parametrize("opcode", [b"\x8b", b"\x0f\xb6", b"\x0f\x38\x00"], ids=bytes.hex)
@pytest.mark.parametrize("prefixes", [b"", b"\x67", b"\x66", b"\x2e\x67"], ids=bytes.hex)
@pytest.mark.parametrize("big", [True, False])
def test_operands_are_capstones(opcode: bytes, prefixes: bytes, big: bool) -> None:
    disassembler = Cs(CS_ARCH_X86, CS_MODE_32 if big else CS_MODE_16)
    disassembler.detail = True
    seen = 0
    for modrm, sib in itertools.product(range(0xC0), (0x00, 0x25, 0x65, 0x8C, 0xE4, 0xFF)):
        code = prefixes + opcode + bytes((modrm, sib)) + TAIL
        theirs = next(disassembler.disasm(code, 0, 1), None)
        if theirs is None:
            continue
        memory = next(operand.mem for operand in theirs.operands if operand.type == X86_OP_MEM)
        found = decode(code, big=big)
        ours = memory_operand(code, found, big=big)
        wide = big == (0x67 not in prefixes)
        names = NAMES if wide else SHORT
        assert theirs.size == found.length
        assert ours.mask == (0xFFFFFFFF if wide else 0xFFFF)
        expected = memory.disp
        for register, scale in ((memory.base, 1), (memory.index, memory.scale)):
            name = theirs.reg_name(register)
            if name and not name.endswith("iz"):
                expected += REGISTERS[names.index(name)] * scale
        assert ours.offset(REGISTERS) == expected & ours.mask, code.hex()
        assert (ours.base == NONE) == (not memory.base), code.hex()
        seen += 1
    assert seen > 500
