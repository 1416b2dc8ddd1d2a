"""The few instructions that are emulated, out of all that the processor's decoder knows (SDM volume 2)."""

from __future__ import annotations

from typing import Final

from paravane.classes import NamedTuple
from paravane.cpu import instructions
from paravane.cpu.instructions import ADDRESS_SIZE, MAX_LENGTH, OPERAND_SIZE, STRING_IO

STRINGS: Final = STRING_IO | set(range(0xA4, 0xA8)) | set(range(0xAA, 0xB0))
IMMEDIATE_IO: Final = frozenset(range(0xE4, 0xE8))
REGISTER_IO: Final = frozenset(range(0xEC, 0xF0))
CLI, STI = 0xFA, 0xFB
CLTS, WBINVD, WRMSR, RDTSC, RDMSR, SYSENTER, CPUID = 0xF06, 0xF09, 0xF30, 0xF31, 0xF32, 0xF34, 0xFA2
READ_CR, READ_DR, WRITE_CR, WRITE_DR = 0xF20, 0xF21, 0xF22, 0xF23
RDTSCP = 0xF01F9
_GROUP_7: Final = 0xF01
_MOST_KNOWN: Final = 256

_EMULATED: Final = (
    STRING_IO
    | IMMEDIATE_IO
    | REGISTER_IO
    | {CLI, STI, CLTS, WBINVD, WRMSR, RDTSC, RDMSR, SYSENTER, CPUID, READ_CR, READ_DR, WRITE_CR, WRITE_DR}
    | {RDTSCP}
)


class Truncated(Exception):
    """The instruction goes on after the bytes that could be fetched."""


class Instruction(NamedTuple):
    """`opcode` as 0xFNN for two-byte opcodes; sizes in bits; `reg` and `rm` of ModRM; `segment` overrides
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


class Decoded:
    """Decodes and remembers: a kernel has its privileged instructions in a handful of places."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], Instruction | None] = {}

    def find(self, code: bytes, size: int) -> Instruction | None:
        """As `decode`."""
        try:
            return self._known[code, size]
        except KeyError:
            found = decode(code, size)
        if len(self._known) == _MOST_KNOWN:
            self._known.clear()
        self._known[code, size] = found
        return found


def decode(code: bytes, size: int) -> Instruction | None:
    """The instruction at the start of `code` in a `size`-bit code segment, None if it is not an emulated one.

    Raises Truncated when `code` ends before the instruction does.
    """
    try:
        found = instructions.decode(code, big=size == 32)
    except IndexError:
        if len(code) >= MAX_LENGTH:
            return None
        raise Truncated from None
    opcode = found.opcode
    if opcode == _GROUP_7:
        opcode = opcode << 8 | found.modrm
    if opcode not in _EMULATED or found.length > MAX_LENGTH:
        return None
    prefixes = found.prefixes
    return Instruction(
        opcode,
        found.length,
        48 - size if OPERAND_SIZE in prefixes else size,
        48 - size if ADDRESS_SIZE in prefixes else size,
        found.is_repeated,
        found.is_locked,
        found.segment,
        found.reg,
        found.modrm & 7,
        code[found.length - 1] if opcode in IMMEDIATE_IO else 0,
    )
