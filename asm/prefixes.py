"""Instruction prefixes written as words: which may stand before what, and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm import modrm
from paravane.asm.encoder import Encoded, Field, add_prefixes
from paravane.asm.forms import forms
from paravane.asm.mnemonics import FAR, NEAR, PREFIXES, STRINGS
from paravane.asm.operands import MMX, SSE, Immediate, Memory, Register

if TYPE_CHECKING:
    from paravane.asm.encoder import Context
    from paravane.asm.operands import Operands

SEGMENT, ADDRESS, OPERAND, REPEAT, LOCK, WAIT = (
    "segment",
    "address size",
    "operand size",
    "repeat",
    "lock",
    "wait",
)
_KINDS = {0x67: ADDRESS, 0x66: OPERAND, 0xF2: REPEAT, 0xF3: REPEAT, 0xF0: LOCK, 0x9B: WAIT}
_LOCKABLE = frozenset(
    (
        "add", "adc", "and", "btc", "btr", "bts", "cmpxchg", "cmpxchg8b", "dec", "inc", "neg", "not", "or",
        "sbb", "sub", "xor", "xadd", "xchg",
    )
)  # fmt: skip
_REPEATABLE = frozenset(("nop", "ret", "retl", "retw", "bsf", "bsr"))


def kind_of(prefix: int) -> str:
    return _KINDS.get(prefix, SEGMENT)


def check(context: Context, operands: Operands, words: list[str]) -> bytes:
    """The prefix bytes that the words add to an instruction. Raises SourceError where they make no sense."""
    out = bytearray()
    memory = next((o for o in operands.items if isinstance(o, Memory)), None)
    if context.name in STRINGS:
        # Its operands are fixed, whatever is written: only a segment says something.
        memory = next((o for o in operands.items if isinstance(o, Memory) and _is_overridden(o)), None)
    for word in words:
        if word in ("addr32", "data32"):
            raise context.error(f"`{word}` has no meaning before a 32-bit instruction")
        prefix = PREFIXES[word]
        kind = kind_of(prefix)
        if kind == SEGMENT and word != "notrack" and memory is not None and modrm.override(memory):
            _same_segment(context, memory, word)
        elif kind != ADDRESS or _is_needed(context, memory):
            _check_kind(context, operands, kind, word)
            out.append(prefix)
    return bytes(out)


def _is_overridden(memory: Memory) -> bool:
    return memory.segment is not None and memory.segment.name not in ("ds", "es")


def _same_segment(context: Context, memory: Memory, word: str) -> None:
    if memory.segment is not None and memory.segment.name != word:
        raise context.error(f"`{word}` before an operand in `%{memory.segment.name}`")


def _is_needed(context: Context, memory: Memory | None) -> bool:
    """Whether `addr16` is a prefix byte of its own, and not what the operand has anyway."""
    if memory is None or context.is_branch or context.name in STRINGS:
        return True
    if memory.is_bare:
        context.displacement = 16
    elif not modrm.is_16bit(memory):
        raise context.error("`addr16` before an address that is not 16-bit")
    return False


def _check_kind(context: Context, operands: Operands, kind: str, word: str) -> None:
    found = forms(context.name)
    base = found[0].base if found else context.name
    if word == "notrack" and not (operands.indirect and context.name in NEAR):
        raise context.error("`notrack` is only for indirect jumps and calls")
    if kind == LOCK:
        targets = operands.items if base == "xchg" else operands.items[-1:]
        if base not in _LOCKABLE or not any(isinstance(operand, Memory) for operand in targets):
            raise context.error(f"`{context.name}` with these operands cannot be locked")
    elif kind == REPEAT and context.name not in STRINGS and base not in _REPEATABLE:
        raise context.error(f"`{word}` is only for string instructions")
    elif kind == OPERAND and not _may_change_size(context, operands):
        raise context.error(f"`{word}` cannot stand before `{context.name}`")


def _may_change_size(context: Context, operands: Operands) -> bool:
    """Before an SSE instruction the byte means another instruction, before a direct branch a 16-bit
    offset."""
    if context.is_branch or (context.name in FAR and isinstance(operands.items[0], Immediate)):
        return False
    return not any(isinstance(item, Register) and item.kind in (MMX, SSE) for item in operands.items)


def apply(context: Context, encoded: Encoded, prefixes: bytes) -> Encoded:
    """The instruction with prefixes added, and its fields moved past them."""
    if not prefixes:
        return encoded
    if b"\x66" in prefixes and b"\x66" in encoded.data[:2] and encoded.data[0] in (0x66, 0x67):
        raise context.error("two operand size prefixes")
    added = len(prefixes)
    fields = [Field(f.offset + added, f.width, f.value, f.start, f.end, f.relative) for f in encoded.fields]
    return Encoded(add_prefixes(encoded.data, prefixes), fields)
