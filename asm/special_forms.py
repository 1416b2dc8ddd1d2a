"""Instruction forms that Keystone cannot say or says differently from GNU as: a small table of our own.

Opcodes are from the Intel SDM, volume 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.encoder import Context, Encoded, Field, encode, immediate, splice
from paravane.asm.mnemonics import MNEMONICS, STRINGS
from paravane.asm.modrm import segment_prefix
from paravane.asm.operands import (
    FPU,
    MMX,
    REG16,
    REG32,
    REGISTERS,
    SREG,
    SSE,
    Immediate,
    Memory,
    Operand,
    Operands,
    Register,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_PORT = REGISTERS["dx"]


def special(context: Context, operands: Operands) -> Encoded | None:
    """The encoding of a form of this table, or None for every other instruction."""
    name = context.name
    if name in STRINGS and (name not in MNEMONICS or _is_string_move(operands)):
        return _string(context, operands)
    handler = _HANDLERS.get(name)
    return None if handler is None else handler(context, operands)


def _is_string_move(operands: Operands) -> bool:
    """MOVSB and MOVSW are string moves or sign extensions: a register operand makes the sign extension."""
    return not any(isinstance(operand, Register) for operand in operands.items)


# What the operands of a string instruction may be: s the source (%esi), d the destination %es:(%edi),
# a the accumulator, p the port.
_STRING_SHAPES = {
    "movs": ("", "sd"), "cmps": ("", "ds"), "stos": ("", "d", "ad"), "lods": ("", "s", "sa"),
    "scas": ("", "d", "da"), "ins": ("", "pd"), "outs": ("", "sp"),
}  # fmt: skip
_ACCUMULATORS = {"al": "b", "ax": "w", "eax": "l"}


def _string(context: Context, operands: Operands) -> Encoded:
    """MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS: the operands only say the size and the source's segment."""
    opcode, suffix = STRINGS[context.name]
    base = context.name[: len(context.name) - len(suffix)]
    shape = "".join(_string_operand(operand) for operand in operands.items)
    if shape not in _STRING_SHAPES[base]:
        raise context.error(f"`{context.name}` does not take these operands", operands)
    prefix = b""
    for operand in operands.items:
        if isinstance(operand, Register) and operand.name in _ACCUMULATORS:
            size = _ACCUMULATORS[operand.name]
            if suffix not in ("", size):
                raise context.error(f"`{context.name}` does not take `%{operand.name}`", operands)
            suffix = size
        elif isinstance(operand, Memory) and operand.segment is not None:
            segment = operand.segment.name
            usual = "ds" if _is_source(operand) else "es"
            prefix += b"" if segment == usual else bytes([segment_prefix(segment)])
    if not suffix:
        suffix = "l"
        context.warn(f"no operand size given: `{base}l` assumed", context.start, context.start + len(base))
    return Encoded(prefix + (b"\x66" if suffix == "w" else b"") + bytes([opcode | (suffix != "b")]))


def _is_source(memory: Memory) -> bool:
    return memory.base is REGISTERS["esi"]


def _string_operand(operand: Operand) -> str:
    """The letter of an operand in `_STRING_SHAPES`, or `?`."""
    if isinstance(operand, Register):
        return "p" if operand is _PORT else "a" if operand.name in _ACCUMULATORS else "?"
    if isinstance(operand, Immediate) or operand.index is not None or operand.value != 0:
        return "?"
    segment = "" if operand.segment is None else operand.segment.name
    if operand.base is _PORT and not segment:
        return "p"
    if operand.base is REGISTERS["edi"] and segment in ("", "es"):
        return "d"
    return "s" if _is_source(operand) else "?"


def _far(context: Context, operands: Operands) -> Encoded | None:
    """LJMP and LCALL to selector and offset; indirect ones are Keystone's."""
    items = operands.items
    if operands.indirect:
        return None if len(items) == 1 and isinstance(items[0], Memory) else _refuse(context, operands)
    if len(items) != 2 or not isinstance(items[0], Immediate) or not isinstance(items[1], Immediate):
        return _refuse(context, operands)
    width = 16 if context.name.endswith("w") else 32
    opcode = b"\xea" if context.name.startswith("ljmp") else b"\x9a"
    encoded = Encoded((b"\x66" if width == 16 else b"") + opcode)
    _append_immediate(context, encoded, items[1], width)
    _append_immediate(context, encoded, items[0], 16)
    return encoded


def _append_immediate(context: Context, encoded: Encoded, operand: Immediate, width: int) -> None:
    size = width // 8
    if operand.value is None:
        encoded.fields.append(Field(len(encoded.data), size, operand.node, operand.start, operand.end))
        encoded.data += bytes(size)
    else:
        encoded.data += immediate(context, operand, width).to_bytes(size, "little")


def _refuse(context: Context, operands: Operands) -> Encoded:
    raise context.error(f"`{context.name}` does not take these operands", operands)


def _interrupt(context: Context, operands: Operands) -> Encoded | None:
    """INT 3 has its own opcode."""
    items = operands.items
    if len(items) == 1 and isinstance(items[0], Immediate) and items[0].value == 3:
        return Encoded(b"\xcc")
    return None


def _nop(context: Context, operands: Operands) -> Encoded | None:
    """NOP with an operand: 0F 1F /0."""
    if not operands.items:
        return None if context.name == "nop" else _refuse(context, operands)
    operand = operands.items[0]
    if len(operands.items) != 1 or isinstance(operand, Immediate):
        return _refuse(context, operands)
    size = context.name[3:] or ("w" if isinstance(operand, Register) and operand.kind == REG16 else "l")
    head = (b"\x66" if size == "w" else b"") + b"\x0f\x1f"
    if isinstance(operand, Memory):
        return splice(head, 0, operand, b"")
    if operand.kind != (REG16 if size == "w" else REG32):
        return _refuse(context, operands)
    return Encoded(head + bytes([0xC0 | operand.number]))


def _bound(context: Context, operands: Operands) -> Encoded:
    """BOUND register, bounds: 62 /r."""
    items = operands.items
    if len(items) != 2 or not isinstance(items[0], Register) or not isinstance(items[1], Memory):
        return _refuse(context, operands)
    wanted = {"boundw": (REG16,), "boundl": (REG32,)}.get(context.name, (REG16, REG32))
    if items[0].kind not in wanted:
        return _refuse(context, operands)
    return splice((b"\x66" if items[0].kind == REG16 else b"") + b"\x62", items[0].number, items[1], b"")


def _enter(context: Context, operands: Operands) -> Encoded:
    """ENTER size, level: C8 iw ib."""
    items = operands.items
    if len(items) != 2 or not isinstance(items[0], Immediate) or not isinstance(items[1], Immediate):
        return _refuse(context, operands)
    encoded = Encoded(b"\xc8")
    _append_immediate(context, encoded, items[0], 16)
    _append_immediate(context, encoded, items[1], 8)
    return encoded


def _leave_word(context: Context, operands: Operands) -> Encoded:
    return _refuse(context, operands) if operands.items else Encoded(b"\x66\xc9")


def _xlat(context: Context, operands: Operands) -> Encoded | None:
    if not operands.items:
        return None
    memory = operands.items[0]
    if len(operands.items) != 1 or not isinstance(memory, Memory) or memory.index is not None:
        return _refuse(context, operands)
    if memory.base is None or memory.base.name != "ebx" or memory.value != 0:
        return _refuse(context, operands)
    segment = memory.segment
    prefix = b"" if segment is None or segment.name == "ds" else bytes([segment_prefix(segment.name)])
    return Encoded(prefix + b"\xd7")


def _segment_move(context: Context, operands: Operands) -> Encoded | None:
    """MOV to or from a segment register moves 16 bits; only into a 16-bit register is a prefix needed."""
    items = operands.items
    if any(isinstance(operand, Register) and operand.kind in (MMX, SSE, FPU) for operand in items):
        return _refuse(context, operands)
    if len(items) != 2 or not any(isinstance(o, Register) and o.kind == SREG for o in items):
        return None
    source, target = items
    if isinstance(source, Memory) or isinstance(target, Memory):
        memory = source if isinstance(source, Memory) else target
        register = target if memory is source else source
        if not isinstance(memory, Memory) or not isinstance(register, Register) or context.name == "movl":
            return _refuse(context, operands)
        if memory is source and register.name == "cs":
            return _refuse(context, operands)
        return splice(b"\x8e" if memory is source else b"\x8c", register.number, memory, b"")
    if isinstance(source, Register) and isinstance(target, Register) and target.kind == SREG:
        return _to_segment(context, operands, source, target)
    return None


def _to_segment(context: Context, operands: Operands, source: Register, target: Register) -> Encoded:
    wanted = {"movw": (REG16,), "movl": (REG32,)}.get(context.name, (REG16, REG32))
    if source.kind not in wanted or target.name == "cs":
        return _refuse(context, operands)
    return Encoded(bytes([0x8E, 0xC0 | target.number << 3 | source.number]))


def _port(context: Context, operands: Operands) -> Encoded | None:
    """IN and OUT: `(%dx)` is another spelling of `%dx`, and a suffix may stand for the accumulator."""
    items = [_port_operand(operand) for operand in operands.items]
    is_in = context.name.startswith("in")
    suffix = context.name[2:] if is_in else context.name[3:]
    if len(items) == 1 and suffix:
        accumulator: Operand = REGISTERS[{"b": "al", "w": "ax", "l": "eax"}[suffix]]
        items = [items[0], accumulator] if is_in else [accumulator, items[0]]
    accepted = len(items) == 2 and isinstance(items[1 if is_in else 0], Register)
    if not accepted:
        return _refuse(context, operands)
    return encode(context, Operands(tuple(items), False, operands.start, operands.end))


def _port_operand(operand: Operand) -> Operand:
    if isinstance(operand, Memory) and operand.base is _PORT and operand.index is None and operand.value == 0:
        return _PORT
    return operand


def _extend(context: Context, operands: Operands) -> Encoded | None:
    """MOVZX and MOVSX from memory: a byte, where nothing says otherwise."""
    if not operands.items or not isinstance(operands.items[0], Memory):
        return None
    name = context.name[:4] + "b"
    context.warn(f"no operand size given: `{name}` assumed", context.start, context.start + 5)
    return encode(Context(name, context.start, context.warn), operands)


def _compare_string(context: Context, operands: Operands) -> Encoded | None:
    """CMPSD without operands is the string comparison."""
    if operands.items:
        return _refuse(context, operands)
    return Encoded(b"\xa7")


def _without_suffix(context: Context, operands: Operands) -> Encoded:
    """Instructions on 16-bit selectors, with the suffix that Keystone does not know there."""
    return encode(Context(context.name[:4], context.start, context.warn), operands)


def _limits(context: Context, operands: Operands) -> Encoded | None:
    """LAR and LSL into a 32-bit register: only 16 bits of the source count, whichever name it has."""
    items = operands.items
    if len(items) != 2 or not isinstance(items[0], Register) or not isinstance(items[1], Register):
        return None
    if items[0].kind != REG16 or items[1].kind != REG32:
        return None
    opcode = b"\x0f\x02" if context.name.startswith("lar") else b"\x0f\x03"
    return Encoded(opcode + bytes([0xC0 | items[1].number << 3 | items[0].number]))


def _vector_move(context: Context, operands: Operands) -> Encoded | None:
    """MOVQ is between MMX, SSE and memory only."""
    items = operands.items
    wrong = any(isinstance(o, Immediate) or (isinstance(o, Register) and o.kind == SREG) for o in items)
    return _refuse(context, operands) if wrong else None


def _status_word(context: Context, operands: Operands) -> Encoded | None:
    """FNSTSW stores into memory or %ax, no other register."""
    wrong = any(isinstance(operand, Register) and operand.name != "ax" for operand in operands.items)
    return _refuse(context, operands) if wrong else None


def _pop(context: Context, operands: Operands) -> Encoded | None:
    """FSUBP and FDIVP pop %st: it cannot be the destination."""
    items = operands.items
    return _refuse(context, operands) if len(items) == 2 and items[1] is REGISTERS["st"] else None


_HANDLERS: dict[str, Callable[[Context, Operands], Encoded | None]] = {
    "int": _interrupt,
    "enter": _enter,
    "leavew": _leave_word,
    "movzx": _extend,
    "movsx": _extend,
    "cmpsd": _compare_string,
    "verrw": _without_suffix,
    "verww": _without_suffix,
    "arplw": _without_suffix,
    "xlat": _xlat,
    "xlatb": _xlat,
    "movq": _vector_move,
    "fnstsw": _status_word,
    "fstsw": _status_word,
    **dict.fromkeys(("lar", "larl", "lsl", "lsll"), _limits),
    **dict.fromkeys(("fsubp", "fsubrp", "fdivp", "fdivrp"), _pop),
    **dict.fromkeys(("ljmp", "ljmpl", "ljmpw", "lcall", "lcalll", "lcallw"), _far),
    **dict.fromkeys(("nop", "nopl", "nopw"), _nop),
    **dict.fromkeys(("bound", "boundl", "boundw"), _bound),
    **dict.fromkeys(("mov", "movw", "movl"), _segment_move),
    **dict.fromkeys(("in", "inb", "inw", "inl", "out", "outb", "outw", "outl"), _port),
}
