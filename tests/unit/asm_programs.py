"""Random programs: instructions, data, places, macros, repeats and conditions in any order, from a seed."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMBERS = (
    "0", "1", "5", "0x10", "017", "0b101", "'a", "'\\n", "255", "-1", "0x7f", "0x80", "1000", "(2+3)", "~0",
    "-(3)", "!1",
)  # fmt: skip
_OPERATORS = ("+", "-", "*", "|", "&", "^", "==", "!=", "<>", "<", ">", "<=", ">=", "&&", "||", "!")
_REGISTERS = ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi")
_CHARACTERS = (
    r"\n", r"\t", r"\\", r"\"", r"\0", r"\12", r"\377", r"\x41", r"\xff", r"\b", r"\f", r"\r", r"\q", r"\8",
    r"\400", r"\x", "é", "#", "/*", "*/", "//", ";", "'", "a",
)  # fmt: skip
_LABELS = ("l0", "l1", "l2", "_start", ".")
_INSTRUCTIONS = (
    "movl {memory}, {register}", "addl ${value}, {register}", "cmpb ${number}, {memory}", "pushl ${value}",
    "push {register}", "{branch} {target}", "{branch} {target}", "leal {memory}, {register}",
    "lock incl {memory}", "rep movsb", "nop", "testl ${value}, {memory}", "shll ${number} & 31, {register}",
    "ret", "int $0x82", "imull ${value}, {memory}, {register}", "movw ${number}, {memory}", "jmp *{memory}",
    "call *{register}", "movzbl {memory}, {register}", "xchg {register}, {memory}", "ljmp $8, $l0",
    "fldl {memory}",
)  # fmt: skip
_DATA = (
    ".byte {constant}, {number}", ".word {constant}", ".long {value}, {value}", ".quad {constant}",
    ".ascii {string}", ".asciz {string}, {string}", ".string {string} {string}", ".uleb128 {constant}",
    ".sleb128 {number}, 64", ".uleb128 l1 - l0", ".float 1.5, -0, 1e5, 0f3",
    ".fill {small}, {small}, {number}", ".skip {large}, {number}", ".zero {small}", ".octa {number}",
    ".string16 {string}",
)  # fmt: skip
_PLACES = (
    ".balign {boundary}", ".p2align {small},,{small}", ".p2align 4, 0x90", ".balign 8, {number}, {small}",
    ".org . + {small}, {number}", ".subsection {small}", ".data", ".text", ".previous", ".text {small}",
    '.pushsection .extra, "aw"\n{data}\n.popsection', ".section .rodata", ".nops {small}",
    ".pushsection .data, {small}\n{data}\n.popsection",
)  # fmt: skip
_BLOCKS = (
    ".rept {small}\n{data}\n{instruction}\n.endr",
    ".irp x, {number}, {number}\n.byte \\x\n.long \\x + 1\n.endr",
    ".irpc c, 1207\n.byte \\c, 0x1\\c\n.endr",
    ".if {constant}\n{data}\n.elseif {constant}\n{instruction}\n.else\n{data}\n.endif",
    ".ifdef l1\n{data}\n.else\n{data}\n.endif",
    ".ifc {number} , {number}\n{data}\n.else\n{data}\n.endif",
    ".ifeq {constant}\n{data}\n.endif\n.ifge {constant}\n{data}\n.endif",
    "k{bit} = {number}",
    ".set k0, k1 + {number}",
    '.macro {macro} a, b={number}, c:vararg\n.long \\a, \\b\n.ascii "\\a\\b\\c\\@"\n.ifnb \\c\n.byte \\c\n'
    ".endif\nx\\@: .long . - x\\@\n.endm\n{macro} {number}\n{macro} {number}, {number}, {number}, {number}\n"
    "{macro} b={number}, a={number}",
    ".macro {macro} p, q:req\n\\p \\q\n.exitm\n.byte 1\n.endm\n{macro} .byte, {number}\n"
    "{macro} p=.long q={number}",
    '.macro {macro} n\n.if \\n\n.byte \\n\n{macro} "(\\n-1)"\n.endif\n.endm\n{macro} 3',
)
_CHOICES = {
    "number": _NUMBERS, "register": tuple("%" + name for name in _REGISTERS), "bit": ("0", "1"),
    "branch": ("jmp", "je", "jle", "call"), "target": ("l0", "l1", "l2", "1f", "1b", "2f"),
    "small": tuple(map(str, range(5))), "large": tuple(map(str, range(140))),
    "boundary": ("2", "4", "16", "32"),
}  # fmt: skip
_TEMPLATES = {"data": _DATA, "instruction": _INSTRUCTIONS}
_WORD = re.compile(r"\{([a-z]+)\}")
_FORMS = ("{}", "{}", "{}", "1: {}", "2: {}", "{} # a comment; not a statement", "/* here */ {}")


class _Writer:
    def __init__(self, seed: int) -> None:
        self._choose = random.Random(seed)
        self._macros = 0

    def _any(self, of: Sequence[str]) -> str:
        return self._choose.choice(of)

    def constant(self, depth: int = 0) -> str:
        if depth > 2 or self._choose.random() < 0.4:
            return self._any(_NUMBERS)
        left, right = self.constant(depth + 1), self.constant(depth + 1)
        shift = f"({left}) {self._any(['<<', '>>'])} {self._choose.randrange(20)}"
        return self._any(
            [f"({left})", f"-{left}", f"~{left}", shift, f"{left} {self._any(_OPERATORS)} {right}"]
        )

    def _value(self) -> str:
        """A number or a place, as an operand of an instruction may be."""
        label, number = self._any(_LABELS), self._any(_NUMBERS)
        return self._any([number, f"{number} * 3 + k0", f"{label} + {number}", "l2 - l0", label])

    def _memory(self) -> str:
        base, index, number = self._any(_REGISTERS), self._any(_REGISTERS), self._choose.randrange(300)
        return self._any(
            [
                "l0 + 4", f"(%{base})", f"l1(%{base})", f"{number}(%{base},%{index},4)", f"%fs:{number}",
                f"k1(,%{index},8)", f"%gs:(%{base})",
            ]
        )  # fmt: skip

    def _string(self) -> str:
        return '"' + "".join(self._any(_CHARACTERS) for _ in range(self._choose.randrange(6))) + '"'

    def fill(self, template: str) -> str:
        """The template with each `{word}` chosen anew; a macro's name is the same throughout."""
        self._macros += 1
        text = template.replace("{macro}", f"m{self._macros}")
        while (found := _WORD.search(text)) is not None:
            text = text[: found.start()] + self._word(found[1]) + text[found.end() :]
        return text

    def _word(self, word: str) -> str:
        if word in _CHOICES:
            return self._any(_CHOICES[word])
        if word in _TEMPLATES:
            return self.fill(self._any(_TEMPLATES[word]))
        makers = {
            "memory": self._memory,
            "value": self._value,
            "constant": self.constant,
            "string": self._string,
        }
        return makers[word]()

    def statement(self) -> str:
        kind = self._choose.choices((_INSTRUCTIONS, _DATA, _PLACES, _BLOCKS), (35, 25, 15, 25))[0]
        return self._any(_FORMS).replace("{}", self.fill(self._any(kind)))


def program(seed: int) -> str:
    """The text of one program, with `_start` and everything it refers to."""
    writer, lines = _Writer(seed), ["_start:", "k0 = 3", "k1 = 4", "1:"]
    for label in range(3):
        lines += [writer.statement() for _ in range(5)]
        lines += [".text", f"l{label}:"]
    return "\n".join([*lines, "1:", "2: nop"])
