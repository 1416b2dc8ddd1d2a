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
