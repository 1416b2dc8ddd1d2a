"""Short instruction sequences for every instruction of the assembler's table, each with a start state of its
own.

Sequences are one or two lines; %esi points to 64 bytes of scratch memory, %edi to 64 more, %ebp to the last
16 bytes before a page that is not mapped. Everything is drawn from a seeded generator: two runs make the same
cases.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paravane.asm import mnemonics
from paravane.asm.forms import forms, names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.asm.forms import Form, Slot

STATES = 24
PAGE_END = 0x1000_1000
CF, PF, AF, ZF, SF, DF, OF, RF = 1, 4, 0x10, 0x40, 0x80, 0x400, 0x800, 0x10000
ARITHMETIC = CF | PF | AF | ZF | SF | OF


@dataclass(frozen=True, slots=True)
class Case:
    """`code` is one or more lines; `undefined` the flags that Intel's manual leaves open after it, or has
    otherwise than AMD's."""

    code: str
    state: int
    flags: int
    undefined: int = 0
    wide: bool = False
    """Whether x87 and SSE registers are looked at."""


def _real(value: float) -> bytes:
    """A double as the 10 bytes of an x87 register."""
    bits = struct.unpack("<Q", struct.pack("<d", value))[0]
    sign, exponent, fraction = bits >> 63, bits >> 52 & 0x7FF, bits & (1 << 52) - 1
    if exponent == 0 and fraction == 0:
        return struct.pack("<QH", 0, sign << 15)
    wide = 0x7FFF if exponent == 0x7FF else exponent - 1023 + 16383
    return struct.pack("<QH", 1 << 63 | fraction << 11, sign << 15 | wide)


_REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.75, 1e10, -1e-10, 123456.789, 3.5, 65535.5, -32768.0, 1e300)
_WORDS = (0, 1, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x8000, 0xFF, 0x7F80, 0x01010101, 0x12345678)


def state(number: int) -> bytes:
    """EAX, EBX, ECX and EDX, an FXSAVE image and 128 bytes of scratch memory."""
    chosen = random.Random(number)
    words = [chosen.choice((*_WORDS, *(chosen.getrandbits(32) for _ in _WORDS))) for _ in range(4)]
    registers = b"".join(word.to_bytes(4, "little") for word in words)
    stack = b"".join(_real(chosen.choice(_REALS)) + bytes(6) for _ in range(8))
    vectors = b"".join(_vector(chosen) for _ in range(8))
    head = struct.pack("<HHBBHIIII", 0x37F, 0, 0xFF if number % 3 else 0x0F, 0, 0, 0, 0, 0, 0)
    image = head + struct.pack("<II", 0x1F80, 0) + stack + vectors
    return registers + image.ljust(512, b"\0") + b"".join(_vector(chosen) for _ in range(8))


def _vector(chosen: random.Random) -> bytes:
    kind = chosen.randrange(4)
    if kind == 0:
        return struct.pack("<2d", chosen.choice(_REALS), chosen.uniform(-1e6, 1e6))
    if kind == 1:
        values = (1.0, -2.5, 0.0, 3.4e38, 1e-20, 7.75, -100.0)
        return struct.pack("<4f", *(chosen.choice(values) for _ in range(4)))
    if kind == 2:
        return chosen.randbytes(16)
    return b"".join(chosen.choice(_WORDS).to_bytes(4, "little") for _ in range(4))


_UNDEFINED = {
    "and": AF, "or": AF, "xor": AF, "test": AF, "mul": SF | ZF | AF | PF, "imul": SF | ZF | AF | PF,
    "div": ARITHMETIC, "idiv": ARITHMETIC, "bsf": ARITHMETIC & ~ZF, "bsr": ARITHMETIC & ~ZF,
    "bt": ARITHMETIC & ~(CF | ZF), "bts": ARITHMETIC & ~(CF | ZF), "btr": ARITHMETIC & ~(CF | ZF),
    "btc": ARITHMETIC & ~(CF | ZF), "aaa": OF | SF | ZF | PF, "aas": OF | SF | ZF | PF, "daa": OF, "das": OF,
    "aam": OF | AF | CF, "aad": OF | AF | CF, "shl": AF | OF | CF, "sal": AF | OF | CF, "shr": AF | OF | CF,
    "sar": AF | OF | CF, "rol": OF | CF, "ror": OF | CF, "rcl": OF, "rcr": OF, "shld": AF | OF | CF,
    "shrd": AF | OF | CF,
}  # fmt: skip
"""What Intel's manual leaves undefined (for shifts: in some of the counts that are drawn)."""

_BETWEEN_REPETITIONS = {
    "movl %ebp, %edi; movl $0x55, %eax; movl $30, %ecx; repne scasb": ARITHMETIC,
    "movl %ebp, %esi; movl %ebp, %edi; movl $30, %ecx; repe cmpsb": ARITHMETIC,
    "pushf; orl $0x100, (%esp); popf; rep movsb": RF,
}
"""What a frame has that is made between two repetitions. Intel: the status flags from before the instruction
where it faults, RF where it is single-stepped; AMD: those of the last repetition, and no RF."""

_LEFT_OUT = frozenset((
    "push", "pop", "pusha", "pushal", "pushaw", "popa", "popal", "popaw", "popf", "popfl", "popfw", "pushf",
    "pushfl", "pushfw", "jmp", "call", "ljmp", "lcall", "ret", "retl", "retw", "lret", "lretl", "lretw",
    "retf", "retfl", "retfw", "iret", "iretl", "iretw", "enter", "enterl", "enterw", "leave", "leavel",
    "leavew", "int", "int3", "int1", "into", "lds", "les", "lss", "lfs", "lgs", "rdtsc", "rdtscp", "cpuid",
    "syscall", "sysret", "sysretl", "sysenter", "sysexit", "sysexitl", "rsm", "xgetbv", "xsetbv", "vmcall",
    "vmmcall", "clac", "stac", "sldt", "str", "smsw", "sgdt", "sidt", "endbr32", "endbr64", "lar", "lsl",
    "verr", "verw", "xlat", "xlatb", "fxrstor", "frstor", "frstorl", "frstors", "fldenv", "fldenvl",
    "fldenvs", "fnsave", "fnsavel", "fnsaves", "fsave", "fsavel", "fsaves", "fnstenv", "fnstenvl",
    "fnstenvs", "fstenv", "fstenvl", "fstenvs", "fldcw", "fldcww", "ldmxcsr", "fxsave", "mwait", "monitor",
    "fneni", "fndisi", "fnsetpm", "frstpm", "feni", "fdisi", "fsetpm", "prefetch", "prefetchw",
    "pcmpestri", "pcmpestrm", "pcmpistri", "pcmpistrm", "lzcnt",
    "tzcnt", "popcnt", "rcpps", "rcpss", "rsqrtps", "rsqrtss", "shldw", "shrdw",
))  # fmt: skip
"""Not drawn from the table: what leaves the sequence, differs between machines, or has a case of its own
below."""


def _operand(slot: Slot, chosen: random.Random) -> str | None:
    """Text for one operand, None when this slot has no place in a sequence."""
    token = slot.token
    if slot.place == "immediate":
        return (
            f"${slot.number if slot.number is not None else chosen.choice((0, 1, 3, 7, 8, 31, 100, -1, 127))}"
        )
    if token in ("Ub", "Ib"):
        return f"${chosen.randrange(32)}"
    if slot.register is not None:
        return None if token in ("dx",) else f"%{slot.register.name}"
    if slot.place == "address":
        return "scratch + 4"
    if slot.memory and (not slot.kind or chosen.random() < 0.4):
        return chosen.choice(("(%esi)", "16(%edi)", "32(%esi)"))
    registers = {
        "r8": ("al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"), "r16": ("ax", "cx", "dx", "bx"),
        "r32": ("eax", "ecx", "edx", "ebx"), "mm": ("mm0", "mm3", "mm5"),
        "xmm": ("xmm0", "xmm1", "xmm4", "xmm7"), "st": ("st", "st(1)", "st(3)", "st(6)"),
    }.get(slot.kind)  # fmt: skip
    return None if registers is None else "%" + chosen.choice(registers)


def _line(form: Form, chosen: random.Random) -> str | None:
    operands = [_operand(slot, chosen) for slot in form.slots]
    if form.indirect or any(text is None for text in operands):
        return None
    return f"{form.base}{form.suffix} {', '.join(text for text in operands if text)}".strip()


def _of_the_table(chosen: random.Random, each: int) -> Iterator[Case]:
    for name in sorted(names()):
        for form in forms(name):
            if name != form.base + form.suffix or form.base in _LEFT_OUT or name in _LEFT_OUT:
                continue
            wide = any(slot.kind in ("mm", "xmm", "st") for slot in form.slots) or name.startswith("f")
            for _ in range(each if form.slots else each + 2):
                line = _line(form, chosen)
                if line is not None:
                    flags = chosen.getrandbits(12) & ARITHMETIC
                    undefined = _UNDEFINED.get(form.base, 0)
                    yield Case(line, chosen.randrange(STATES), flags, undefined, wide)


_SPECIAL = (
    "pushl %eax; pushw %cx; popw %dx; popl %ebx", "pusha; popa", "pushf; popl %eax", "pushl $0xCD5; popf",
    "pushl $0; popf", "enter $16, $1; leave", "enter $8, $0; leave", "movl $3, %ecx; 1: incl %eax; loop 1b",
    "xorl %ecx, %ecx; jecxz 1f; incl %eax; 1:", "popcntl %eax, %ebx", "popcntw (%esi), %cx", "xlat",
    "xorl %ebx, %ebx; movl $scratch, %ebx; movb $5, %al; xlat",
    # strings
    "movl $7, %ecx; rep movsb", "std; movl $3, %ecx; rep movsl", "movl $5, %ecx; rep stosw", "lodsl",
    "scasb", "movl $20, %ecx; repe cmpsb", "movl $20, %ecx; repne scasb", "movl $0, %ecx; repe cmpsl",
    "movl $9, %ecx; addr16 rep lodsb",
    # a fault in the middle of a repeated instruction
    "movl %ebp, %edi; movl $7, %ecx; rep stosl", "movl %ebp, %esi; movl $7, %ecx; rep movsl",
    "movl %ebp, %edi; movl $0x55, %eax; movl $30, %ecx; repne scasb",
    "movl %ebp, %esi; movl %ebp, %edi; movl $30, %ecx; repe cmpsb",
    "movl %ebp, %edi; addl $14, %edi; movl $3, %ecx; rep stosl", "movl %ebp, %esi; addl $13, %esi; lodsl",
    # faults of operands
    "movl 16(%ebp), %eax", "addl %eax, 14(%ebp)", "movl $1, 16(%ebp)", "incl 13(%ebp)",
    "xchgl %eax, 16(%ebp)", "movups 1(%ebp), %xmm0", "movaps %xmm1, 16(%ebp)", "fldt 8(%ebp)",
    "fstpl 12(%ebp)", "popl 16(%ebp)", "pushl 16(%ebp)", "call *16(%ebp)", "jmp *16(%ebp)",
    "cmpxchg8b 12(%ebp)", "fxsave 16(%ebp)", "movaps 1(%esi), %xmm0", "addps 4(%esi), %xmm0",
    "movaps %xmm0, 8(%esi)", "paddb 1(%esi), %xmm0", "movntps %xmm0, 4(%esi)", "fxsave 8(%esi)",
    "movups 1(%esi), %xmm0", "lddqu 3(%esi), %xmm0", "movl 0, %eax", "movl $1, 0", "jmp 0xfffffff0",
    "movl 0xFFFFFFFC, %eax",
    # divisions
    "xorl %ecx, %ecx; divl %ecx", "movl $0x80000000, %edx; xorl %eax, %eax; movl $-1, %ecx; idivl %ecx",
    "movl $0x80000000, %eax; cltd; movl $-1, %ecx; idivl %ecx",
    "movw $0x8000, %ax; movb $-1, %cl; idivb %cl", "movl $1, %edx; movl $1, %ecx; divl %ecx", "aam $0",
    "movb $200, %al; aam $10", "movw $0x905, %ax; aad $7",
    # traps
    "int3", "into", "movl $0x7fffffff, %eax; incl %eax; into", "int $4", "int $3", "int $13", "int $0x21",
    "boundl %eax, (%esi)", "boundw %cx, (%edi)", ".byte 0x66, 0xCC",
    # what only a kernel may do
    "hlt", "cli", "sti", "clts", "invd", "wbinvd", "inb $0x80, %al", "outl %eax, %dx", "movl %cr0, %eax",
    "movl %eax, %cr3", "movl %db7, %eax", "rdmsr", "wrmsr", "lgdt (%esi)", "lidt (%esi)", "lldt %ax",
    "ltr %ax", "invlpg (%esi)", "lmsw %ax", "insb", "outsl", "monitor", "mwait", "rdpmc", "rsm",
    "movw $0x1234, %ax; movw %ax, %ds", "xorl %eax, %eax; movw %ax, %ss", "pushl $8; pop %es", "iretw",
    "pushl $0; pushl $0; lret", "pushl $0; pushl $0; pushl $0; iret", "ljmp $8, $0",
    # no instructions, and some that look as if they were none
    "ud2", "ud1l %eax, %ebx", "ud0l %eax, %ebx", ".byte 0xF0, 0x0F, 0xA3, 0xC0", ".byte 0xF0, 0x90",
    ".byte 0xF0, 0x01, 0xC0", ".byte 0xF0, 0x8B, 0x06", ".byte 0xF0, 0x0F, 0xA3, 0x06", ".byte 0x8F, 0xC8",
    ".byte 0x8F, 0x0E", ".byte 0x0F, 0xBA, 0xC8, 1", ".byte 0x0F, 0xBA, 0x0E, 1", ".byte 0xF6, 0xC8, 0x55",
    ".byte 0xF7, 0xC8, 1, 2, 3, 4", ".byte 0xF6, 0x0E, 0x55", ".byte 0x0F, 0x0D, 0x0E",
    ".byte 0x0F, 0x0D, 0x16", ".byte 0x0F, 0x18, 0x26", ".byte 0x0F, 0x18, 0x3E", ".byte 0xD6",
    ".byte 0x82, 0xC0, 1", ".byte 0xFE, 0xD0", ".byte 0xFF, 0xF8", ".byte 0x0F, 0xC7, 0xC8",
    ".byte 0xC6, 0xC8, 1", ".byte 0xC7, 0xC8, 1, 2, 3, 4", ".byte 0x8E, 0xC8", ".byte 0x8C, 0xF0",
    ".byte 0x8D, 0xC0", ".byte 0xC4, 0xC0, 0", ".byte 0x62, 0xC0, 0", ".byte 0x0F, 0x01, 0xC8",
    ".byte 0x0F, 0x0A", ".byte 0x0F, 0x04", ".byte 0x0F, 0x24, 0xC0", ".byte 0x0F, 0xAE, 0xC0",
    ".byte 0x0F, 0xAE, 0x3E", ".byte 0x0F, 0x19, 0x06", ".byte 0x0F, 0x1C, 0x06", ".byte 0x0F, 0x1D, 0x06",
    ".byte 0x0F, 0x1E, 0x06", ".byte 0xD9, 0xD1", ".byte 0xD9, 0xE2", ".byte 0xDB, 0xE6",
    ".byte 0xDD, 0xC8", ".byte 0xDF, 0xC8", "lock addl %eax, (%esi)", "lock negl (%esi)",
    "lock xaddl %eax, (%edi)", "lock cmpxchgl %ecx, (%esi)", "lock btsl $3, (%esi)", "lock incb (%esi)",
    "lock notl (%esi)", "lock cmpxchg8b (%esi)", "lock sbbl %eax, (%esi)",
    # a single step
    "pushf; orl $0x100, (%esp); popf; nop", "pushf; orl $0x100, (%esp); popf; movl $3, %ecx; rep movsb",
    "pushf; orl $0x100, (%esp); popf; rep movsb",
    "pushf; orl $0x100, (%esp); popf; xorl %eax, %eax; div %eax",
    # x87: the stack, exceptions masked and not, precision and rounding
    "fninit; fadds (%esi)", "fninit; fld %st(3)", "fninit; fxch %st(2)", "fninit; fstps (%esi)",
    "fninit; fcompp", "fninit; fld1; fldpi; fldl2e; fldl2t; fldlg2; fldln2; fldz; fld1; fld1",
    "fninit; fld1; fldz; fdivrp", "fninit; fldz; fldz; fdivrp", "fninit; fld1; fchs; fsqrt",
    "fninit; fldpi; frndint", "fninit; fldpi; fistpl (%esi)",
    "fninit; pushl $0x77F; fldcw (%esp); popl %eax; fldpi; fldl2t",
    "fninit; pushl $0xB7F; fldcw (%esp); popl %eax; fldpi",
    "fninit; pushl $0xF7F; fldcw (%esp); popl %eax; fldpi; fldl2e",
    "fninit; pushl $0x7F; fldcw (%esp); popl %eax; fldpi; fld1; faddp",
    "fninit; pushl $0x27F; fldcw (%esp); popl %eax; fldpi; fldl2e; fmulp",
    "fninit; fldpi; fldl2e; fmulp; fldlg2; fdivrp",
    "fninit; pushl $0x37B; fldcw (%esp); popl %eax; fld1; fldz; fdivrp; fnop",
    "fninit; pushl $0x37B; fldcw (%esp); popl %eax; fld1; fldz; fdivrp; fwait",
    "fninit; pushl $0x37E; fldcw (%esp); popl %eax; fld %st(1); nop; fld1",
    "fnstcw (%esi); fnstsw %ax; fnclex", "fninit; fld1; fcomi %st(0), %st; setbe %al",
    "fninit; fld1; fldz; fcomip %st(1), %st", "fninit; fldz; fxam; fnstsw %ax",
    "fninit; fldt (%esi); fisttpl (%edi)", "fninit; fld1; fchs; fsqrt; fisttpl (%edi)",
    "fnsave (%esi); frstor (%esi)", "fnstenv (%esi); movl (%esi), %eax", "emms; fnstsw %ax",
    "fxsave fxarea; fxrstor fxarea",
    # SSE: MXCSR and its exceptions
    "stmxcsr (%esi)", "movl $0x1F80, (%esi); ldmxcsr (%esi)",
    "movl $0x3F80, (%esi); ldmxcsr (%esi); addps %xmm0, %xmm1", "movl $0xFFFF1F80, (%esi); ldmxcsr (%esi)",
    "movl $0x9FC0, (%esi); ldmxcsr (%esi); mulps %xmm0, %xmm1",
    "xorps %xmm0, %xmm0; movl $0x3F800000, %eax; movd %eax, %xmm1; divss %xmm0, %xmm1; stmxcsr (%esi)",
    "movl $0x1D80, (%esi); ldmxcsr (%esi); xorps %xmm0, %xmm0; movl $0x3F800000, %eax; "
    "movd %eax, %xmm1; divss %xmm0, %xmm1",
    "phaddd %xmm1, %xmm1", "phaddw %xmm4, %xmm4", "phsubd %xmm1, %xmm1", "pshufb %xmm2, %xmm2",
    "palignr $3, %xmm1, %xmm1", "haddps %xmm1, %xmm1", "unpcklps %xmm3, %xmm3", "pmulhrsw %mm1, %mm1",
    "punpckhbw %mm2, %mm2", "packssdw %xmm1, %xmm1", "movbe (%esi), %eax", "movbe %cx, (%edi)",
    "crc32b (%esi), %eax", "crc32l %ecx, %eax", "crc32w %dx, %ebx", "prefetchw (%esi)", "prefetch (%esi)",
    "prefetchnta 16(%ebp)", "cmpxchg8b (%esi)",
    # prefixes that choose the instruction, one too many
    ".byte 0x66, 0xF2, 0x0F, 0x58, 0xC1", ".byte 0xF3, 0x66, 0x0F, 0x5A, 0xC1",
    ".byte 0xF3, 0xF2, 0x0F, 0x51, 0xC1", ".byte 0xF2, 0xF3, 0x0F, 0x10, 0xC1",
    ".byte 0x66, 0xF3, 0x0F, 0x3A, 0x63, 0xCC, 0x0C", ".byte 0x66, 0x0F, 0x16, 0xC1",
)  # fmt: skip


_LENGTHS = (0, 1, 5, 11, 15, 16, 17, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0xFFFFFFF4)
"""Explicit lengths of strings, among them that without a magnitude of its own."""


def _stored(offset: int, contents: Sequence[int]) -> str:
    """Instructions that store 16 bytes in scratch memory."""
    words = struct.unpack("<4I", bytes(contents))
    return "".join(f"movl ${word:#x}, {offset + 4 * at}(%esi); " for at, word in enumerate(words))


def cases(each: int = 2) -> list[Case]:
    """All cases: `each` times every form of the table, and those that need more than an instruction."""
    chosen = random.Random(2003)
    found = list(_of_the_table(chosen, each))
    for code in _SPECIAL:
        words = {word for part in code.split(";") for word in part.split()[:1]}
        known = [word for word in words if mnemonics.is_known(word)]
        bases = {form.base for name in known for form in forms(name)[:1]}
        undefined = _BETWEEN_REPETITIONS.get(code, 0)
        for base in bases:
            undefined |= _UNDEFINED.get(base, 0)
        found += [Case(code, number, 0, undefined, wide=True) for number in (1, 5, 6)]
    for name in ("pcmpestri", "pcmpestrm", "pcmpistri", "pcmpistrm"):
        for control in range(128):
            lengths = [chosen.choice(_LENGTHS) for _ in range(2)]
            before = "movl ${:#x}, %eax; movl ${:#x}, %edx; ".format(*lengths) if "estr" in name else ""
            first, second = (chosen.choices(b"ab\0", weights=(6, 2, 1), k=16) for _ in range(2))
            loads = f"{_stored(0, first)}{_stored(16, second)}movdqu (%esi), %xmm1; "
            in_memory = chosen.random() < 0.5
            operand = "16(%esi)" if in_memory else "%xmm4"
            code = f"{loads if in_memory else ''}{before}{name} ${control}, {operand}, %xmm1"
            found.append(Case(code, control % STATES, 0, wide=True))
    return found
