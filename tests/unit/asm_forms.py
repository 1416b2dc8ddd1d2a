"""Instruction lines made up from what a disassembler knows: every mnemonic with operands of every kind."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING

import capstone
import capstone.x86

from paravane.asm import forms, mnemonics

if TYPE_CHECKING:
    from collections.abc import Iterator

_TAIL = bytes.fromhex("1234567811223344")
_MODRM = (
    0x00,
    0x02,
    0x0D,
    0x13,
    0x1E,
    0x25,
    0x2F,
    0x30,
    0x38,
    0x46,
    0x83,
    *range(0xC0, 0x100, 5),
    0xC1,
    0xDB,
)
_ESCAPES = (b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a")
_PREFIXES = (b"", b"\x66", b"\xf2", b"\xf3")
_EACH = 6
"""Lines of each mnemonic that are kept."""

_SHAPES = (
    "", "%bl", "%cx", "%edx", "(%esi)", "$5", "%xmm3", "%mm2", "%st(2)", "%ds", "%dx", "*%eax", "*(%ebx)",
    "%bl,%cl", "%bx,%cx", "%ebx,%ecx", "%al,%bl", "%eax,%ecx", "%ecx,%eax", "%bl,(%esi)", "(%esi),%bl",
    "%bx,(%esi)",
    "(%esi),%bx", "%ebx,8(%esi)", "8(%esi),%ebx", "$5,%bl", "$5,%bx", "$5,%ebx", "$300,%ebx", "$300,%cx",
    "$-5,%al", "$300,%eax", "$5,(%esi)", "$300,(%esi)", "$0xffffffff,%ebx", "16,%eax", "%al,16", "%bl,%cx",
    "%bl,%ecx", "%bx,%ecx", "%cl,%ebx", "%cl,(%esi)", "%xmm1,%xmm2", "(%esi),%xmm2", "%xmm1,(%esi)",
    "%mm1,%mm2", "(%esi),%mm2", "%mm1,(%esi)", "%xmm1,%ecx", "%ecx,%xmm1", "%mm1,%ecx", "%ecx,%mm1",
    "%xmm1,%mm2", "%mm1,%xmm2", "$5,%xmm1", "$5,%mm1", "%st(1),%st", "%st,%st(2)", "%ds,%ecx", "%cx,%ds",
    "(%esi),%ds", "%ds,(%esi)", "%cr0,%ecx", "%ecx,%cr3", "%db3,%eax", "%dx,%al", "%eax,%dx", "$7,%ax",
    "$3,$4", "%ecx,(%bx,%si)", "(%esi),%es:(%edi)", "%es:(%edi),(%esi)", "%es:(%edi),%eax",
    "%fs:-4(%esp,%ebp,8),%esi", "$5,%ebx,%ecx", "$300,%ebx,%ecx", "$5,(%esi),%ecx", "$5,%bx,%cx",
    "%cl,%ebx,%ecx", "%cl,%ebx,(%esi)", "$5,%xmm1,%xmm2", "$5,(%esi),%xmm2", "$5,%xmm1,%ecx", "$5,%ecx,%xmm1",
    "$5,%mm1,%mm2", "$5,%mm1,%ecx", "$5,%ecx,%mm1", "$5,%xmm1,(%esi)", "%xmm0,%xmm1,%xmm2",
)  # fmt: skip


@cache
def _disassembler() -> capstone.Cs:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    return engine


def decoded() -> list[str]:
    """What encodings of all opcodes say when they are disassembled: a few lines of each mnemonic.

    Direct branches are left out: what they are assembled to depends on where they stand.
    """
    lines: dict[str, list[str]] = {}
    for prefix in _PREFIXES:
        for escape in _ESCAPES:
            for opcode in range(256):
                for modrm in _MODRM:
                    code = prefix + escape + bytes([opcode, modrm]) + _TAIL
                    for _, _, name, text in _disassembler().disasm_lite(code, 0, 1):
                        lines.setdefault(name, []).append(f"{name} {text}".strip())
    branches = mnemonics.BRANCHES.keys() | mnemonics.LOOPS.keys() | mnemonics.NEAR
    chosen, kept = random.Random(0), list[str]()
    for name, found in sorted(lines.items()):
        distinct = sorted(set(found))
        picked = chosen.sample(distinct, min(_EACH, len(distinct)))
        kept += [line for line in picked if name.split()[-1] not in branches or "*" in line]
    return kept


def shaped() -> Iterator[str]:
    """Each mnemonic of ours, with and without suffixes, with operands of each kind: most make no sense, and
    both assemblers are to say so."""
    words = forms.names() | mnemonics.STRINGS.keys() | mnemonics.FAR
    words |= {word + suffix for word in words for suffix in "bwlsq"}
    chosen = random.Random(0)
    for word in sorted(words):
        number = sum(word.encode())
        if mnemonics.is_known(word):
            shapes = _SHAPES if number % 8 == 0 else chosen.sample(_SHAPES, 10)
            yield from (f"{word} {shape}".strip() for shape in shapes)
        elif number % 8 == 0:
            yield f"{word} %ecx"


def addressed() -> Iterator[str]:
    """Memory operands of all shapes, right and wrong."""
    chosen = random.Random(0)
    displacements = ("", "0", "4", "-4", "127", "128", "-128", "-129", "0x12345678", "0xffffffff", "-1")
    registers = ("", "%eax", "%esp", "%ebp", "%esi", "%bx", "%bp", "%si", "%di")
    for _ in range(2500):
        segment = chosen.choice(("", "", "%ds:", "%ss:", "%es:", "%fs:"))
        inner = chosen.choice(registers)
        if chosen.random() < 0.6:
            inner += (
                "," + chosen.choice(registers) + chosen.choice(("", "", ",1", ",2", ",4", ",8", ",3", ","))
            )
        prefix = chosen.choice(("", "", "", "", "{disp8} ", "{disp32} ", "addr16 "))
        address = f"{chosen.choice(displacements)}({inner})" if inner else chosen.choice(displacements[1:])
        yield f"{prefix}movl {segment}{address},%ecx"


def prefixed() -> Iterator[str]:
    """Prefixes before all kinds of instructions."""
    words = [word for word in mnemonics.PREFIXES if word != "rex"]
    words += [
        "{load}",
        "{store}",
        "{disp8}",
        "{disp32}",
        "{vex}",
        "lock lock",
        "rep lock",
        "cs ds",
        "repz cs",
    ]
    instructions = (
        "movl %eax,%ebx", "addl %eax,%ebx", "addl %eax,(%ebx)", "addl (%ebx),%eax", "incl (%eax)",
        "movsl", "cmpsb",
        "stosl", "lodsb %ds:(%esi),%al", "lodsl %fs:(%esi),%eax", "outsl", "insb", "nop", "ret",
        "retl $4", "lret",
        "call *%eax", "call *(%eax)", "jmp *4(%eax)", "movl %ss:(%ebp),%eax", "movl %ds:(%ebp),%eax",
        "movl (%esp),%eax",
        "movl $1,(%eax)", "xchgl %eax,(%ebx)", "xchgl %eax,%ebx", "cmpxchg8b (%eax)", "btsl %eax,(%ebx)",
        "btl %eax,(%ebx)", "movaps %xmm0,%xmm1", "addss (%eax),%xmm1", "paddb %mm0,%mm1", "fadds (%eax)",
        "fld %st(1)",
        "pushl $1", "pushw $1", "popw %ax", "int $3", "int $0x80", "iret", "pause", "bsr %ax,%bx",
        "popcnt %eax,%ebx",
        "leal (%bx,%si),%eax", "movl (%bx),%eax", "xlat", "enter $4,$1", "movb %al,4", "movl 4,%eax",
        "in $1,%al",
        "mov %ds,%ax", "mov %ax,%ds", "lea 0(%esi),%esi", "crc32l %eax,%ebx", "lcall $1,$2",
        "ljmp *(%eax)", "emms", "cmpeqps %xmm0,%xmm1",
    )  # fmt: skip
    for instruction in instructions:
        yield from (f"{word} {instruction}" for word in words)
        name, _, rest = instruction.partition(" ")
        yield from (f"{name}{hint} {rest}" for hint in (".s", ".d8", ".d32"))
