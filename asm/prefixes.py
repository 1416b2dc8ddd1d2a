"""Instruction prefixes written as words: which may stand before what, and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm import modrm
from paravane.asm.encoder import Encoded, Field, add_prefixes
from paravane.asm.mnemonics import MNEMONICS, PREFIXES, SSE_NAMES, STRINGS
from paravane.asm.operands import Memory

if TYPE_CHECKING:
    from paravane.asm.encoder import Context
    from paravane.asm.operands import Operands

SEGMENT, ADDRESS, OPERAND, REPEAT, LOCK = "segment", "address size", "operand size", "repeat", "lock"
_KINDS = {0x67: ADDRESS, 0x66: OPERAND, 0xF2: REPEAT, 0xF3: REPEAT, 0xF0: LOCK}
_LOCKABLE = frozenset(
    (
        "add",
        "adc",
        "and",
        "btc",
        "btr",
        "bts",
        "cmpxchg",
        "cmpxchg8b",
        "dec",
        "inc",
        "neg",
        "not",
        "or",
        "sbb",
        "sub",
        "xor",
        "xadd",
        "xchg",
    )  # fmt: skip
)
_REPEATABLE = frozenset(("nop", "ret", "bsf", "bsr", "pause"))


def kind_of(prefix: int) -> str:
    return _KINDS.get(prefix, SEGMENT)


def check(context: Context, operands: Operands, words: list[str]) -> bytes:
    """The prefix bytes that the words add to an instruction. Raises SourceError where they make no sense."""
    out = bytearray()
    memory = next((o for o in operands.items if isinstance(o, Memory)), None)
    for word in words:
        prefix = PREFIXES[word]
        kind = kind_of(prefix)
        if kind == SEGMENT:
            if memory is not None and memory.segment is not None and context.name not in STRINGS:
                _same_segment(context, memory, word)
                continue
        elif kind == ADDRESS and memory is not None and context.name not in STRINGS:
            if not modrm.is_16bit(memory) and not context.is_branch:
                raise context.error(f"`{word}` before an address that is not 16-bit")
            if modrm.is_16bit(memory):
                continue
        elif kind != ADDRESS:
            _check_kind(context, operands, kind, word)
        if word in ("addr32", "data32"):
            raise context.error(f"`{word}` has no meaning before a 32-bit instruction")
        out.append(prefix)
    return bytes(out)


def _same_segment(context: Context, memory: Memory, word: str) -> None:
    if memory.segment is not None and memory.segment.name != word:
        raise context.error(f"`{word}` before an operand in `%{memory.segment.name}`")


def _check_kind(context: Context, operands: Operands, kind: str, word: str) -> None:
    mnemonic = MNEMONICS.get(context.name)
    base = context.name if mnemonic is None else mnemonic.base
    if kind == LOCK:
        targets = operands.items if base == "xchg" else operands.items[-1:]
        if base not in _LOCKABLE or not any(isinstance(operand, Memory) for operand in targets):
            raise context.error(f"`{context.name}` with these operands cannot be locked")
    elif kind == REPEAT and context.name not in STRINGS and base not in _REPEATABLE:
        raise context.error(f"`{word}` is only for string instructions")
    elif kind == OPERAND and (context.name in SSE_NAMES or context.is_branch):
        raise context.error(f"`{word}` cannot stand before `{context.name}`")


def apply(context: Context, encoded: Encoded, prefixes: bytes) -> Encoded:
    """The instruction with prefixes added, and its fields moved behind them."""
    if not prefixes:
        return encoded
    if b"\x66" in prefixes and b"\x66" in encoded.data[:2] and encoded.data[0] in (0x66, 0x67):
        raise context.error("two operand size prefixes")
    added = len(prefixes)
    fields = [Field(f.offset + added, f.width, f.value, f.start, f.end, f.relative) for f in encoded.fields]
    return Encoded(add_prefixes(encoded.data, prefixes), fields)
