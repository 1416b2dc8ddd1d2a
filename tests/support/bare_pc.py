"""Small kernels for a bare PC, and what they write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import StopReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.full.machine import BareMachine
from paravane.full.shadow import Policy

if TYPE_CHECKING:
    from paravane.full.state import Sensitive

MEMORY = 8 << 20
"""Bytes that its machine has."""

_PRELUDE = """
        .text
        .globl _start
        .align 4
        .long 0x1BADB002, 0, -0x1BADB002
_start: mov $stack, %esp
        lgdt gdtr
        lidt idtr
        mov $0x28, %eax
        ltr %ax
        movl $stack, tss + 4
        movl $0x10, tss + 8
"""

_LIBRARY = """
# Print the character in %al.
put:    push %edx
        mov $0x3f8, %edx
        outb %al, %dx
        pop %edx
        ret
# Print %eax as eight digits, and a line feed.
hex:    push %ecx
        push %ebx
        mov %eax, %ebx
        mov $8, %ecx
1:      rol $4, %ebx
        mov %ebx, %eax
        and $15, %eax
        movb digits(%eax), %al
        call put
        loop 1b
        mov $10, %al
        call put
        pop %ebx
        pop %ecx
        ret
exit:   mov $0, %al
        outb %al, $0xf4
        hlt
# Set gate %ecx to handler %eax with the access byte %dl.
gate:   mov %ax, idt(, %ecx, 8)
        movw $8, idt + 2(, %ecx, 8)
        movb $0, idt + 4(, %ecx, 8)
        movb %dl, idt + 5(, %ecx, 8)
        shr $16, %eax
        mov %ax, idt + 6(, %ecx, 8)
        ret
        .data
        .align 8
digits: .ascii "0123456789abcdef"
gdt:    .quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF, 0x00CFFA000000FFFF, 0x00CFF2000000FFFF
        .word 103
        .word tss_low
        .byte tss_middle, 0x89, 0, 0
gdtr:   .word 47
        .long gdt
idtr:   .word 2047
        .long idt
        .bss
        .align 4096
directory: .skip 4096
table:  .skip 4096
idt:    .skip 2048
tss:    .skip 104
        .skip 8192
stack:
"""


TO_USER = """
        push $0x23
        push $stack - 4096
        push $0x202
        push $0x1b
        push $user
        mov $0x23, %ax
        mov %ax, %ds
        mov %ax, %es
        iret
"""


PAGING = """
        mov $table, %edi
        mov $3, %eax
1:      mov %eax, (%edi)
        add $4, %edi
        add $4096, %eax
        cmp $0x400003, %eax
        jb 1b
        movl $table + 3, directory
        mov $directory, %eax
        mov %eax, %cr3
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
"""
"""The first 4 MiB are mapped by `table`, linear addresses being physical ones."""


def kernel(body: str) -> bytes:
    """An image with flat segments of rings 0 and 3 and a TSS, that begins with `body`."""

    def build(tss: int) -> bytes:
        defines = {"tss_low": tss & 0xFFFF, "tss_middle": tss >> 16}
        program = assemble_text(_PRELUDE + body + _LIBRARY, base=0x100000, defines=defines)
        found = next(symbol.value for symbol in program.symbols if symbol.name == "tss")
        return write_elf(program) if found == tss else build(found)

    return build(0)


def lines_of(
    body: str, sensitive: Sensitive, *, slice_instructions: int = 0, shadow: Policy = Policy.VTLB
) -> list[str]:
    """Run a kernel to its end, a debug exit: the lines that it wrote. The shadow's audit finds nothing."""
    written: list[bytes] = []
    with BareMachine(
        kernel(body),
        MEMORY,
        sink=written.append,
        sensitive=sensitive,
        slice_instructions=slice_instructions,
        shadow=shadow,
    ) as machine:
        ending = machine.run(timeout=300)
        assert (machine.guest.failure, ending.reason) == (None, StopReason.DONE)
        assert machine.guest.exit_code == 0
        assert machine.audit() == []
    return b"".join(written).decode("ascii").splitlines()
