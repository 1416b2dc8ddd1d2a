"""One instruction to bytes: the form of the table that takes its operands, and the operands in their places.

Symbolic displacements and immediates are zeros in the bytes, with a field that says what goes there later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.asm import modrm
from paravane.asm.diagnostics import SourceError
from paravane.asm.forms import ADDRESS, BOTH, LOW, REG, RM, forms
from paravane.asm.model import Reference
from paravane.asm.operands import REGISTERS, Immediate, Memory, Operands, Register

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.asm.forms import Form
    from paravane.asm.model import Node

_ORDER = {0x2E: 0, 0x36: 0, 0x3E: 0, 0x26: 0, 0x64: 0, 0x65: 0, 0x67: 1, 0x66: 2, 0xF2: 3, 0xF3: 3, 0xF0: 4}
_STACK = frozenset(("push", "pop", "jmp", "call", "ljmp", "lcall", "lgdt", "lidt", "sgdt", "sidt"))
"""Instructions whose size is that of the code unless said otherwise: nobody needs a warning."""


@dataclass(frozen=True, slots=True)
class Field:
    """`width` bytes at `offset` that take a value later; `relative` ones minus the address past them."""

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
    """What an encoder needs besides the operands: the mnemonic, where it stands, and a way to warn.

    `direction` is the operand that ModRM.reg takes where two registers leave the choice: `load` the
    destination, `store` the source, `swap` the one that GNU as would not choose. `displacement` is the width
    in bits that a displacement is to have, 0 for as few as it needs.
    """

    name: str
    start: int
    warn: Callable[[str, int, int], None]
    is_branch: bool = False  # a direct jump or call: its operand is no memory reference
    direction: str = ""
    displacement: int = 0

    def error(self, message: str, operands: Operands | None = None) -> SourceError:
        if operands is None or not operands.items:
            return SourceError(message, self.start, self.start + len(self.name))
        return SourceError(message, operands.start, operands.end)

    def refuse(self, operands: Operands) -> SourceError:
        """The error for operands that no form of the instruction takes."""
        if sum(isinstance(operand, Memory) for operand in operands.items) > 1 and not _looks_like_intel(
            operands
        ):
            return self.error(f"`{self.name}` takes one memory operand at most", operands)
        hint = "; registers are written `%eax` and numbers `$1`" if _looks_like_intel(operands) else ""
        return self.error(f"`{self.name}` does not take these operands{hint}", operands)


def _looks_like_intel(operands: Operands) -> bool:
    return any(
        isinstance(operand, Memory)
        and operand.is_bare
        and isinstance(operand.displacement, Reference)
        and operand.displacement.symbol.name.lower() in REGISTERS
        for operand in operands.items
    )


def encode(context: Context, operands: Operands) -> Encoded:
    """The bytes of an instruction of the table. Raises SourceError."""
    fitting = [
        form
        for form in forms(context.name)
        if form.indirect == operands.indirect and form.takes(operands.items)
    ]
    if not fitting:
        raise context.refuse(operands)
    return _emit(context, _choose(context, fitting, operands), operands.items)


def _choose(context: Context, fitting: Sequence[Form], operands: Operands) -> Form:
    """The form GNU as prefers. Where neither suffix nor register gives a size, it takes 32 bits, or a short
    real."""
    sizes = {form.suffix for form in fitting}
    if len(sizes) > 1:
        default = "s" if "s" in sizes else "l"
        if default not in sizes:
            raise context.error(f"`{context.name}` needs a size suffix with these operands", operands)
        fitting = [form for form in fitting if form.suffix == default]
        if context.name not in _STACK:
            end = context.start + len(context.name)
            context.warn(f"no operand size given: `{context.name}{default}` assumed", context.start, end)
    if context.direction:
        fitting = _directed(context.direction, fitting)
    return fitting[0]


def _directed(direction: str, fitting: Sequence[Form]) -> Sequence[Form]:
    """Of two forms that differ in which register ModRM.reg takes, the one asked for; else what there is."""
    pairs = [form for form in fitting if {slot.place for slot in form.slots} >= {REG, RM}]
    if len(pairs) < 2:
        return fitting
    if direction == "swap":
        return pairs[1:]
    wanted = REG if direction == "load" else RM
    return [form for form in pairs if form.slots[-1].place == wanted] or fitting


def _emit(context: Context, form: Form, items: Sequence[Register | Immediate | Memory]) -> Encoded:
    opcode, reg, rm = bytearray(form.opcode), max(form.digit, 0), 0
    memory: Memory | None = None
    immediates: list[tuple[Immediate, int, bool]] = []
    for slot, operand in zip(form.slots, items, strict=True):
        if isinstance(operand, Memory):
            memory = None if operand.base is REGISTERS["dx"] else operand
        elif isinstance(operand, Immediate):
            if slot.number is None:
                immediates.append((operand, slot.width, slot.strict))
        elif slot.place == LOW:
            opcode[-1] |= operand.number
        else:
            reg = operand.number if slot.place in (REG, BOTH) else reg
            rm = operand.number if slot.place in (RM, BOTH) else rm
    encoded = _head(form, bytes(opcode), reg, rm, memory, context.displacement)
    for operand, width, strict in immediates:
        append_immediate(context, encoded, operand, width, strict=strict, size=form.width)
    return encoded


def _head(form: Form, opcode: bytes, reg: int, rm: int, memory: Memory | None, width: int) -> Encoded:
    """The instruction up to its immediates."""
    if form.has_modrm and memory is not None:
        return splice(opcode, reg, memory, form.tail, width)
    if form.has_modrm:
        return Encoded(opcode + bytes([0xC0 | reg << 3 | rm]) + form.tail)
    if memory is None:
        return Encoded(opcode)
    prefix = modrm.override(memory) + (b"\x67" if modrm.is_16bit(memory) or width == 16 else b"")
    encoded = Encoded(add_prefixes(opcode, prefix))
    if any(slot.place == ADDRESS for slot in form.slots):
        size = 2 if width == 16 else 4
        if memory.value is None:
            where = len(encoded.data)
            encoded.fields.append(Field(where, size, memory.displacement, memory.start, memory.end))
        value = 0 if memory.value is None else modrm.signed32(memory.value, memory)
        encoded.data += (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return encoded


def append_immediate(
    context: Context, encoded: Encoded, operand: Immediate, width: int, *, strict: bool, size: int = 0
) -> None:
    """Puts an immediate of `width` bits at the end. `size` is the operand size it is a number of, when that
    is larger: the processor extends the sign."""
    count = width // 8
    if operand.value is None:
        encoded.fields.append(Field(len(encoded.data), count, operand.node, operand.start, operand.end))
        encoded.data += bytes(count)
        return
    full = width
    if width == 8 and size > 8 and (not strict or size == 32 and (operand.value or 0) >> 7 == 0x1FFFFFF):
        full = size  # the processor extends the sign, or -1 was written as a number of 32 bits
    value = immediate(context, operand, full, strict or full == 32)
    encoded.data += (value & (1 << width) - 1).to_bytes(count, "little")


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


def splice(opcode: bytes, register: int, memory: Memory, rest: bytes, width: int = 0) -> Encoded:
    """Opcode, memory operand and what follows it as one instruction; `width` as in `modrm.encode`."""
    operand = modrm.encode(memory, register, width)
    prefix = modrm.override(memory) + (b"\x67" if modrm.is_16bit(memory) or width == 16 else b"")
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
    wait += b"\x9b" * prefixes.count(0x9B)
    prefixes = prefixes.replace(b"\x9b", b"")
    count = 0
    while count < len(body) - 1 and body[count] in _ORDER:
        count += 1
    both = sorted(prefixes + body[:count], key=_ORDER.__getitem__)
    return wait + bytes(both) + body[count:]
