"""Instructions into the current section: prefixes, branches that may grow, the rest by the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm import prefixes
from paravane.asm.diagnostics import SourceError
from paravane.asm.encoder import Context, Encoded, Field, encode, unknown
from paravane.asm.evaluation import constant
from paravane.asm.lexer import NAME
from paravane.asm.mnemonics import BRANCHES, KNOWN, LOOPS, MNEMONICS, PREFIXES
from paravane.asm.model import Branch
from paravane.asm.operands import Immediate, Memory, Operands, parse_operands
from paravane.asm.special_forms import special

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.source import Statement
    from paravane.asm.unit import Unit

_CALL = b"\xe8"
_NEAR = frozenset(("jmp", "jmpl", "jmpw", "call", "calll", "callw"))
_FAR = frozenset(("ljmp", "ljmpl", "ljmpw", "lcall", "lcalll", "lcallw"))


def assemble_instruction(unit: Unit, statement: Statement, scanner: Scanner, word: str) -> None:
    """Assembles the instruction whose mnemonic `word` the scanner has just passed. Raises SourceError."""
    start = scanner.pos - len(word)
    name, words = word.lower(), list[str]()
    while name in PREFIXES:
        if any(prefixes.kind_of(PREFIXES[name]) == prefixes.kind_of(PREFIXES[w]) for w in words):
            raise scanner.error(f"two {prefixes.kind_of(PREFIXES[name])} prefixes", start)
        words.append(name)
        if scanner.at_end():
            unit.emit_instruction(Encoded(bytes(PREFIXES[w] for w in words)), statement)
            return
        start = scanner.pos
        found = NAME.match(scanner.text, start)
        if found is None:
            raise scanner.error("expected an instruction after the prefix")
        scanner.pos, name = found.end(), found[0].lower()
    if name not in KNOWN:
        raise SourceError(unknown(name), start, start + len(name))
    _assemble(unit, statement, scanner, Context(name, start, unit.warn), words)


def _assemble(unit: Unit, statement: Statement, scanner: Scanner, context: Context, words: list[str]) -> None:
    operands = parse_operands(scanner, unit)
    target = _target(context, operands)
    context.is_branch = target is not None
    before = prefixes.check(context, operands, words)
    if target is None:
        if context.name in BRANCHES or context.name in LOOPS:
            raise context.error(f"`{context.name}` needs a label to jump to", operands)
        operands = _indirect(context, operands)
        encoded = special(context, operands) or _generic(context, operands)
    elif context.name in LOOPS:
        encoded = _loop(context, target)
    elif context.name == "call":
        field = Field(1, 4, target.displacement, target.start, target.end, relative=True)
        encoded = Encoded(_CALL + bytes(4), [field])
    else:
        _branch(unit, statement, context, target, before)
        return
    unit.emit_instruction(prefixes.apply(context, encoded, before), statement)


def _target(context: Context, operands: Operands) -> Memory | None:
    """The operand of a direct jump or call."""
    items = operands.items
    if operands.indirect or len(items) != 1 or not isinstance(items[0], Memory) or not items[0].is_bare:
        return None
    if items[0].segment is not None:
        return None
    if context.name == "calll":
        context.name = "call"
    return items[0] if context.name in ("jmp", "call", *BRANCHES, *LOOPS) else None


def _indirect(context: Context, operands: Operands) -> Operands:
    """`*` belongs to indirect jumps and calls alone; where only they are possible it may be missing."""
    if operands.indirect and context.name not in _NEAR | _FAR:
        raise context.error("`*` is only for indirect jumps and calls", operands)
    items = operands.items
    if operands.indirect or len(items) != 1 or context.name not in _NEAR | _FAR:
        return operands
    if isinstance(items[0], Immediate) or (isinstance(items[0], Memory) and items[0].is_bare):
        raise context.error(f"`{context.name}` does not take this operand", operands)
    context.warn(f"indirect `{context.name}` without `*`", operands.start, operands.end)
    return Operands(items, True, operands.start, operands.end)


def _generic(context: Context, operands: Operands) -> Encoded:
    if context.name not in MNEMONICS:
        raise context.error(f"`{context.name}` does not take these operands", operands)
    return encode(context, operands)


def _branch(unit: Unit, statement: Statement, context: Context, target: Memory, before: bytes) -> None:
    """JMP and Jcc: two bytes where they reach, which only the layout knows."""
    condition = BRANCHES.get(context.name)
    short = 0xEB if condition is None else 0x70 | condition
    long = b"\xe9" if condition is None else bytes([0x0F, 0x80 | condition])
    unit.section.budget.take(len(before) + len(long) + 4)
    unit.emit_branch(Branch(short, long, target.displacement, statement, target.start, target.end, before))


def _loop(context: Context, target: Memory) -> Encoded:
    """LOOP and JECXZ reach 128 bytes; farther is an error when all addresses are known."""
    if constant(target.displacement) is not None:
        raise SourceError(f"`{context.name}` needs a label to jump to", target.start, target.end)
    head = (b"\x67" if context.name == "jcxz" else b"") + bytes([LOOPS[context.name]])
    field = Field(len(head), 1, target.displacement, target.start, target.end, relative=True)
    return Encoded(head + b"\0", [field])
