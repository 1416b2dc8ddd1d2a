"""One instruction to bytes: Keystone gets canonical text, and memory operands are put in here.

Keystone sees every memory operand as the same placeholder; ModRM, SIB, displacement, segment override and
the order of prefixes are written here, so they are GNU as's and symbolic fields have known places. Few texts
are left, and their answers are cached.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.asm import keystone_backend, modrm
from paravane.asm.diagnostics import SourceError
from paravane.asm.mnemonics import KNOWN, MNEMONICS, Mnemonic
from paravane.asm.operands import DEBUG, REG8, REG16, REG32, SREG, Immediate, Memory, Operands, Register

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.asm.model import Node

_PLACE = 0x6D5B4A39  # the displacement that stands for a memory operand
_PLACE_BYTES = _PLACE.to_bytes(4, "little")
_MARKERS = {8: 0x5A, 16: 0x5A3C, 32: 0x7E5A4B3C}  # an immediate only the linker knows
_WIDTHS = {"b": 8, "w": 16, "l": 32}
_REGISTER_WIDTHS = {REG8: 8, REG16: 16, REG32: 32, SREG: 16}
_BY_SOURCE = frozenset(("bt", "btc", "btr", "bts", "shld", "shrd"))  # the source register gives the size
_ORDER = {0x2E: 0, 0x36: 0, 0x3E: 0, 0x26: 0, 0x64: 0, 0x65: 0, 0x67: 1, 0x66: 2, 0xF2: 3, 0xF3: 3, 0xF0: 4}


@dataclass(frozen=True, slots=True)
class Field:
    """`width` bytes at `offset` that take a value later; `relative` ones minus the address behind them."""

    offset: int
    width: int
    value: Node
    start: int
    end: int
    relative: bool = False


@dataclass(slots=True)
class Encoded:
    data: bytes
    fields: list[Field] = field(default_factory=list)


@dataclass(slots=True)
class Context:
    """What an encoder needs besides the operands: where the mnemonic stands, and a way to warn."""

    name: str
    start: int
    warn: Callable[[str, int, int], None]
    is_branch: bool = False  # a direct jump or call: its operand is no memory reference

    def error(self, message: str, operands: Operands | None = None) -> SourceError:
        if operands is None or not operands.items:
            return SourceError(message, self.start, self.start + len(self.name))
        return SourceError(message, operands.start, operands.end)


def unknown(name: str) -> str:
    """The message for a word that is no instruction."""
    close = difflib.get_close_matches(name, KNOWN, 1)
    return f"unknown instruction `{name}`" + (f"; did you mean `{close[0]}`?" if close else "")


def encode(context: Context, operands: Operands) -> Encoded:
    """Encodes what Keystone can say. Raises SourceError."""
    mnemonic = MNEMONICS[context.name]
    name, mnemonic = _with_suffix(context, mnemonic, operands)
    items = operands.items
    memory = _only_memory(context, operands)
    if memory is not None and mnemonic.base == "mov":
        short = _accumulator_move(items, mnemonic, memory)
        if short is not None:
            return short
    width = _immediate_width(mnemonic, items)
    strict = width == 32 or mnemonic.immediate != 0
    text, symbolic = _render(context, name, operands, width, strict)
    data = keystone_backend.encode(text)
    if data is None:
        raise context.error(f"`{context.name}` does not take these operands", operands)
    encoded = Encoded(data) if memory is None else insert_memory(data, memory)
    if symbolic is not None:
        _add_immediate_field(context, encoded, symbolic, width, operands)
    return encoded


def _with_suffix(context: Context, mnemonic: Mnemonic, operands: Operands) -> tuple[str, Mnemonic]:
    """The mnemonic with a size where neither suffix nor register gives one, as GNU as assumes it."""
    if mnemonic.suffix or not mnemonic.default or not any(isinstance(o, Memory) for o in operands.items):
        return context.name, mnemonic
    if mnemonic.base in _BY_SOURCE and isinstance(operands.items[0], Register):
        name = context.name + ("w" if operands.items[0].kind == REG16 else "l")
        return name, MNEMONICS[name]
    sized = operands.items[1:] if mnemonic.immediate == 8 else operands.items
    if any(isinstance(operand, Register) for operand in sized):
        return context.name, mnemonic
    name = context.name + mnemonic.default
    context.warn(f"no operand size given: `{name}` assumed", context.start, context.start + len(context.name))
    return name, MNEMONICS[name]


def _only_memory(context: Context, operands: Operands) -> Memory | None:
    found = [operand for operand in operands.items if isinstance(operand, Memory)]
    if len(found) > 1:
        raise context.error(f"`{context.name}` takes one memory operand at most", operands)
    return found[0] if found else None


def _accumulator_move(items: tuple[object, ...], mnemonic: Mnemonic, memory: Memory) -> Encoded | None:
    """MOV between al, ax or eax and a bare address: opcodes A0-A3, without ModRM."""
    if len(items) != 2 or not memory.is_bare:
        return None
    register = items[0] if items[1] is memory else items[1]
    if not isinstance(register, Register) or register.number or register.kind not in (REG8, REG16, REG32):
        return None
    width = _REGISTER_WIDTHS[register.kind]
    if mnemonic.suffix and _WIDTHS[mnemonic.suffix] != width:
        return None
    opcode = 0xA0 | (width != 8) | (2 if items[1] is memory else 0)
    prefix = modrm.override(memory) + (b"\x66" if width == 16 else b"")
    value = 0 if memory.value is None else modrm.signed32(memory.value, memory)
    encoded = Encoded(prefix + bytes([opcode]) + value.to_bytes(4, "little", signed=True))
    if memory.value is None:
        where = len(prefix) + 1
        encoded.fields.append(Field(where, 4, memory.displacement, memory.start, memory.end))
    return encoded


def _immediate_width(mnemonic: Mnemonic, items: tuple[object, ...]) -> int:
    """Bits of the immediate operand of these operands."""
    if mnemonic.immediate:
        return mnemonic.immediate
    if mnemonic.suffix in _WIDTHS:
        return _WIDTHS[mnemonic.suffix]
    for operand in reversed(items):
        if isinstance(operand, Register) and operand.kind in _REGISTER_WIDTHS:
            return _REGISTER_WIDTHS[operand.kind]
    return 32


def _render(
    context: Context, name: str, operands: Operands, width: int, strict: bool
) -> tuple[str, Immediate | None]:
    """Keystone's text, and the immediate that is only a marker in it."""
    parts, symbolic = [], None
    for operand in operands.items:
        if isinstance(operand, Register):
            parts.append("%" + (f"dr{operand.number}" if operand.kind == DEBUG else operand.name))
        elif isinstance(operand, Memory):
            parts.append(f"0x{_PLACE:x}(%ecx)")
        elif operand.value is not None:
            parts.append(f"$0x{immediate(context, operand, width, strict):x}")
        elif symbolic is not None:
            raise context.error("only one operand may be a symbol here", operands)
        else:
            symbolic = operand
            parts.append(f"$0x{_MARKERS[width]:x}")
    star = "*" if operands.indirect else ""
    return f"{name} {star}{', '.join(parts)}".rstrip(), symbolic


def immediate(context: Context, operand: Immediate, width: int, strict: bool = True) -> int:
    """A known immediate as an unsigned number of `width` bits.

    What does not fit is an error when `strict`, else cut with a warning: GNU as does both, by instruction.
    """
    value = operand.value or 0
    lowest = -(1 << 32) if width == 32 else -(1 << (width - 1))
    if not lowest <= value < 1 << width:
        if strict:
            raise SourceError(f"the number does not fit into {width} bits", operand.start, operand.end)
        short = value & ((1 << width) - 1)
        context.warn(f"0x{value & (1 << 64) - 1:x} shortened to 0x{short:x}", operand.start, operand.end)
    return value & ((1 << width) - 1)


def _add_immediate_field(
    context: Context, encoded: Encoded, symbolic: Immediate, width: int, operands: Operands
) -> None:
    """Replaces the marker at the end by a field."""
    size = width // 8
    marker = _MARKERS[width].to_bytes(size, "little")
    if not encoded.data.endswith(marker):
        raise context.error(f"`{context.name}` does not take a symbol here", operands)
    where = len(encoded.data) - size
    encoded.data = encoded.data[:where] + bytes(size)
    encoded.fields.append(Field(where, size, symbolic.node, symbolic.start, symbolic.end))


def insert_memory(data: bytes, memory: Memory) -> Encoded:
    """Puts the real memory operand in the place of the placeholder; prefixes go in front."""
    place = data.find(_PLACE_BYTES)
    if place < 1 or data[place - 1] & 0xC7 != 0x81:
        raise SourceError("this instruction takes no memory operand", memory.start, memory.end)
    return splice(data[: place - 1], data[place - 1] >> 3 & 7, memory, data[place + 4 :])


def splice(opcode: bytes, register: int, memory: Memory, rest: bytes) -> Encoded:
    """Opcode, memory operand and what follows it as one instruction."""
    operand = modrm.encode(memory, register)
    prefix = modrm.override(memory) + (b"\x67" if modrm.is_16bit(memory) else b"")
    head = add_prefixes(opcode, prefix)
    encoded = Encoded(head + operand.data + rest)
    if operand.field is not None:
        where = len(head) + operand.field
        encoded.fields.append(Field(where, operand.width, memory.displacement, memory.start, memory.end))
    return encoded


def add_prefixes(data: bytes, prefixes: bytes) -> bytes:
    """Adds prefixes to an instruction, all in GNU as's order: WAIT, segment, 67, 66, F2/F3, F0."""
    wait = data[:1] if data[:1] == b"\x9b" and len(data) > 1 else b""
    body = data[len(wait) :]
    count = 0
    while count < len(body) - 1 and body[count] in _ORDER:
        count += 1
    both = sorted(prefixes + body[:count], key=_ORDER.__getitem__)
    return wait + bytes(both) + body[count:]
