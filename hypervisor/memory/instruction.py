"""Instructions that store to memory, decoded: what a kernel may use on its page tables.

The decoder is capstone's; what an instruction does is told in a few words of our own (`Store`), so that the
emulation is a table of small functions. Decoded is every instruction of the integer set whose destination is
memory or the stack, but for those that Xen leaves to the guest's page-fault handler: stores of segment
registers, far calls, INS, and all of x87, MMX and SSE; and but for rotations through the carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from capstone import CS_ARCH_X86, CS_MODE_32, Cs, x86_const

MAX_INSTRUCTION: Final = 15

_REGISTERS: Final = (
    ("eax", "ax", "al", "ah"),
    ("ecx", "cx", "cl", "ch"),
    ("edx", "dx", "dl", "dh"),
    ("ebx", "bx", "bl", "bh"),
    ("esp", "sp", "", ""),
    ("ebp", "bp", "", ""),
    ("esi", "si", "", ""),
    ("edi", "di", "", ""),
)
_BY_NAME: Final = {
    name: (number, 8 if column == 3 else 0)
    for number, names in enumerate(_REGISTERS)
    for column, name in enumerate(names)
    if name
}
ARITHMETIC: Final = frozenset(("add", "adc", "sub", "sbb", "and", "or", "xor"))
SINGLE: Final = frozenset(("inc", "dec", "not", "neg"))
BIT: Final = frozenset(("bts", "btr", "btc"))
SHIFTS: Final = frozenset(("shl", "sal", "shr", "sar", "rol", "ror"))
"""RCL and RCR are missing: the engine has changed CF by the time their store faults."""

DOUBLE_SHIFTS: Final = frozenset(("shld", "shrd"))
STRINGS: Final = frozenset(("movs", "stos"))
_ONE_MEMORY_OPERAND: Final = (
    ARITHMETIC
    | SINGLE
    | BIT
    | SHIFTS
    | DOUBLE_SHIFTS
    | {"mov", "movnti", "movbe", "xchg", "cmpxchg", "cmpxchg8b", "xadd", "pop", "arpl"}
)
_STRING_OPCODES: Final = {0xA4: "movs", 0xA5: "movs", 0xAA: "stos", 0xAB: "stos"}
_STACK: Final = {"pushal": "pusha", "pushaw": "pusha", "pushfd": "pushf", "pushf": "pushf"}
_SETCC: Final = 0x90
_FAR_CALL: Final = 3
"""In the middle of the ModRM byte of opcode 0xFF."""

_LOCK, _REP, _REPNE, _OPERAND_SIZE, _ADDRESS_SIZE = 0xF0, 0xF3, 0xF2, 0x66, 0x67
_OVERRIDES: Final = {0x26: "es", 0x2E: "cs", 0x36: "ss", 0x3E: "ds", 0x64: "fs", 0x65: "gs"}
_REGISTER, _IMMEDIATE, _MEMORY = x86_const.X86_OP_REG, x86_const.X86_OP_IMM, x86_const.X86_OP_MEM
_CACHE_SIZE: Final = 512


@dataclass(frozen=True, slots=True)
class Store:
    """An instruction that writes `size` bytes of memory, or pushes that many (several times, some).

    A memory operand (`has_memory`) is at registers[base] + registers[index] * scale + displacement (-1: no
    such register), under `address_mask`, in `segment`. It is the destination, or what a push or a call reads.
    The source is a register (number, shift of its byte) or `immediate`; a double shift counts by `immediate`,
    or by CL without one (-1). Strings go to ES:EDI, from ESI in `segment`. `code` is SETcc's condition, and
    the nesting level of ENTER.
    """

    name: str
    size: int
    length: int
    has_memory: bool = False
    base: int = -1
    index: int = -1
    scale: int = 1
    displacement: int = 0
    source: tuple[int, int] | None = None
    immediate: int = 0
    locked: bool = False
    repeated: bool = False
    segment: str = "ds"
    address_mask: int = 0xFFFF_FFFF
    code: int = 0


class StoreDecoder:
    """Decodes and remembers: a kernel writes its page tables from a handful of places."""

    def __init__(self) -> None:
        self._engine = Cs(CS_ARCH_X86, CS_MODE_32)
        self._engine.detail = True
        self._known: dict[bytes, Store | None] = {}

    def decode(self, code: bytes) -> Store | None:
        """The store that `code` starts with, or None if it starts with anything else."""
        if code in self._known:
            return self._known[code]
        found = next(self._engine.disasm(code, 0), None)
        store = _read(found) if found is not None else None
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[code] = store
        return store


def _read(found: Any) -> Store | None:
    """A decoded instruction as a `Store`; None if it is no store that is emulated."""
    opcode, name = found.opcode, found.mnemonic.split()[-1]
    string = _STRING_OPCODES.get(opcode[0])
    if string:
        return _string(found, string)
    if found.prefix[0] in (_REP, _REPNE):
        return None
    if opcode[0] == 0x0F and opcode[1] & 0xF0 == _SETCC:
        return _with_memory(found, "set", 1, code=opcode[1] & 15)
    if name in _ONE_MEMORY_OPERAND:
        return _plain(found, name)
    if name in ("push", "call", "enter") or name in _STACK:
        return _stack(found, _STACK.get(name, name))
    return None


def _string(found: Any, name: str) -> Store:
    return Store(
        name,
        found.operands[0].size,
        found.size,
        repeated=found.prefix[0] in (_REP, _REPNE),
        segment=_OVERRIDES.get(found.prefix[1], "ds"),
        address_mask=_address_mask(found),
    )


def _plain(found: Any, name: str) -> Store | None:
    """One memory operand that is written (the second one only by XCHG), and a source."""
    operands = found.operands
    memory = 1 if name == "xchg" and operands[1].type == _MEMORY else 0
    if operands[memory].type != _MEMORY:
        return None
    others = [operand for at, operand in enumerate(operands) if at != memory]
    source, immediate = None, 0
    if others and others[0].type == _IMMEDIATE:
        immediate = others[0].imm
    elif others:
        source = _BY_NAME.get(found.reg_name(others[0].reg))
        if source is None:
            return None
    if name in DOUBLE_SHIFTS:
        immediate = others[1].imm if others[1].type == _IMMEDIATE else -1
    return _with_memory(found, name, operands[memory].size, source=source, immediate=immediate, at=memory)


def _stack(found: Any, name: str) -> Store | None:
    size = 2 if found.prefix[2] == _OPERAND_SIZE else 4
    if found.opcode[0] == 0xFF and found.modrm >> 3 & 7 == _FAR_CALL:
        return None
    if name == "enter":
        frame, level = (operand.imm & 0xFFFF for operand in found.operands)
        return Store(name, size, found.size, immediate=frame, code=level & 31)
    if not found.operands:
        return Store(name, size, found.size)
    operand = found.operands[0]
    if operand.type == _MEMORY:
        return _with_memory(found, name, size)
    if operand.type == _IMMEDIATE:
        return Store(name, size, found.size, immediate=operand.imm)
    source = _BY_NAME.get(found.reg_name(operand.reg))
    return None if source is None else Store(name, size, found.size, source=source)


def _with_memory(
    found: Any,
    name: str,
    size: int,
    *,
    source: tuple[int, int] | None = None,
    immediate: int = 0,
    code: int = 0,
    at: int = 0,
) -> Store | None:
    if found.operands[at].type != _MEMORY:
        return None
    memory = found.operands[at].mem
    base, index = (
        _BY_NAME[found.reg_name(number)][0] if number else -1 for number in (memory.base, memory.index)
    )
    return Store(
        name,
        size,
        found.size,
        True,
        base,
        index,
        memory.scale,
        memory.disp,
        source,
        immediate,
        locked=found.prefix[0] == _LOCK or name == "xchg",
        segment=_OVERRIDES.get(found.prefix[1], "ss" if base in (4, 5) else "ds"),
        address_mask=_address_mask(found),
        code=code,
    )


def _address_mask(found: Any) -> int:
    return 0xFFFF if _ADDRESS_SIZE in found.prefix else 0xFFFF_FFFF
