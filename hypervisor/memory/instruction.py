"""Instructions that store to memory, as far as kernels use them on page tables: decoding and arithmetic.

The decoder is capstone's; what an instruction does is told in a few words of our own (`Store`), so that the
emulation is a table of small functions. Flags are those of Intel SDM volume 1, appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from capstone import CS_ARCH_X86, CS_MODE_32, Cs, x86_const

from paravane.x86 import Eflags

if TYPE_CHECKING:
    from collections.abc import Callable

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
_PLAIN: Final = ARITHMETIC | SINGLE | BIT | {"mov", "movnti", "xchg", "cmpxchg", "cmpxchg8b", "xadd"}
_STRING_OPCODES: Final = {0xA4: "movs", 0xA5: "movs", 0xAA: "stos", 0xAB: "stos"}
_LOCK, _REP, _REPNE, _ADDRESS_SIZE = 0xF0, 0xF3, 0xF2, 0x67
_OVERRIDES: Final = {0x26: "es", 0x2E: "cs", 0x36: "ss", 0x3E: "ds", 0x64: "fs", 0x65: "gs"}
_SELECTORS: Final = frozenset(("", "es", "cs", "ss", "ds", "fs", "gs"))
_REGISTER: Final = x86_const.X86_OP_REG
_CACHE_SIZE: Final = 512


@dataclass(frozen=True, slots=True)
class Store:
    """An instruction that writes `size` bytes of memory.

    The address is registers[base] + registers[index] * scale + displacement (-1: no such register) in
    `segment`. The source is a register (number, shift of its byte), the segment register `selector` or,
    without either, `immediate`. Strings go to ES:EDI, from ESI in `segment`.
    """

    name: str
    size: int
    length: int
    base: int = -1
    index: int = -1
    scale: int = 1
    displacement: int = 0
    source: tuple[int, int] | None = None
    immediate: int = 0
    locked: bool = False
    repeated: bool = False
    segment: str = "ds"
    selector: str = ""


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
    if _ADDRESS_SIZE in found.prefix:
        return None
    locked, repeated = found.prefix[0] == _LOCK, found.prefix[0] in (_REP, _REPNE)
    string = _STRING_OPCODES.get(found.opcode[0])
    if string:
        override = _OVERRIDES.get(found.prefix[1], "ds")
        return Store(string, found.operands[0].size, found.size, repeated=repeated, segment=override)
    name = found.mnemonic.split()[-1]
    if name not in _PLAIN or not found.operands or repeated:
        return None
    memory, others = _split(name, found.operands)
    if memory is None:
        return None
    source, immediate = _source(found, others)
    selector = "" if source or not others or others[0].type != _REGISTER else found.reg_name(others[0].reg)
    if selector not in _SELECTORS:
        return None
    stack = memory.mem.base in (x86_const.X86_REG_ESP, x86_const.X86_REG_EBP)
    return Store(
        name,
        2 if selector else memory.size,
        found.size,
        _number(found, memory.mem.base),
        _number(found, memory.mem.index),
        memory.mem.scale,
        memory.mem.disp,
        source,
        immediate,
        locked or name == "xchg",
        segment=_OVERRIDES.get(found.prefix[1], "ss" if stack else "ds"),
        selector=selector,
    )


def _split(name: str, operands: list[Any]) -> tuple[Any | None, list[Any]]:
    """The memory operand that is written, and the rest. The second operand is only read, except by XCHG."""
    if operands[0].type == x86_const.X86_OP_MEM:
        return operands[0], operands[1:]
    if name == "xchg" and operands[1].type == x86_const.X86_OP_MEM:
        return operands[1], operands[:1]
    return None, []


def _source(found: Any, others: list[Any]) -> tuple[tuple[int, int] | None, int]:
    if not others:
        return None, 0
    if others[0].type == x86_const.X86_OP_IMM:
        return None, others[0].imm
    return _BY_NAME.get(found.reg_name(others[0].reg)), 0


def _number(found: Any, register: int) -> int:
    return _BY_NAME[found.reg_name(register)][0] if register else -1


def compute(name: str, old: int, operand: int, size: int, flags: int) -> tuple[int, int]:
    """What `old` becomes under arithmetic `name` with `operand`, and EFLAGS after it."""
    mask = (1 << 8 * size) - 1
    operand &= mask
    if name in ("inc", "dec"):
        result, after = compute("add" if name == "inc" else "sub", old, 1, size, flags)
        return result, after & ~Eflags.CF | flags & Eflags.CF
    if name == "not":
        return ~old & mask, flags
    if name == "neg":
        return compute("sub", 0, old, size, flags)
    carry = flags & 1 if name in ("adc", "sbb") else 0
    if name in ("add", "adc"):
        return _sum(old, operand, carry, size, flags)
    if name in ("sub", "sbb", "cmp"):
        return _difference(old, operand, carry, size, flags)
    result = _LOGIC[name](old, operand)
    return result, _with_flags(flags, result, size, carry=False, auxiliary=False, overflow=False)


_LOGIC: Final[dict[str, Callable[[int, int], int]]] = {
    "and": lambda old, operand: old & operand,
    "or": lambda old, operand: old | operand,
    "xor": lambda old, operand: old ^ operand,
}


def _sum(old: int, operand: int, carry: int, size: int, flags: int) -> tuple[int, int]:
    mask, sign = (1 << 8 * size) - 1, 1 << 8 * size - 1
    result = old + operand + carry & mask
    after = _with_flags(
        flags,
        result,
        size,
        carry=old + operand + carry > mask,
        auxiliary=bool((old ^ operand ^ result) & 16),
        overflow=bool(~(old ^ operand) & (old ^ result) & sign),
    )
    return result, after


def _difference(old: int, operand: int, borrow: int, size: int, flags: int) -> tuple[int, int]:
    mask, sign = (1 << 8 * size) - 1, 1 << 8 * size - 1
    result = old - operand - borrow & mask
    after = _with_flags(
        flags,
        result,
        size,
        carry=old < operand + borrow,
        auxiliary=bool((old ^ operand ^ result) & 16),
        overflow=bool((old ^ operand) & (old ^ result) & sign),
    )
    return result, after


def _with_flags(flags: int, result: int, size: int, *, carry: bool, auxiliary: bool, overflow: bool) -> int:
    flags &= ~(Eflags.CF | Eflags.PF | Eflags.AF | Eflags.ZF | Eflags.SF | Eflags.OF)
    flags |= Eflags.CF if carry else 0
    flags |= 0 if (result & 0xFF).bit_count() & 1 else Eflags.PF
    flags |= Eflags.AF if auxiliary else 0
    flags |= 0 if result else Eflags.ZF
    flags |= Eflags.SF if result >> 8 * size - 1 & 1 else 0
    flags |= Eflags.OF if overflow else 0
    return flags
