"""The instruction table: which operands a mnemonic takes, and the bytes of each form.

The tables in `opcodes` are text, one form a line: `names operands opcode`.

`names` are the spellings of one instruction, separated by commas. A dot after the name says that a size
suffix may follow it: `mov.` takes the suffix of its operands, `pop.w` takes `w` and no other.

`operands` are in AT&T order, source first, separated by commas; `-` stands for none. A capital letter says
what an operand is and where it goes (the letters of the opcode map in the Intel SDM, volume 2, appendix A,
where it has one), a small letter after it how large it is: `b`, `w`, `d` are 8, 16 and 32 bits, and a line
with `v` stands for two, one with `w` and the prefix 66, one with `d`.

    E   register or memory, in ModRM.rm           P   MMX register, in ModRM.reg
    M   memory                                    Q   MMX register or memory, in ModRM.rm
    R   register, in ModRM.rm                     N   MMX register, in ModRM.rm
    G   register, in ModRM.reg                    V   XMM register, in ModRM.reg
    H   register, in both                         W   XMM register or memory, in ModRM.rm
    Z   register, in the opcode's low bits        Ux  XMM register, in ModRM.rm
    A   the accumulator                           T0, Ti  %st, and %st(i) in the opcode's low bits
    I   immediate of the operand size             S, Tw   segment register; one that can be loaded
    Is  one that a sign-extended byte can say     C, D, K control, debug and test register
    Ub, Uw  immediate of fixed width              X   the memory operand of XLAT
    O   an address without base and index, after the opcode

Everything else is a register's name (`x0` is %xmm0) or the number that an immediate must be. `*` marks the
operand of an indirect branch.

`opcode` is hexadecimal; `/r` says that a ModRM byte follows whose reg field is an operand, `/0` to `/7` that
it is this number. Bytes after that come after the displacement.

The order of the lines is that in which GNU as prefers them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from paravane.asm.opcodes import TABLES
from paravane.asm.operands import (
    CONTROL,
    DEBUG,
    FPU,
    MMX,
    REG8,
    REG16,
    REG32,
    REGISTERS,
    SREG,
    SSE,
    TEST,
    Immediate,
    Memory,
    Register,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.asm.operands import Operand

RM, REG, BOTH, LOW, IMMEDIATE, ADDRESS, NOTHING = "rm", "reg", "both", "low", "immediate", "address", ""
_GENERAL = {"b": REG8, "w": REG16, "d": REG32}
_WIDTHS = {"b": 8, "w": 16, "d": 32}
_SUFFIXES = {"b": "b", "w": "w", "d": "l"}
_PLACES = {
    "E": RM, "M": RM, "R": RM, "Q": RM, "N": RM, "W": RM, "G": REG, "S": REG, "T": REG, "C": REG, "D": REG,
    "K": REG, "P": REG, "V": REG, "H": BOTH, "Z": LOW, "O": ADDRESS,
}  # fmt: skip
_KINDS = {
    "S": SREG,
    "T": SREG,
    "C": CONTROL,
    "D": DEBUG,
    "K": TEST,
    "P": MMX,
    "Q": MMX,
    "N": MMX,
    "V": SSE,
    "W": SSE,
}
_PORT, _CS = REGISTERS["dx"], REGISTERS["cs"]
_LOOSE = {"cl": ("cl", "cx", "ecx"), "dx": ("dx", "edx")}
"""A shift count is in %cl and a port in %dx, whichever name of the register GNU as finds there."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What one operand of a form may be, and where it goes.

    `kind` is the kind of register it takes (empty: none), `register` the only one where there is just one;
    `width` that of an immediate in bits, 0 for other operands.
    """

    token: str
    place: str
    kind: str = ""
    register: Register | None = None
    memory: bool = False
    width: int = 0
    strict: bool = False
    number: int | None = None

    def takes(self, operand: Operand, width: int) -> bool:
        """Whether the operand may stand here; `width` is the operand size of the form, in bits."""
        if isinstance(operand, Register):
            if self.token in _LOOSE:
                return operand.name in _LOOSE[self.token] and (width > 8 or operand.name != "ecx")
            if self.register is not None:
                return operand is self.register
            return operand.kind == self.kind and not (self.token == "Tw" and operand is _CS)
        if isinstance(operand, Memory):
            if self.register is _PORT:
                return is_port(operand)
            return self.memory and (self.place != ADDRESS or operand.is_bare)
        if self.place != IMMEDIATE:
            return False
        if self.number is not None:
            return operand.value == self.number
        return self.token != "Is" or _fits_a_byte(operand, width)


@dataclass(frozen=True, slots=True)
class Form:
    """One line of the tables. `digit` is ModRM's reg field, -1 when an operand goes there; `width` the
    operand size in bits; `suffix` the size suffix that may follow `base`, empty when none may."""

    base: str
    suffix: str
    slots: tuple[Slot, ...]
    opcode: bytes
    has_modrm: bool
    digit: int
    tail: bytes
    width: int
    indirect: bool

    def takes(self, operands: Sequence[Operand]) -> bool:
        slots, width = self.slots, self.width
        if len(operands) != len(slots):
            return False
        # Every form of a name is asked for every instruction: a generator takes longer than its questions.
        for slot, operand in zip(slots, operands, strict=True):  # noqa: SIM110
            if not slot.takes(operand, width):
                return False
        return True


def is_port(memory: Memory) -> bool:
    """`(%dx)`, the other spelling of `%dx` as a port."""
    return memory.base is _PORT and memory.index is None and memory.value == 0 and memory.segment is None


def _fits_a_byte(operand: Immediate, width: int) -> bool:
    if operand.value is None:
        return False
    value = operand.value & (1 << width) - 1
    value -= (value >> width - 1) << width
    return -128 <= value <= 127


@cache
def _slot(token: str) -> Slot:
    name = "xmm0" if token == "x0" else "st" if token == "T0" else token
    if name in REGISTERS:
        return Slot(token, NOTHING, register=REGISTERS[name], kind=REGISTERS[name].kind)
    if token.isdigit():
        return Slot(token, IMMEDIATE, number=int(token))
    if token == "Ti":
        return Slot(token, LOW, kind=FPU)
    if token == "Ux":
        return Slot(token, RM, kind=SSE)
    if token == "Is":
        return Slot(token, IMMEDIATE, width=8)
    letter, size = token[0], token[1:]
    if letter in "IU":
        return Slot(token, IMMEDIATE, width=_WIDTHS[size], strict=letter == "U" or size == "d")
    if letter == "A":
        return Slot(token, NOTHING, register=REGISTERS["ax" if size == "w" else "eax"])
    kind = _KINDS.get(letter) or ("" if letter in "MOX" else _GENERAL[size])
    return Slot(token, _PLACES.get(letter, NOTHING), kind=kind, memory=letter in "EMQWOX")


def _forms(line: str) -> Iterator[tuple[str, Form]]:
    """Each form of a line, under each of its names."""
    names, operands, opcode = line.split(None, 2)
    tokens = [] if operands == "-" else operands.split(",")
    if any(token[-1] == "v" for token in tokens):
        sizes = {"w": "66 ", "d": ""}
        for size, prefix in sizes.items():
            sized = [token[:-1] + size if token[-1] == "v" else token for token in tokens]
            yield from _named(names, sized, prefix + opcode, size)
    else:
        yield from _named(names, tokens, opcode, next((t[-1] for t in tokens if t[-1] in _SUFFIXES), "d"))


def _named(names: str, tokens: list[str], opcode: str, size: str) -> Iterator[tuple[str, Form]]:
    indirect = any(token.startswith("*") for token in tokens)
    slots = tuple(_slot(token.removeprefix("*")) for token in tokens)
    found = re.fullmatch(r"((?:[0-9a-f]{2} ?)+)(?:/([r0-7]) ?(.*))?", opcode)
    assert found, opcode
    head, modrm, tail = found.groups()
    for name in names.split(","):
        base, dot, suffix = name.partition(".")
        if dot and not suffix:
            suffix = _SUFFIXES[size]
        width = {"b": 8, "w": 16}.get(suffix, _WIDTHS[size] if size != "b" else 32)
        form = Form(
            base, suffix, slots, bytes.fromhex(head), modrm is not None,
            -1 if modrm in (None, "r") else int(modrm), bytes.fromhex(tail or ""), width, indirect,
        )  # fmt: skip
        yield base, form
        if dot:
            yield base + suffix, form


def _lines() -> dict[str, list[str]]:
    """Each name without its suffix -> its lines."""
    lines: dict[str, list[str]] = {}
    for text in TABLES:
        for line in text.splitlines():
            for name in line.partition(" ")[0].split(","):
                if name:
                    lines.setdefault(name.partition(".")[0], []).append(line)
    return lines


_LINES = _lines()


@cache
def forms(name: str) -> tuple[Form, ...]:
    """The forms a mnemonic may mean, with its suffix or without, the preferred ones first; none for a word
    that is no mnemonic. Lines are read when they are first asked for: a kernel uses few of them."""
    bases = [base for base in (name, name[:-1]) if base in _LINES]
    return tuple(
        form for base in bases for line in _LINES[base] for word, form in _forms(line) if word == name
    )


@cache
def names() -> frozenset[str]:
    """Every mnemonic of the table, with the suffixes it takes and without."""
    return frozenset(word for lines in _LINES.values() for line in lines for word, _ in _forms(line))
