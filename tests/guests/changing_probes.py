"""Code that changes, has two addresses or reads itself, with sensitive instructions in it: probes for
`tests.support.probes`.

CODE_WINDOW is two pages of code that probes write, and CODE_ALIAS the first of them by another address.
"""

from __future__ import annotations

from typing import Final

from tests.support.probes import Probe

_RINGS: Final = (0, 3)
_CS_READ: Final = "8c c9"
"""MOV of CS to ECX."""


def _put(place: str, code: str) -> str:
    """Store the bytes of `code`, in hexadecimal digits, at `place`."""
    return "".join(f"movb $0x{byte}, {place} + {at}\n" for at, byte in enumerate(code.split()))


def changing_code() -> list[Probe]:
    """Code that stores into itself, reads itself, jumps into itself, and pages with two addresses."""
    codes = (
        # A block of its own that is overwritten after it ran; first by another sensitive instruction.
        f"{_put('CODE_WINDOW', _CS_READ + ' c3')}call CODE_WINDOW\nmov %ecx, (%ebx)\n"
        f"{_put('CODE_WINDOW', '8c d1 c3')}call CODE_WINDOW\nmov %ecx, 4(%ebx)\n"
        f"{_put('CODE_WINDOW', '90 90 c3')}call CODE_WINDOW\nmov %ecx, 8(%ebx)",
        # Written by one address, executed by the other.
        f"{_put('CODE_ALIAS', _CS_READ + ' c3')}call CODE_WINDOW\nmov %ecx, (%ebx)\n"
        f"{_put('CODE_ALIAS', '90 90 c3')}xor %ecx, %ecx\ncall CODE_WINDOW\nmov %ecx, 4(%ebx)\n"
        f"{_put('CODE_WINDOW', _CS_READ + ' c3')}call CODE_ALIAS\nmov %ecx, 8(%ebx)\ncall CODE_WINDOW",
        # Reads of what has run, by both addresses, and a compare of strings.
        f"{_put('CODE_WINDOW', '9c 58 0e 59 c3')}call CODE_WINDOW\nmov CODE_WINDOW, %eax\nmov %eax, (%ebx)\n"
        "mov CODE_ALIAS, %eax\nmov %eax, 4(%ebx)\nmov $CODE_WINDOW, %esi\nmov $CODE_ALIAS, %edi\n"
        "mov $5, %ecx\nrepe cmpsb",
        # Across a page, at every split.
        *(
            f"{_put(f'CODE_WINDOW + 0x1000 - {before}', '66 2e 8c c9 c3')}"
            f"call CODE_WINDOW + 0x1000 - {before}"
            for before in (1, 2, 3, 4)
        ),
        # An instruction that stores over the next one, which is sensitive.
        "mov $0x90, %al\nmovb %al, %%next\n%%next: push %cs\nnop\nmov %esp, %ecx",
        "movw $0xc98c, %%next\n%%next: nop\nnop",
        "movb $0x9c, %%next\n%%next: nop\nmov %esp, %ecx",
        # A loop that turns its own instruction round, MOV from CS and from SS.
        "mov $6, %eax\n%%again: xorb $0x18, %%here + 1\n%%here: mov %cs, %ecx\nadd %ecx, (%ebx)\ndec %eax\n"
        "jnz %%again",
        # Code that runs again after the page was mapped elsewhere and back is no other.
        f"{_put('CODE_WINDOW', _CS_READ + ' c3')}call CODE_WINDOW\nmov %ecx, (%ebx)\n"
        f"{_put('CODE_ALIAS', '8c d1 c3')}call CODE_WINDOW\nmov %ecx, 4(%ebx)",
        # Into an immediate.
        "mov $%%code + 1, %eax\ncall *%eax\njmp %%end\n%%code: .byte 0xbb, 0x8c, 0xc9, 0xc3, 0x90\n%%end:",
        # A handler in the page of what it interrupts.
        "push %cs\nint3\npop %ecx",
        # REP STOS over code that has just run.
        f"{_put('CODE_WINDOW', _CS_READ + ' c3')}call CODE_WINDOW\nmov %ecx, (%ebx)\nmov $0xc3c3c3c3, %eax\n"
        "mov $CODE_WINDOW, %edi\nmov $4, %ecx\nrep stosl\ncall CODE_WINDOW",
    )
    return [Probe(code, ring) for code in codes for ring in _RINGS]


# Entries of the table that maps the code windows.
_FIRST, _SECOND, _WHOLE_TABLE = "high_table + 24", "high_table + 28", "high_table + 36"
_EDGE: Final = "CODE_WINDOW + 0x1000 - 1"


def _copied(place: str) -> str:
    """Copy what lies from `%%code` to `%%end` to `place`."""
    return f"mov $%%code, %esi\nmov ${place}, %edi\nmov $%%end - %%code, %ecx\nrep movsb\n"


def changing_pages() -> list[Probe]:
    """Code whose pages are mapped elsewhere, or nowhere, around its sensitive instructions."""
    skipped = "jmp %%end\n%%code: "
    second = "invlpg CODE_WINDOW + 0x1000\n"
    codes = (
        # Forgotten, from outside and by itself.
        f"{_put('CODE_WINDOW', _CS_READ + ' c3')}call CODE_WINDOW\ninvlpg CODE_WINDOW\nmov %ecx, (%ebx)\n"
        "call CODE_WINDOW",
        f"{_copied('CODE_WINDOW')}call CODE_WINDOW\n{skipped}invlpg CODE_WINDOW\nmov %cs, %ecx\n"
        "mov %cr3, %eax\nmov %eax, %cr3\npush %ss\npop %edx\nret\n%%end:",
        # Another frame under its feet, which goes on with another instruction.
        f"{_copied('CODE_WINDOW')}{_copied('CODE_WINDOW + 0x1000')}"
        "movb $0xd1, CODE_WINDOW + 0x1000 + %%there - %%code + 1\ncall CODE_WINDOW\nmov %ecx, (%ebx)\n"
        f"{skipped}movl $code_windows + 0x1067, {_FIRST}\ninvlpg CODE_WINDOW\n%%there: mov %cs, %ecx\nret\n"
        "%%end:",
        # The same with everything forgotten.
        f"{_copied('CODE_WINDOW')}{_copied('CODE_WINDOW + 0x1000')}"
        "movb $0xd1, CODE_WINDOW + 0x1000 + %%there - %%code + 1\ncall CODE_WINDOW\nmov %ecx, (%ebx)\n"
        f"{skipped}movl $code_windows + 0x1067, {_FIRST}\nmov %cr3, %eax\nmov %eax, %cr3\n"
        "%%there: mov %cs, %ecx\nret\n%%end:",
        # Across a page whose second half goes, comes as another frame, or loses its bit for ring 0 to write.
        f"{_put(_EDGE, _CS_READ + ' c3')}movl $0, {_SECOND}\n{second}call {_EDGE}",
        f"{_put(_EDGE, _CS_READ + ' c3')}call {_EDGE}\nmov %ecx, (%ebx)\nmovl $0, {_SECOND}\n{second}"
        f"call {_EDGE}",
        f"{_put(_EDGE, _CS_READ + ' c3')}{_put('CODE_WINDOW', 'd1 c3')}call {_EDGE}\nmov %ecx, (%ebx)\n"
        f"movl $code_windows + 0x67, {_SECOND}\n{second}call {_EDGE}\nmov %ecx, 4(%ebx)\n"
        f"movb $0xc9, CODE_WINDOW\ncall {_EDGE}",
        f"{_put(_EDGE, _CS_READ + ' c3')}call {_EDGE}\nmovl $code_windows + 0x1065, {_SECOND}\n{second}"
        f"call {_EDGE}\nmovb $0xd1, CODE_WINDOW + 0x1000",
        # The same instruction becomes one that is not sensitive, an invalid one and back, in its second page.
        f"{_put(_EDGE, _CS_READ + ' c3')}call {_EDGE}\nmovb $0xd9, CODE_WINDOW + 0x1000\ncall {_EDGE}\n"
        f"mov %ecx, (%ebx)\nmovb $0xd1, CODE_WINDOW + 0x1000\ncall {_EDGE}\nmov %ecx, 4(%ebx)\n"
        f"movb $0xf1, CODE_WINDOW + 0x1000\ncall {_EDGE}",
        # Code in a page table, called, read, stored over, and called again.
        f"movl $high_table + 0x67, {_WHOLE_TABLE}\ninvlpg WINDOWS\nmovl $0x90c3c98c, high_table + 0x800\n"
        "call WINDOWS + 0x800\nmov %ecx, (%ebx)\nmov WINDOWS + 0x800, %eax\nmov %eax, 4(%ebx)\n"
        "movl $0x90c3d18c, high_table + 0x800\ncall WINDOWS + 0x800\nmov %ecx, 8(%ebx)\n"
        "movl $0x90c3c98c, WINDOWS + 0x800\ncall WINDOWS + 0x800\nmov %ecx, 12(%ebx)\n"
        f"movb $0xd1, WINDOWS + 0x801\ncall WINDOWS + 0x800\nmovl $0, {_WHOLE_TABLE}\ninvlpg WINDOWS",
        # It stores over the next instruction of its own, in a page table.
        f"movl $high_table + 0x67, {_WHOLE_TABLE}\ninvlpg WINDOWS\n{_copied('WINDOWS + 0x800')}"
        f"call WINDOWS + 0x800\nmovl $0, {_WHOLE_TABLE}\ninvlpg WINDOWS\n"
        f"{skipped}movl $0x90c3d18c, WINDOWS + 0x800 + %%next - %%code\n%%next: mov %cs, %ecx\nret\n"
        "nop\n%%end:",
    )
    return [Probe(code) for code in codes]


def code_of_16_bits() -> list[Probe]:
    """A code segment of 16 bits that begins with the code, entered and left by far jumps."""
    described = (
        "movl ${0}, %eax\nmov %ax, gdt + {1} + 2\nshr $16, %eax\nmov %al, gdt + {1} + 4\n"
        "mov %ah, gdt + {1} + 7\n"
    )
    bodies = (
        # Registers of 16 bits, and operands that have others by a prefix (machine code: SDM volume 2).
        "0x40, 0x66, 0x41, 0xb8, 0x34, 0x12",
        "0x8c, 0xc9, 0x66, 0x8c, 0xca",  # MOV from CS to CX, EDX
        "0x0e, 0x59, 0x16, 0x5a",  # PUSH CS, POP CX, PUSH SS, POP DX
        "0x9c, 0x59, 0x66, 0x9c, 0x66, 0x5a",  # PUSHF in both sizes
        "0x6a, 0x02, 0x9d, 0x66, 0x6a, 0x02, 0x66, 0x9d",  # POPF
        "0x0f, 0x01, 0xe1, 0x66, 0x0f, 0x01, 0xe2",  # SMSW
        "0x0f, 0x00, 0xc1, 0x66, 0x0f, 0x00, 0xca",  # SLDT, STR
        "0xb8, 0x23, 0x00, 0x0f, 0x02, 0xc8, 0x66, 0x0f, 0x03, 0xd0",  # LAR, LSL
        "0x67, 0x8c, 0x0b, 0x67, 0x66, 0x0f, 0x01, 0x43, 0x08",  # MOV from CS to (%ebx), SGDT
        "0xb8, 0x23, 0x00, 0x8e, 0xe0, 0x06, 0x07",  # MOV to FS, PUSH and POP ES
        "0xba, 0x80, 0x00, 0xec, 0x66, 0xed",  # IN
        "0x0f, 0x20, 0xc1",  # MOV from CR0
        "0xcd, 0x03",
        "0xfa, 0xfb",
        "0xcc",
        "0xe8, 0x00, 0x00",  # CALL
        "0x0f, 0x0b",
    )
    probes = []
    for ring, selector, code in ((0, "0x80", "$CODE_0"), (3, "0xCB", "$CODE_3")):
        for body in bodies:
            base = described.format("%%small", f"({selector} & ~7)")
            there = f"ljmp ${selector}, $0\n%%small: .byte {body}\n.byte 0x66, 0xea\n"
            back = f".long %%back\n.word {code.removeprefix('$')}\n%%back:"
            probes.append(Probe(f"{base}{there}{back}", ring, resumed=(3,)))
    return probes
