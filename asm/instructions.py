"""Instructions into the current section: prefixes, branches that may grow, the rest by the encoder."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from paravane.asm import modrm, prefixes
from paravane.asm.diagnostics import SourceError
from paravane.asm.encoder import Context, Encoded, Field, encode
from paravane.asm.lexer import NAME, Scanner
from paravane.asm.mnemonics import BRANCHES, FAR, LOOPS, NEAR, PREFIXES, is_known, unknown
from paravane.asm.model import Branch
from paravane.asm.operands import Immediate, Memory, Operands, parse_operands
from paravane.asm.strings import encode_far, encode_string, is_string

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.asm.expressions import Names
    from paravane.asm.source import Statement
    from paravane.asm.unit import Unit

_BY_PREFIX = {"call": "callw", "lcall": "lcallw", "ljmp": "ljmpw"}
"""Far branches and calls whose offset `data16` makes a word."""

_JUMPS = NEAR | FAR

_FIXED = re.compile(
    r"[ \t]*+[A-Za-z][A-Za-z0-9]*+"
    r"(?:[ \t](?:%[A-Za-z][A-Za-z0-9]*+|-?(?:0[xX][0-9A-Fa-f]++|[0-9]++)|[$(), \t])*+)?\Z"
)
"""An instruction of nothing but registers and numbers. Nothing is tried twice (`++`): a line of digits would
take for ever. Some have other bytes elsewhere all the same, which they say when they are read: `jmp 5`."""

_PSEUDO = re.compile(r"\{\s*([A-Za-z0-9]+)\s*\}")
_DISPLACEMENTS = {"disp8": 8, "disp16": 16, "disp32": 32}
_DIRECTIONS = ("load", "store")
_NO_EFFECT = ("nooptimize",)
_HINTS = {"s": ("swap", 0), "d8": ("", 8), "d32": ("", 32)}


class _Jump(NamedTuple):
    """JMP or Jcc to a label: two bytes where they reach, which only the layout knows."""

    name: str
    target: Memory
    prefix: bytes


class _Varies(Exception):
    """An instruction that is no more than its text: it asks for a symbol, or gives reason for a warning."""


class _NoNames:
    """What an instruction can ask for that is the same in every unit and place: nothing."""

    def reference(self, name: str, start: int, end: int) -> NoReturn:
        raise _Varies

    def numeric_reference(self, number: int, direction: str, start: int, end: int) -> NoReturn:
        raise _Varies

    def here(self) -> NoReturn:
        raise _Varies

    def warn(self, message: str, start: int, end: int) -> NoReturn:
        raise _Varies


_NO_NAMES = _NoNames()


def assemble_instruction(unit: Unit, statement: Statement, scanner: Scanner) -> None:
    """Assembles the instruction at the scanner's position. Raises SourceError."""
    text = scanner.text[scanner.pos :].rstrip(" \t")
    encoded: Encoded | _Jump | None = _of_fixed(text) if _FIXED.match(text) else None
    if encoded is None:
        encoded = _read(scanner, unit, unit.warn)
    else:
        scanner.pos = len(scanner.text)
    if isinstance(encoded, _Jump):
        _branch(unit, statement, encoded)
    else:
        unit.emit_instruction(encoded, statement)


@lru_cache(maxsize=4096)
def _of_fixed(text: str) -> Encoded | None:
    """The bytes of an instruction that has the same wherever it stands; None for others, and for what is
    none: that has to be read where it stands.

    Half of a kernel's instructions are of this kind, and the same few again and again.
    """
    try:
        encoded = _read(Scanner(text), _NO_NAMES, _NO_NAMES.warn)
    except (_Varies, SourceError):
        return None
    return None if isinstance(encoded, _Jump) or encoded.fields else encoded


def _read(scanner: Scanner, names: Names, warn: Callable[[str, int, int], None]) -> Encoded | _Jump:
    """The instruction at the scanner's position. Raises SourceError."""
    context, words = Context("", scanner.pos, warn), list[str]()
    _pseudo_prefixes(context, scanner)
    name = _word(context, scanner)
    while name in PREFIXES:
        words.append(name)
        if scanner.at_end():
            return Encoded(bytes(PREFIXES[w] for w in words))
        _check_repeated(scanner, context, words)
        _pseudo_prefixes(context, scanner)
        name = _word(context, scanner)
    context.name = _without_hint(context, name)
    if not is_known(context.name):
        raise SourceError(unknown(name), context.start, context.start + len(name))
    return _assemble(scanner, names, context, words)


def _check_repeated(scanner: Scanner, context: Context, words: list[str]) -> None:
    """Refuses a second prefix of a kind before an instruction; alone on a line they are just bytes."""
    kinds = [prefixes.kind_of(PREFIXES[word]) for word in words]
    if len(set(kinds)) < len(kinds):
        raise scanner.error(f"two {kinds[-1]} prefixes", context.start)


def _word(context: Context, scanner: Scanner) -> str:
    found = NAME.match(scanner.text, scanner.pos)
    if found is None:
        raise scanner.error("expected an instruction")
    context.start, scanner.pos = scanner.pos, found.end()
    return found[0].lower()


def _pseudo_prefixes(context: Context, scanner: Scanner) -> None:
    """`{load}`, `{store}`, `{disp8}`, `{disp32}`: wishes about the encoding."""
    scanner.skip_space()
    while (found := _PSEUDO.match(scanner.text, scanner.pos)) is not None:
        word = found[1].lower()
        if word in _DIRECTIONS:
            context.direction = word
        elif word in _DISPLACEMENTS:
            context.displacement = _DISPLACEMENTS[word]
        elif word not in _NO_EFFECT:
            raise SourceError(f"unknown pseudo prefix `{found[0]}`", found.start(), found.end())
        scanner.pos = found.end()
        scanner.skip_space()


def _without_hint(context: Context, name: str) -> str:
    """The mnemonic without `.s`, `.d8` or `.d32`, the older spelling of such wishes."""
    base, dot, hint = name.rpartition(".")
    if not dot or hint not in _HINTS or not is_known(base):
        return name
    context.direction, context.displacement = _HINTS[hint]
    return base


def _assemble(scanner: Scanner, names: Names, context: Context, words: list[str]) -> Encoded | _Jump:
    operands = parse_operands(scanner, names)
    target = _target(context, operands)
    context.is_branch = target is not None
    if "data16" in words and context.name in _BY_PREFIX and (target or not operands.indirect):
        words.remove("data16")
        context.name = _BY_PREFIX[context.name]
    _check_displacement(context, operands)
    before = prefixes.check(context, operands, words)
    if target is None:
        if context.name in BRANCHES or context.name in LOOPS:
            raise context.error(f"`{context.name}` needs a label to jump to", operands)
        encoded = _encode(context, _indirect(context, operands))
    elif context.name in LOOPS:
        opcode, narrow = LOOPS[context.name]
        encoded = _relative((b"\x67" if narrow else b"") + bytes([opcode]), 1, target)
    elif context.name in ("call", "calll"):
        encoded = _relative(b"\xe8", 4, target)
    elif context.name in ("callw", "jmpw"):
        encoded = _relative(b"\x66\xe8" if context.name == "callw" else b"\x66\xe9", 2, target)
    elif context.displacement == 32:
        encoded = _relative(_long(context.name), 4, target)
    else:
        return _Jump(context.name, target, before)
    return prefixes.apply(context, encoded, before)


def _check_displacement(context: Context, operands: Operands) -> None:
    """Refuses a wish for a displacement that this kind of address cannot have."""
    wish = context.displacement
    if wish == 16 and context.is_branch:
        raise context.error(f"`{context.name}` has no displacement of 16 bits")
    for operand in operands.items:
        if isinstance(operand, Memory) and not context.is_branch:
            narrow = modrm.is_16bit(operand)
            if (wish == 16 and not narrow) or (wish == 32 and narrow):
                raise SourceError(f"no displacement of {wish} bits here", operand.start, operand.end)


def _target(context: Context, operands: Operands) -> Memory | None:
    """The operand of a direct jump or call."""
    items = operands.items
    if operands.indirect or len(items) != 1 or not isinstance(items[0], Memory) or not items[0].is_bare:
        return None
    if items[0].segment is not None:
        return None
    return items[0] if context.name in NEAR or context.name in BRANCHES or context.name in LOOPS else None


def _indirect(context: Context, operands: Operands) -> Operands:
    """`*` belongs to indirect jumps and calls alone; where only they are possible it may be missing."""
    if operands.indirect and context.name not in _JUMPS:
        raise context.error("`*` is only for indirect jumps and calls", operands)
    items = operands.items
    if operands.indirect or len(items) != 1 or context.name not in _JUMPS:
        return operands
    if isinstance(items[0], Immediate):
        raise context.error(f"`{context.name}` does not take this operand", operands)
    context.warn(f"indirect `{context.name}` without `*`", operands.start, operands.end)
    return Operands(items, True, operands.start, operands.end)


def _encode(context: Context, operands: Operands) -> Encoded:
    if is_string(context.name, operands):
        return encode_string(context, operands)
    if context.name in _JUMPS and not operands.indirect:
        return encode_far(context, operands)
    return encode(context, operands)


def _relative(opcode: bytes, width: int, target: Memory) -> Encoded:
    """A branch whose size does not depend on how far it goes: LOOP and JECXZ reach 128 bytes."""
    field = Field(len(opcode), width, target.displacement, target.start, target.end, relative=True)
    return Encoded(opcode + bytes(width), [field])


def _long(name: str) -> bytes:
    condition = BRANCHES.get(name)
    return b"\xe9" if condition is None else bytes([0x0F, 0x80 | condition])


def _branch(unit: Unit, statement: Statement, jump: _Jump) -> None:
    name, target, prefix = jump
    condition = BRANCHES.get(name)
    short, long = 0xEB if condition is None else 0x70 | condition, _long(name)
    unit.section.budget.take(len(prefix) + len(long) + 4)
    unit.emit_branch(Branch(short, long, target.displacement, statement, target.start, target.end, prefix))
