"""Decoding of the few instructions that are emulated (SDM volume 2). Everything else decodes to nothing.

A table of bytes instead of a disassembler: `mov %cr0, %eax` sits on a kernel's hot paths.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_LENGTH: Final = 15

OPERAND_SIZE, ADDRESS_SIZE, REPEAT_NOT_ZERO, REPEAT, LOCK = 0x66, 0x67, 0xF2, 0xF3, 0xF0
SEGMENTS: Final = {0x26: "es", 0x2E: "cs", 0x36: "ss", 0x3E: "ds", 0x64: "fs", 0x65: "gs"}
PREFIXES: Final = frozenset((OPERAND_SIZE, ADDRESS_SIZE, REPEAT_NOT_ZERO, REPEAT, LOCK, *SEGMENTS))

STRING_IO: Final = frozenset(range(0x6C, 0x70))
STRINGS: Final = STRING_IO | set(range(0xA4, 0xA8)) | set(range(0xAA, 0xB0))
IMMEDIATE_IO: Final = frozenset(range(0xE4, 0xE8))
REGISTER_IO: Final = frozenset(range(0xEC, 0xF0))
CLI, STI = 0xFA, 0xFB
TWO_BYTE = 0x0F
CLTS, WBINVD, WRMSR, RDTSC, RDMSR, SYSENTER, CPUID = 0x0F06, 0x0F09, 0x0F30, 0x0F31, 0x0F32, 0x0F34, 0x0FA2
READ_CR, READ_DR, WRITE_CR, WRITE_DR = 0x0F20, 0x0F21, 0x0F22, 0x0F23
GROUP_7 = 0x0F01
RDTSCP = 0x0F01F9

_PLAIN: Final = STRING_IO | REGISTER_IO | {CLI, STI}
_PLAIN_TWO_BYTE: Final = frozenset((CLTS, WBINVD, WRMSR, RDTSC, RDMSR, SYSENTER, CPUID))
_CONTROL: Final = frozenset((READ_CR, READ_DR, WRITE_CR, WRITE_DR))


def prefix_length(code: bytes) -> int:
    """How many prefixes `code` starts with."""
    return next((at for at, byte in enumerate(code) if byte not in PREFIXES), len(code))


class Truncated(Exception):
    """The instruction goes on after the bytes that could be fetched."""


class Instruction(NamedTuple):
    """`opcode` as 0x0Fxx for two-byte opcodes; sizes in bits; `reg` and `rm` of ModRM; `segment` overrides
    DS."""

    opcode: int
    length: int
    operand_size: int
    address_size: int
    repeat: bool
    locked: bool
    segment: str | None
    reg: int
    rm: int
    immediate: int


def decode(code: bytes, size: int) -> Instruction | None:
    """The instruction at the start of `code` in a `size`-bit code segment, None if it is not an emulated one.

    Raises Truncated when `code` ends before the instruction does.
    """
    try:
        return _decode(code, size)
    except IndexError:
        raise Truncated from None


def _decode(code: bytes, size: int) -> Instruction | None:
    operand_size = address_size = size
    repeat = locked = False
    segment: str | None = None
    at = 0
    byte = code[0]
    while byte in PREFIXES:
        if byte == OPERAND_SIZE:
            operand_size = 48 - size
        elif byte == ADDRESS_SIZE:
            address_size = 48 - size
        elif byte == LOCK:
            locked = True
        elif byte in SEGMENTS:
            segment = SEGMENTS[byte]
        else:
            repeat = True
        at += 1
        if at == MAX_LENGTH:
            return None
        byte = code[at]
    found = _opcode(code, at)
    if found is None:
        return None
    opcode, length, reg, rm, immediate = found
    if length > MAX_LENGTH:
        return None
    return Instruction(
        opcode, length, operand_size, address_size, repeat, locked, segment, reg, rm, immediate
    )


def _opcode(code: bytes, at: int) -> tuple[int, int, int, int, int] | None:
    """Opcode, length with prefixes, ModRM reg and rm, immediate; None for an instruction of no interest."""
    byte = code[at]
    if byte in _PLAIN:
        return byte, at + 1, 0, 0, 0
    if byte in IMMEDIATE_IO:
        return byte, at + 2, 0, 0, code[at + 1]
    if byte != TWO_BYTE:
        return None
    opcode = TWO_BYTE << 8 | code[at + 1]
    if opcode in _PLAIN_TWO_BYTE:
        return opcode, at + 2, 0, 0, 0
    if opcode in _CONTROL:
        # The mod field is ignored: these always name registers.
        modrm = code[at + 2]
        return opcode, at + 3, modrm >> 3 & 7, modrm & 7, 0
    if opcode == GROUP_7 and code[at + 2] == RDTSCP & 0xFF:
        return RDTSCP, at + 3, 0, 0, 0
    return None
