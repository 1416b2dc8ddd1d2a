"""Kernels that make hypercalls one after the other and print each answer, a number a line."""

from __future__ import annotations


def hypercall(number: int, *arguments: int | str) -> str:
    """The code of one call; a text is a symbol."""
    registers = zip(arguments, ("ebx", "ecx", "edx", "esi", "edi"), strict=False)
    loads = "".join(f"    movl ${value}, %{register}\n" for value, register in registers)
    return f"{loads}    movl ${int(number)}, %eax\n    int $0x82\n    call show\n"


def answering(code: str, data: str) -> str:
    """The source of a kernel with this code, in which `show` prints EAX, signed, and with this data."""
    return f"""
    .include "runtime.inc"
    XEN_NOTES
main:
{code}
    ret
show:
    testl %eax, %eax
    jns 1f
    pushl %eax
    PRINT "-"
    popl %eax
    negl %eax
1:  call print_dec
    PRINT "\\n"
    ret
    .data
    .balign 8
{data}
"""
