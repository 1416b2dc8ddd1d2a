"""String instructions and direct far branches: rules of their own, since their operands say little that is
encoded."""

from __future__ import annotations

from paravane.asm import modrm
from paravane.asm.encoder import Context, Encoded, append_immediate
from paravane.asm.forms import is_port
from paravane.asm.mnemonics import STRINGS
from paravane.asm.operands import REGISTERS, Immediate, Memory, Operand, Operands, Register

# What the operands of a string instruction may be: s the source (%esi), d the destination %es:(%edi),
# a the accumulator, p the port.
_SHAPES = {
    0xA4: ("", "sd"), 0xA6: ("", "ds"), 0xAA: ("", "d", "ad"), 0xAC: ("", "s", "sa"), 0xAE: ("", "d", "da"),
    0x6C: ("", "pd"), 0x6E: ("", "sp"),
}  # fmt: skip
_ACCUMULATORS = {"al": "b", "ax": "w", "eax": "l"}
_BASES = {"s": REGISTERS["esi"], "d": REGISTERS["edi"]}


def is_string(name: str, operands: Operands) -> bool:
    """MOVSB and MOVSW are string moves or sign extensions, MOVSD and CMPSD string instructions or SSE2's:
    registers among the operands, and for the latter any operand, make the difference."""
    if name not in STRINGS:
        return False
    if name in ("movsd", "cmpsd"):
        return not operands.items
    return not name.startswith("movs") or not any(isinstance(item, Register) for item in operands.items)


def encode_string(context: Context, operands: Operands) -> Encoded:
    """MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS: the operands only say the size and the source's segment."""
    opcode, suffix = STRINGS[context.name]
    base = context.name.removesuffix(suffix or "\0")
    shape = _shape(opcode, operands)
    if shape is None:
        raise context.refuse(operands)
    prefixes = b""
    for letter, operand in zip(shape, operands.items, strict=True):
        if letter == "a" and isinstance(operand, Register):
            size = _ACCUMULATORS[operand.name]
            if suffix not in ("", size):
                raise context.error(f"`{context.name}` does not take `%{operand.name}`", operands)
            suffix = size
        elif letter in "sd" and isinstance(operand, Memory):
            prefixes += _address(context, operand, letter)
    if not suffix:
        suffix = "l"
        context.warn(f"no operand size given: `{base}l` assumed", context.start, context.start + len(base))
    narrow = b"\x67" if b"\x67" in prefixes else b""
    word = b"\x66" if suffix == "w" else b""
    return Encoded(prefixes.replace(b"\x67", b"") + narrow + word + bytes([opcode | (suffix != "b")]))


def _shape(opcode: int, operands: Operands) -> str | None:
    """The shape the operands have, or None."""
    for shape in _SHAPES[opcode]:
        if len(shape) == len(operands.items) and all(map(_fits, shape, operands.items)):
            return shape
    return None


def _fits(letter: str, operand: Operand) -> bool:
    if letter == "p":
        return operand is REGISTERS["dx"] or (isinstance(operand, Memory) and is_port(operand))
    if letter == "a":
        return isinstance(operand, Register) and operand.name in _ACCUMULATORS
    if not isinstance(operand, Memory):
        return False
    return letter == "s" or operand.segment is None or operand.segment.name == "es"


def _address(context: Context, memory: Memory, letter: str) -> bytes:
    """The prefixes of a string operand. What it addresses is fixed, whatever is written."""
    if memory.base is not _BASES[letter] or memory.index is not None or memory.value != 0:
        name = f"%es:(%{_BASES[letter].name})" if letter == "d" else f"(%{_BASES[letter].name})"
        context.warn(f"`{context.name}` uses `{name}` here", memory.start, memory.end)
    prefix = b"\x67" if modrm.is_16bit(memory) else b""
    usual = "ds" if letter == "s" else "es"
    if memory.segment is not None and memory.segment.name != usual:
        prefix += bytes([modrm.segment_prefix(memory.segment.name)])
    return prefix


def encode_far(context: Context, operands: Operands) -> Encoded:
    """LJMP and LCALL to selector and offset."""
    items = operands.items
    if len(items) != 2 or not isinstance(items[0], Immediate) or not isinstance(items[1], Immediate):
        raise context.refuse(operands)
    width = 16 if context.name.endswith("w") else 32
    opcode = b"\xea" if "jmp" in context.name else b"\x9a"
    encoded = Encoded((b"\x66" if width == 16 else b"") + opcode)
    append_immediate(context, encoded, items[1], width, strict=True)
    append_immediate(context, encoded, items[0], 16, strict=True)
    return encoded
