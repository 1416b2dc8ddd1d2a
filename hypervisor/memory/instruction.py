"""Instructions that store to memory, decoded: what a kernel may use on its page tables.

The processor's decoder tells the parts of an instruction; what it does is told in a few words of our own
(`Store`), so that the emulation is a table of small functions. Decoded is every instruction of the integer
set whose destination is memory or the stack, but for those that Xen leaves to the guest's page-fault handler:
stores of segment and system registers, far calls, INS, and all of x87, MMX and SSE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paravane.classes import NamedTuple, dataclass
from paravane.cpu.instructions import ADDRESS_SIZE, MAX_LENGTH, OPERAND_SIZE, REPEATS, Instruction
from paravane.cpu.instructions import decode as decode_instruction
from paravane.cpu.operands import absolute_operand, memory_operand

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu.operands import MemoryOperand

ARITHMETIC: Final = frozenset(("add", "adc", "sub", "sbb", "and", "or", "xor"))
SINGLE: Final = frozenset(("inc", "dec", "not", "neg"))
BIT: Final = frozenset(("bts", "btr", "btc"))
SHIFTS: Final = frozenset(("shl", "shr", "sar", "rol", "ror", "rcl", "rcr"))
DOUBLE_SHIFTS: Final = frozenset(("shld", "shrd"))
STRINGS: Final = frozenset(("movs", "stos"))

_CACHE_SIZE: Final = 512
_BYTE, _DOUBLE, _QUAD = 1, 4, 8
_ACCUMULATOR, _CL = (0, 0), (1, 0)
BY_CL: Final = -1
"""In place of the count of a double shift."""

# Names by ModRM's reg field.
_ARITHMETIC_NAMES: Final = ("add", "or", "adc", "sbb", "and", "sub", "xor")
_SHIFT_NAMES: Final = ("rol", "ror", "rcl", "rcr", "shl", "shr", "shl", "sar")


@dataclass(frozen=True, slots=True)
class Store:
    """An instruction that writes `size` bytes of memory, or pushes that many (several times, some).

    `memory` is the destination, or what a push or a call reads, and lies in `segment`. The source is a
    register (number, shift of its byte) or `immediate`; a double shift counts by `immediate`. Strings go to
    ES:EDI, from ESI in `segment`, under `address_mask`. `code` is SETcc's condition, and the nesting level of
    ENTER.
    """

    name: str
    size: int
    length: int
    memory: MemoryOperand | None = None
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
        self._known: dict[tuple[bytes, bool], Store | None] = {}

    def decode(self, code: bytes, *, big: bool = True) -> Store | None:
        """The store that `code` starts with, in a 32-bit (`big`) or 16-bit code segment; None if it starts
        with anything else."""
        try:
            return self._known[code, big]
        except KeyError:
            store = _decode(code, big)
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[code, big] = store
        return store


class _Parts(NamedTuple):
    """An instruction with its bytes, in a 32-bit (`big`) or 16-bit code segment."""

    code: bytes
    found: Instruction
    big: bool

    @property
    def word(self) -> int:
        """Bytes of an operand that is a word or a double word."""
        return 4 if self.big != (OPERAND_SIZE in self.found.prefixes) else 2

    @property
    def size(self) -> int:
        """Bytes of an operand that the lowest bit of the opcode tells to be a byte or not."""
        return self.word if self.found.opcode & 1 else _BYTE

    @property
    def address_mask(self) -> int:
        return 0xFFFF_FFFF if self.big != (ADDRESS_SIZE in self.found.prefixes) else 0xFFFF

    def immediate(self, size: int, *, before: int = 0) -> int:
        """The `size` bytes that end `before` bytes before the instruction does, sign-extended."""
        end = self.found.length - before
        return int.from_bytes(self.code[end - size : end], "little", signed=True)

    def register(self, size: int) -> tuple[int, int]:
        """What ModRM's reg field names: number and shift, as `Store.source` has it."""
        reg = self.found.reg
        return (reg & 3, 8 * (reg >> 2)) if size == _BYTE else (reg, 0)

    def to_memory(self, name: str, size: int, **rest: Any) -> Store | None:
        """A `Store` with the memory operand of ModRM; None when that names a register."""
        found = self.found
        if not found.has_memory_operand:
            return None
        memory = memory_operand(self.code, found, big=self.big)
        locked = found.is_locked or name == "xchg"
        segment = found.segment or memory.segment
        return Store(name, size, found.length, memory, locked=locked, segment=segment, **rest)

    def to_stack(self, name: str, size: int, **rest: Any) -> Store:
        """A `Store` without a memory operand."""
        return Store(name, size, self.found.length, **rest)


def _decode(code: bytes, big: bool) -> Store | None:
    try:
        found = decode_instruction(code, big=big)
    except IndexError:
        return None
    form = _FORMS.get(found.opcode)
    if form is None or found.vex or found.length > MAX_LENGTH:
        return None
    return form(_Parts(code, found, big))


def _arithmetic(parts: _Parts) -> Store | None:
    name = _ARITHMETIC_NAMES[parts.found.opcode >> 3]
    return parts.to_memory(name, parts.size, source=parts.register(parts.size))


def _group_1(parts: _Parts) -> Store | None:
    """Arithmetic with an immediate operand: as long as the other one for opcode 0x81, else a byte."""
    if parts.found.reg >= len(_ARITHMETIC_NAMES):
        return None
    immediate = parts.immediate(parts.word if parts.found.opcode == _FULL_IMMEDIATE else _BYTE)
    return parts.to_memory(_ARITHMETIC_NAMES[parts.found.reg], parts.size, immediate=immediate)


def _shift_by_immediate(parts: _Parts) -> Store | None:
    return parts.to_memory(_SHIFT_NAMES[parts.found.reg], parts.size, immediate=parts.immediate(_BYTE))


def _shift_by_one(parts: _Parts) -> Store | None:
    return parts.to_memory(_SHIFT_NAMES[parts.found.reg], parts.size, immediate=1)


def _shift_by_cl(parts: _Parts) -> Store | None:
    return parts.to_memory(_SHIFT_NAMES[parts.found.reg], parts.size, source=_CL)


def _from_register(name: str) -> Callable[[_Parts], Store | None]:
    return lambda parts: parts.to_memory(name, parts.size, source=parts.register(parts.size))


def _word_from_register(name: str, *refused: int) -> Callable[[_Parts], Store | None]:
    """Whose opcode tells no size. With one of the prefixes `refused` it is another instruction, or none."""

    def form(parts: _Parts) -> Store | None:
        if any(prefix in refused for prefix in parts.found.prefixes):
            return None
        return parts.to_memory(name, parts.word, source=parts.register(parts.word))

    return form


def _move_immediate(parts: _Parts) -> Store | None:
    if parts.found.reg != 0:
        return None
    return parts.to_memory("mov", parts.size, immediate=parts.immediate(parts.size))


def _move_absolute(parts: _Parts) -> Store:
    """The accumulator, to an address that is no ModRM's."""
    found, mask = parts.found, parts.address_mask
    memory = absolute_operand(parts.immediate(mask.bit_length() // 8), mask)
    return Store("mov", parts.size, found.length, memory, _ACCUMULATOR, segment=found.segment or "ds")


def _arpl(parts: _Parts) -> Store | None:
    return parts.to_memory("arpl", 2, source=parts.register(2))


def _pop(parts: _Parts) -> Store | None:
    return parts.to_memory("pop", parts.word) if parts.found.reg == 0 else None


def _group_3(parts: _Parts) -> Store | None:
    name = {2: "not", 3: "neg"}.get(parts.found.reg)
    return parts.to_memory(name, parts.size) if name else None


def _group_4_and_5(parts: _Parts) -> Store | None:
    """INC and DEC; of opcode 0xFF also near calls and pushes, whose operand may be a register."""
    found = parts.found
    if found.reg < 2:
        return parts.to_memory(("inc", "dec")[found.reg], parts.size)
    name = {2: "call", 6: "push"}.get(found.reg)
    if name is None or parts.size == _BYTE:
        return None
    return parts.to_memory(name, parts.word) or parts.to_stack(name, parts.word, source=(found.modrm & 7, 0))


def _set(parts: _Parts) -> Store | None:
    return parts.to_memory("set", _BYTE, code=parts.found.opcode & 15)


def _double_shift(parts: _Parts) -> Store | None:
    opcode = parts.found.opcode
    name = "shld" if opcode in (0xFA4, 0xFA5) else "shrd"
    count = BY_CL if opcode & 1 else parts.immediate(_BYTE) & 0xFF
    return parts.to_memory(name, parts.word, source=parts.register(parts.word), immediate=count)


def _group_8(parts: _Parts) -> Store | None:
    """A bit by its number; BT itself writes nothing."""
    name = {5: "bts", 6: "btr", 7: "btc"}.get(parts.found.reg)
    return parts.to_memory(name, parts.word, immediate=parts.immediate(_BYTE)) if name else None


def _group_9(parts: _Parts) -> Store | None:
    return parts.to_memory("cmpxchg8b", _QUAD) if parts.found.reg == 1 else None


def _push_register(parts: _Parts) -> Store:
    return parts.to_stack("push", parts.word, source=(parts.found.opcode & 7, 0))


def _push_immediate(parts: _Parts) -> Store:
    size = _BYTE if parts.found.opcode == _PUSH_BYTE else parts.word
    return parts.to_stack("push", parts.word, immediate=parts.immediate(size))


def _plain_push(name: str) -> Callable[[_Parts], Store]:
    return lambda parts: parts.to_stack(name, parts.word)


def _call(parts: _Parts) -> Store:
    """Relative to the next instruction."""
    return parts.to_stack("call", parts.word, immediate=parts.immediate(parts.word))


def _enter(parts: _Parts) -> Store:
    frame, level = parts.immediate(2, before=1) & 0xFFFF, parts.immediate(_BYTE) & 31
    return parts.to_stack("enter", parts.word, immediate=frame, code=level)


def _string(name: str) -> Callable[[_Parts], Store]:
    return lambda parts: parts.to_stack(
        name,
        parts.size,
        repeated=parts.found.is_repeated,
        segment=parts.found.segment or "ds",
        address_mask=parts.address_mask,
    )


_FULL_IMMEDIATE, _PUSH_BYTE = 0x81, 0x6A
_FORMS: Final[dict[int, Callable[[_Parts], Store | None]]] = {
    **dict.fromkeys((row << 3 | low for row in range(7) for low in (0, 1)), _arithmetic),
    **dict.fromkeys(range(0x50, 0x58), _push_register),
    0x60: _plain_push("pusha"),
    0x63: _arpl,
    0x68: _push_immediate,
    _PUSH_BYTE: _push_immediate,
    **dict.fromkeys(range(0x80, 0x84), _group_1),
    **dict.fromkeys((0x86, 0x87), _from_register("xchg")),
    **dict.fromkeys((0x88, 0x89), _from_register("mov")),
    0x8F: _pop,
    0x9C: _plain_push("pushf"),
    **dict.fromkeys((0xA2, 0xA3), _move_absolute),
    **dict.fromkeys((0xA4, 0xA5), _string("movs")),
    **dict.fromkeys((0xAA, 0xAB), _string("stos")),
    **dict.fromkeys((0xC0, 0xC1), _shift_by_immediate),
    **dict.fromkeys((0xC6, 0xC7), _move_immediate),
    0xC8: _enter,
    **dict.fromkeys((0xD0, 0xD1), _shift_by_one),
    **dict.fromkeys((0xD2, 0xD3), _shift_by_cl),
    0xE8: _call,
    **dict.fromkeys((0xF6, 0xF7), _group_3),
    **dict.fromkeys((0xFE, 0xFF), _group_4_and_5),
    **dict.fromkeys(range(0xF90, 0xFA0), _set),
    **dict.fromkeys((0xFA4, 0xFA5, 0xFAC, 0xFAD), _double_shift),
    0xFAB: _word_from_register("bts"),
    0xFB3: _word_from_register("btr"),
    0xFBB: _word_from_register("btc"),
    0xFBA: _group_8,
    **dict.fromkeys((0xFB0, 0xFB1), _from_register("cmpxchg")),
    **dict.fromkeys((0xFC0, 0xFC1), _from_register("xadd")),
    0xFC3: _word_from_register("movnti", OPERAND_SIZE, *REPEATS),
    0xFC7: _group_9,
    0xF38F1: _word_from_register("movbe", *REPEATS),
}
