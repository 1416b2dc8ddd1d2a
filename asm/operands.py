"""Operands of AT&T syntax: registers, immediates, memory references and branch targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paravane.asm.evaluation import constant
from paravane.asm.expressions import parse
from paravane.asm.model import Number

if TYPE_CHECKING:
    from paravane.asm.expressions import Names
    from paravane.asm.lexer import Scanner
    from paravane.asm.model import Node

REG8, REG16, REG32 = "r8", "r16", "r32"
SREG, CONTROL, DEBUG, TEST, FPU, MMX, SSE = "sreg", "cr", "dr", "tr", "st", "mm", "xmm"

_NAMES: dict[str, tuple[str, ...]] = {
    REG8: ("al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"),
    REG16: ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di"),
    REG32: ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"),
    SREG: ("es", "cs", "ss", "ds", "fs", "gs"),
    CONTROL: tuple(f"cr{n}" for n in range(8)),
    DEBUG: tuple(f"dr{n}" for n in range(8)),
    TEST: tuple(f"tr{n}" for n in range(8)),
    MMX: tuple(f"mm{n}" for n in range(8)),
    SSE: tuple(f"xmm{n}" for n in range(8)),
    FPU: tuple(f"st({n})" for n in range(8)),
}


@dataclass(frozen=True, slots=True)
class Register:
    """One register; `number` is its code in ModRM (Intel SDM vol. 2, section 2.1.5)."""

    name: str
    kind: str
    number: int


REGISTERS = {name: Register(name, kind, n) for kind, names in _NAMES.items() for n, name in enumerate(names)}
REGISTERS |= {f"db{n}": REGISTERS[f"dr{n}"] for n in range(8)}
REGISTERS["st"] = REGISTERS["st(0)"]


@dataclass(frozen=True, slots=True)
class Immediate:
    """`value` is None for a number only the linker knows; `node` then says how it is computed."""

    value: int | None
    node: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Memory:
    """segment:displacement(base,index,scale). `value` is the displacement when it is a known number."""

    displacement: Node
    value: int | None
    base: Register | None
    index: Register | None
    scale: int
    segment: Register | None
    start: int
    end: int

    @property
    def is_bare(self) -> bool:
        """Whether there is only an address: also how a branch target is written."""
        return self.base is None and self.index is None


Operand = Register | Immediate | Memory


@dataclass(frozen=True, slots=True)
class Operands:
    """All operands of an instruction; `indirect` when the first one was written with `*`."""

    items: tuple[Operand, ...]
    indirect: bool
    start: int
    end: int


def parse_operands(scanner: Scanner, names: Names) -> Operands:
    """Reads the rest of a statement as operands. Raises SourceError."""
    scanner.skip_space()
    start = scanner.pos
    items: list[Operand] = []
    indirect = False
    if not scanner.at_end():
        indirect = scanner.accept("*")
        items.append(_operand(scanner, names))
        while scanner.accept(","):
            items.append(_operand(scanner, names))
        scanner.expect_end()
    return Operands(tuple(items), indirect, start, max(start, len(scanner.text.rstrip())))


def _operand(scanner: Scanner, names: Names) -> Operand:
    character, start = scanner.peek(), scanner.pos
    if character == "$":
        scanner.pos += 1
        node = parse(scanner, names)
        return Immediate(constant(node), node, start, scanner.pos)
    if character == "%":
        register = parse_register(scanner)
        if scanner.accept(":"):
            if register.kind != SREG:
                raise scanner.error(f"`%{register.name}` is not a segment register", start)
            return _memory(scanner, names, start, register)
        return register
    if character in ("", ","):
        raise scanner.error("expected an operand")
    return _memory(scanner, names, start, None)


def parse_register(scanner: Scanner) -> Register:
    """Reads `%name`, `%st(n)` included."""
    start = scanner.pos
    scanner.expect("%")
    name = "" if scanner.peek() == "" else (scanner.name() or "").lower()
    if name == "st" and scanner.peek() == "(":
        scanner.pos += 1
        number = scanner.number()
        if not isinstance(number, int) or number > 7:
            raise scanner.error("expected a number from 0 to 7", start)
        scanner.expect(")")
        name = f"st({number})"
    register = REGISTERS.get(name)
    if register is None:
        raise scanner.error(f"there is no register `%{name}`", start, max(scanner.pos, start + 1))
    return register


def _is_address(scanner: Scanner) -> bool:
    """Whether a `(` opens base and index, not an expression."""
    if scanner.peek() != "(":
        return False
    rest = scanner.text[scanner.pos + 1 :].lstrip()
    return rest.startswith(("%", ","))


def _memory(scanner: Scanner, names: Names, start: int, segment: Register | None) -> Memory:
    displacement = None if _is_address(scanner) else parse(scanner, names)
    base = index = None
    scale = 1
    if scanner.peek() == "(":
        if not _is_address(scanner):
            raise scanner.error("expected a base register")
        base, index, scale = _base_and_index(scanner, names)
    if displacement is None:
        return Memory(Number(0), 0, base, index, scale, segment, start, scanner.pos)
    return Memory(displacement, constant(displacement), base, index, scale, segment, start, scanner.pos)


def _base_and_index(scanner: Scanner, names: Names) -> tuple[Register | None, Register | None, int]:
    start = scanner.pos
    scanner.expect("(")
    base = parse_register(scanner) if scanner.peek() == "%" else None
    index, scale = None, 1
    if scanner.accept(","):
        index = parse_register(scanner) if scanner.peek() == "%" else None
        if index is None and base is None:
            raise scanner.error("expected an index register")
        if index is None and scanner.peek() == ")":
            raise scanner.error("expected an index register or a scale")
        if index is None or scanner.accept(","):
            scale = _scale(scanner, names)
    if not scanner.accept(")"):
        raise scanner.error("expected `)` to close this address", start, start + 1)
    _check_pair(base, index, scale, scanner, start)
    return base, index, scale


def _scale(scanner: Scanner, names: Names) -> int:
    if scanner.peek() == ")":
        return 1
    start = scanner.pos
    scale = constant(parse(scanner, names))
    if scale not in (1, 2, 4, 8):
        raise scanner.error("scale must be 1, 2, 4 or 8", start)
    return scale


def _check_pair(
    base: Register | None, index: Register | None, scale: int, scanner: Scanner, start: int
) -> None:
    """Refuses pairs no ModRM can say (Intel SDM vol. 2, tables 2-1 and 2-2)."""
    kinds = {register.kind for register in (base, index) if register is not None}
    names = (base.name if base else "", index.name if index else "")
    if kinds == {REG16}:
        valid = scale == 1 and names[0] in ("bx", "bp", "si", "di") and names[1] in ("", "si", "di")
        valid = valid and not (names[0] in ("si", "di") and names[1])
        valid = valid or (names == ("dx", "") and scale == 1)  # the port of IN and OUT, in its other spelling
    else:
        valid = (
            kinds <= {REG32} and names[1] != "esp" and (index is not None or base is not None or scale == 1)
        )
    if not valid:
        raise scanner.error("not a valid base and index", start)
