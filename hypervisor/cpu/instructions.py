"""Where instructions end, and which of them a processor refuses although the engine executes them.

A length decoder over bytes (SDM volume 2, chapter 2 and the opcode maps of appendix A): it is asked about
blocks that the engine has just translated, so all that it is shown are instructions the engine knows.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from paravane.classes import NamedTuple

MAX_LENGTH: Final = 15
LOCK, OPERAND_SIZE, ADDRESS_SIZE = 0xF0, 0x66, 0x67
REPEATS: Final = (0xF2, 0xF3)
SEGMENTS: Final = {0x26: "es", 0x2E: "cs", 0x36: "ss", 0x3E: "ds", 0x64: "fs", 0x65: "gs"}
"""The segment registers that prefixes name."""

IRET, NOP = 0xCF, 0x90
STRING_IO: Final = frozenset(range(0x6C, 0x70))
"""INS and OUTS."""

PREFIXES: Final = frozenset((LOCK, OPERAND_SIZE, ADDRESS_SIZE, *REPEATS, *SEGMENTS))


def _opcodes(text: str) -> frozenset[int]:
    """`10-13 20`: the numbers in these ranges."""
    ranges = [item.partition("-") for item in text.split()]
    return frozenset(
        n for first, _, last in ranges for n in range(int(first, 16), int(last or first, 16) + 1)
    )


# Opcodes as 0xNN, 0x0FNN; all of 0x0F38NN and 0x0F3ANN have ModRM, the latter an immediate byte too.
_MODRM: Final = _opcodes(
    "00-03 08-0b 10-13 18-1b 20-23 28-2b 30-33 38-3b 62 63 69 6b 80-8f c0 c1 c4-c7 d0-d3 d8-df f6 f7 fe ff "
    "f00-f03 f0d f0f-f29 f2a-f2f f40-f76 f78-f7f f90-f9f fa3-fa7 fab-fc7 fd0-fff"
)
_BYTE: Final = _opcodes(
    "04 0c 14 1c 24 2c 34 3c 6a 6b 70-7f 80 82 83 a8 b0-b7 c0 c1 c6 cd d4 d5 e0-e7 eb "
    "f0f f70-f73 fa4 fac fba fc2 fc4-fc6"
)
_WORD: Final = _opcodes("c2 c8 ca 9a ea")
_FULL: Final = _opcodes("05 0d 15 1d 25 2d 35 3d 68 69 81 9a a9 b8-bf c7 e8 e9 ea f80-f8f")
_OFFSET: Final = _opcodes("a0-a3")
_VEX: Final = {0xC4: 2, 0xC5: 1}
_VEX_MAPS: Final = {1: 0xF00, 2: 0xF3800, 3: 0xF3A00}
# MOV to and from control and debug registers takes any ModRM for two registers.
_REGISTERS_ONLY: Final = _opcodes("f20-f23")
_ENTER, _TEST_BYTE, _TEST_FULL = 0xC8, 0xF6, 0xF7

# LOCK is for instructions that read, change and write back memory: opcode -> values of ModRM's reg field.
_LOCKABLE: Final = {
    **dict.fromkeys(_opcodes("00 01 08 09 10 11 18 19 20 21 28 29 30 31 86 87"), range(8)),
    **dict.fromkeys(_opcodes("80-83"), range(7)),
    **dict.fromkeys(_opcodes("f6 f7"), range(2, 4)),
    **dict.fromkeys(_opcodes("fe ff"), range(2)),
    **dict.fromkeys(_opcodes("fab fb0 fb1 fb3 fbb fc0 fc1"), range(8)),
    0xFBA: range(5, 8),
    0xFC7: range(1, 2),
}
_POP: Final = 0x8F
_BIT_TEST: Final = 0xFBA
# The engine takes these with a memory operand too, and as longer or shorter than their bytes say. EXTRQ and
# INSERTQ (SSE4a) are AMD's alone, and not advertised.
_NEVER_MEMORY: Final = frozenset((0xF50, 0xF71, 0xF72, 0xF73))
_MOVE_QUAD: Final = 0xFD6
_SSE4A: Final = frozenset((0xF78, 0xF79))

_STORING_STRINGS: Final = _opcodes("a4 a5 aa ab")
# With an operand in memory: loads of segment registers and tables, and of the FPU's state.
_ENDING: Final = _opcodes("8e c4 c5 f00 f01 fae fb2 fb4 fb5")


class Instruction(NamedTuple):
    """`opcode` as 0xNN, 0xFNN, 0xF38NN or 0xF3ANN; `modrm` is -1 where there is none; `vex` marks AVX's
    encoding."""

    offset: int
    length: int
    prefixes: bytes
    opcode: int
    modrm: int
    vex: bool = False

    @property
    def is_locked(self) -> bool:
        return LOCK in self.prefixes

    @property
    def has_operand_size_prefix(self) -> bool:
        return OPERAND_SIZE in self.prefixes

    @property
    def is_repeated(self) -> bool:
        """It has a REP prefix; only string instructions heed it."""
        return any(prefix in REPEATS for prefix in self.prefixes)

    @property
    def segment(self) -> str | None:
        """The segment register that a prefix names; the last of several counts."""
        named = [SEGMENTS[prefix] for prefix in self.prefixes if prefix in SEGMENTS]
        return named[-1] if named else None

    @property
    def reg(self) -> int:
        """The reg field of ModRM."""
        return self.modrm >> 3 & 7

    @property
    def has_memory_operand(self) -> bool:
        return 0 <= self.modrm < 0xC0


def decode(code: bytes, offset: int = 0, *, big: bool = True) -> Instruction:
    """The instruction at `offset`, in a 32-bit (`big`) or 16-bit code segment. IndexError when cut off."""
    at = offset
    while code[at] in PREFIXES:
        at += 1
    prefixes = code[offset:at]
    opcode = code[at]
    at += 1
    vex = opcode in _VEX and big and code[at] >= 0xC0
    if vex:
        size = _VEX[opcode]
        opcode = _VEX_MAPS.get(code[at] & 0x1F if size == 2 else 1, 0xF00) | code[at + size]
        at += size + 1
    elif opcode == 0x0F:
        opcode = 0xF00 | code[at]
        at += 1
        if opcode in {0xF38, 0xF3A}:
            opcode = opcode << 8 | code[at]
            at += 1
    full = 4 if big != (OPERAND_SIZE in prefixes) else 2
    wide = big != (ADDRESS_SIZE in prefixes)
    modrm = -1
    if opcode in _MODRM or opcode > 0xFFF:
        modrm = code[at]
        at += 1 + (0 if opcode in _REGISTERS_ONLY else _displacement(code, at, wide=wide))
    at += _immediate(opcode, modrm, full, 4 if wide else 2)
    if at > len(code):
        raise IndexError
    return Instruction(offset, at - offset, prefixes, opcode, modrm, vex)


def instructions(code: bytes, *, big: bool) -> Iterator[Instruction]:
    """All of a straight piece of code, up to one that is cut off."""
    at = 0
    with suppress(IndexError):
        while at < len(code):
            found = decode(code, at, big=big)
            yield found
            at += found.length


def is_undefined(instruction: Instruction) -> bool:
    """A processor raises #UD for it, whatever its operands hold, and the engine does not."""
    opcode, reg = instruction.opcode, instruction.reg
    if instruction.vex:
        return True  # what nobody enables: CR4.OSXSAVE cannot be set
    if instruction.is_locked:
        return not (instruction.has_memory_operand and reg in _LOCKABLE.get(opcode, ()))
    if opcode in _NEVER_MEMORY or (opcode == _MOVE_QUAD and instruction.is_repeated):
        return instruction.has_memory_operand
    return (opcode == _POP and reg != 0) or (opcode == _BIT_TEST and reg < 4) or opcode in _SSE4A


def stores_and_goes_on(instruction: Instruction) -> bool:
    """It may store to memory, not by the stack, and no processor state changes for which the engine would end
    a block."""
    opcode = instruction.opcode
    if opcode in _STORING_STRINGS:
        return not instruction.is_repeated
    if opcode == 0xFF and instruction.reg > 1:
        return False
    return opcode in _OFFSET or (instruction.has_memory_operand and opcode not in _ENDING)


def is_pause(instruction: Instruction) -> bool:
    """REP NOP, which waits a little."""
    return instruction.opcode == NOP and REPEATS[1] in instruction.prefixes


def _displacement(code: bytes, at: int, *, wide: bool) -> int:
    """Bytes of SIB and displacement after the ModRM byte at `at`."""
    mod, rm = code[at] >> 6, code[at] & 7
    if mod == 3:
        return 0
    if not wide:
        return 2 if mod == 2 or (mod == 0 and rm == 6) else mod
    sib = int(rm == 4)
    base = code[at + 1] & 7 if sib else rm
    return sib + (4 if mod == 2 or (mod == 0 and base == 5) else mod)


def _immediate(opcode: int, modrm: int, full: int, address: int) -> int:
    """Bytes of immediate operands."""
    if opcode in {_TEST_BYTE, _TEST_FULL}:
        tests = modrm >> 3 & 7 < 2
        return (1 if opcode == _TEST_BYTE else full) * tests
    size = opcode in _BYTE or opcode == _ENTER or opcode >> 8 == 0xF3A
    return size + 2 * (opcode in _WORD) + full * (opcode in _FULL) + address * (opcode in _OFFSET)
