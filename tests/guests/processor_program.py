"""A program for Linux on i386 that runs the cases one after another and prints the processor's state after
each.

It needs nothing of a C library and runs natively as well as under the `unix` kernel. Each case starts from
its state and ends at the next line or in a signal; either way one line of hexadecimal digits says what came
of it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from tests.guests.processor_cases import PAGE_END, STATES, state
from tests.support.unix_archive import USER_BASE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.guests.processor_cases import Case

FX_SIZE = 288
"""Bytes of an FXSAVE image that hold registers in 32-bit mode (Intel SDM, volume 1, table 10-2)."""

_DRIVER = """
    .equ STATE_fx, 16
    .equ STATE_scratch, 528
    .equ CONTEXT, 20                    # the sigcontext in a ucontext, and its members as Linux lays them out
    .equ SC_edi, CONTEXT + 16
    .equ SC_eax, CONTEXT + 44
    .equ SC_trapno, CONTEXT + 48
    .equ SC_err, CONTEXT + 52
    .equ SC_eip, CONTEXT + 56
    .equ SC_eflags, CONTEXT + 64
    .equ SC_esp, CONTEXT + 68
    .equ SC_fpstate, CONTEXT + 76
    .equ FPSTATE_fxsave, 112

    .globl _start
    .text
_start:
    .irp signal, 4, 5, 7, 8, 11
    movl $174, %eax                     # rt_sigaction
    movl $\\signal, %ebx
    movl $action, %ecx
    xorl %edx, %edx
    movl $8, %esi
    int $0x80
    .endr
    movl $192, %eax                     # mmap2: two pages, of which the second goes again
    movl $PAGE_END - 0x1000, %ebx
    movl $0x2000, %ecx
    movl $3, %edx
    movl $0x32, %esi
    movl $-1, %edi
    xorl %ebp, %ebp
    int $0x80
    movl $91, %eax
    movl $PAGE_END, %ebx
    movl $0x1000, %ecx
    int $0x80
    movl $cases, case
next:
    cld
    movl case, %ebx
    cmpl $cases_end, %ebx
    jae done
    movl 4(%ebx), %ebp
    leal STATE_scratch(%ebp), %esi
    movl $scratch, %edi
    movl $32, %ecx
    rep movsl
    leal STATE_scratch(%ebp), %esi
    movl $PAGE_END - 64, %edi
    movl $16, %ecx
    rep movsl
    movl $outcome, %edi                 # nothing of the case before
    movl $(outcome_end - outcome) / 4, %ecx
    xorl %eax, %eax
    rep stosl
    fxrstor STATE_fx(%ebp)
    movl $stack_top, %esp
    pushl (%ebx)
    pushl 8(%ebx)
    movl (%ebp), %eax
    movl 8(%ebp), %ecx
    movl 12(%ebp), %edx
    movl 4(%ebp), %ebx
    movl $scratch, %esi
    movl $scratch + 64, %edi
    movl $PAGE_END - 16, %ebp
    popfl
    ret
finish:
    movl %eax, out_eax
    movl %ecx, out_ecx
    movl %edx, out_edx
    movl %ebx, out_ebx
    movl %esp, out_esp
    movl %ebp, out_ebp
    movl %esi, out_esi
    movl %edi, out_edi
    movl $stack_top - 0x400, %esp
    pushfl
    popl out_eflags
    fxsave fxarea
    jmp record

handler:                                # at 4(%esp) the signal, then pointers to siginfo and ucontext
    cld
    movl 4(%esp), %eax
    movl %eax, out_signal
    movl 8(%esp), %ebx
    movl 8(%ebx), %eax
    movl %eax, out_code
    movl 12(%esp), %ebx
    movl SC_trapno(%ebx), %eax
    movl %eax, out_trapno
    movl SC_err(%ebx), %eax
    movl %eax, out_err
    movl SC_eip(%ebx), %eax
    movl case, %edx
    subl (%edx), %eax                   # where in the sequence
    movl %eax, out_eip
    movl SC_eflags(%ebx), %eax
    movl %eax, out_eflags
    leal SC_edi(%ebx), %esi             # EDI, ESI, EBP, ESP, EBX, EDX, ECX, EAX
    movl $out_edi, %edi
    movl $8, %ecx
    rep movsl
    movl SC_fpstate(%ebx), %esi
    addl $FPSTATE_fxsave, %esi
    movl $fxarea, %edi
    movl $FX_SIZE / 4, %ecx
    rep movsl
record:
    cld
    fninit
    ldmxcsr mxcsr
    movl $stack_top, %esp
    movl $PAGE_END - 64, %esi
    movl $out_page, %edi
    movl $16, %ecx
    rep movsl
    movl case, %ebx
    movl $outcome, %esi
    movl $digits, %edi
    movl $fxarea - outcome, %ecx        # without the wide registers, unless the case wants them
    addl 12(%ebx), %ecx
    xorl %eax, %eax
1:  lodsb
    movl %eax, %edx
    shrl $4, %eax
    movb hexadecimal(%eax), %al
    stosb
    andl $15, %edx
    movb hexadecimal(%edx), %al
    stosb
    xorl %eax, %eax
    loop 1b
    movb $10, %al
    stosb
    movl %edi, %edx
    movl $digits, %ecx
    subl %ecx, %edx
    movl $1, %ebx
    movl $4, %eax
    int $0x80
    addl $16, case
    jmp next
done:
    movl $1, %eax
    xorl %ebx, %ebx
    int $0x80

    .section .rodata
hexadecimal: .ascii "0123456789abcdef"
    .balign 4
action: .long handler, 0x40000004, 0, 0, 0  # SA_NODEFER, SA_SIGINFO
mxcsr:  .long 0x1F80

    .data
case:   .long 0
    .balign 64
outcome:
out_signal: .long 0
out_code: .long 0
out_trapno: .long 0
out_err: .long 0
out_eip: .long 0
out_eflags: .long 0
out_edi: .long 0
out_esi: .long 0
out_ebp: .long 0
out_esp: .long 0
out_ebx: .long 0
out_edx: .long 0
out_ecx: .long 0
out_eax: .long 0
out_page: .zero 64
    .balign 64
scratch: .zero 128
fxarea: .zero 512
outcome_end:
digits: .zero 2048
    .balign 16
    .zero 8192
stack_top:
    .zero 64
"""

FIELDS = (
    "signal",
    "code",
    "trapno",
    "err",
    "eip",
    "eflags",
    "edi",
    "esi",
    "ebp",
    "esp",
    "ebx",
    "edx",
    "ecx",
    "eax",
)
_SCRATCH = 128
_FX = _SCRATCH + 128


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case: the words of FIELDS, memory, and an FXSAVE image, empty when nobody asked for
    it."""

    words: tuple[int, ...]
    memory: bytes
    fx: bytes


@functools.cache
def _states() -> str:
    lines = ["    .section .rodata", "    .balign 16"]
    for number in range(STATES):
        lines.append(f"state{number}: .byte " + ",".join(map(str, state(number))))
    return "\n".join(lines)


def program(cases: Sequence[Case]) -> bytes:
    """The program as an ELF file."""
    lines = [f"    .equ PAGE_END, {PAGE_END:#x}", f"    .equ FX_SIZE, {FX_SIZE}", _DRIVER, _states()]
    lines += ["    .text"]
    for number, case in enumerate(cases):
        lines += [f"case{number}:", *case.code.split(";"), "    jmp finish"]
    lines += ["    .section .rodata", "cases:"]
    lines += [
        f"    .long case{number}, state{case.state}, {case.flags:#x}, {FX_SIZE if case.wide else 0}"
        for number, case in enumerate(cases)
    ]
    lines += ["cases_end:"]
    return write_elf(assemble_text("\n".join(lines) + "\n", base=USER_BASE))


def outcomes(text: str) -> list[Outcome]:
    """What the program printed."""
    found = []
    for line in text.split():
        data = bytes.fromhex(line)
        words = tuple(int.from_bytes(data[at : at + 4], "little") for at in range(0, 4 * len(FIELDS), 4))
        found.append(Outcome(words, data[4 * len(FIELDS) : _FX], data[_FX : _FX + FX_SIZE]))
    return found
