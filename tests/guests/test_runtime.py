"""The guest runtime: every function of asm/include that kernels rely on, called by a guest."""

from __future__ import annotations

from paravane import StopReason
from paravane.abi.sched import ShutdownReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from tests.guests.harness import Outcome, boot

MEMORY = 4 << 20


def run(body: str) -> Outcome:
    """Boot a kernel whose `main` is `body`; what follows a `ret` in it may be data."""
    source = f'.include "runtime.inc"\nXEN_NOTES\n.text\nmain:\n{body}\n'
    outcome = boot(write_elf(assemble_text(source, name="body.S")), memory=MEMORY)
    assert outcome.ending is StopReason.DONE, outcome.console
    assert outcome.audit == []
    return outcome


def test_numbers_print_in_all_their_forms() -> None:
    outcome = run("""
        PRINT_HEX $0xdeadbeef
        PRINT "\\n"
        movl $0x01234567, %edx
        movl $0x89abcdef, %eax
        call print_hex64
        PRINT "\\n"
        PRINT_DEC $0
        PRINT " "
        PRINT_DEC $4294967295
        PRINT " "
        PRINT_DEC $10
        movl $'!', %eax
        call print_char
        PRINT "\\n"
        ret
    """)
    assert outcome.reason is ShutdownReason.poweroff
    assert outcome.console == "0xdeadbeef\n0x0123456789abcdef\n0 4294967295 10!\n"


def test_output_without_newlines_waits_for_the_back_end_when_the_ring_is_full() -> None:
    outcome = run("""
        movl $buffer, %eax
        movl $'x', %edx
        movl $9999, %ecx
        call memory_set
        movl $buffer, %eax
        call print_string
        PRINT "end\\n"
        ret
        .bss
    buffer:
        .skip 10000
    """)
    assert outcome.console == "x" * 9999 + "end\n"


def test_memory_copy_and_string_length() -> None:
    outcome = run("""
        movl $target, %eax
        movl $source, %edx
        movl $6, %ecx
        call memory_copy
        movl $target, %eax
        call print_string
        movl $target, %eax
        call string_length
        call print_dec
        ret
        .section .rodata
    source:
        .asciz "copied"
        .bss
    target:
        .skip 8
    """)
    assert outcome.console == "copied6"


def test_functions_keep_the_registers_they_promise_to_keep() -> None:
    outcome = run("""
        movl $0x11111111, %ebx
        movl $0x22222222, %esi
        movl $0x33333333, %edi
        movl $0x44444444, %ebp
        PRINT "a"
        PRINT_HEX $1
        PRINT_DEC $1
        call yield
        call console_flush
        movl $main, %eax
        call read_pte
        movl %edx, %ecx
        movl %eax, %edx
        movl $main, %eax
        call write_pte
        addl %ebp, %eax
        addl %ebx, %eax
        addl %esi, %eax
        addl %edi, %eax
        call print_hex32
        ret
    """)
    assert outcome.console == "a0x0000000110xaaaaaaaa"


def test_read_pte_gives_nothing_where_nothing_is_mapped() -> None:
    outcome = run("""
        movl $0xd0000000, %eax          # no level 1 table
        call read_pte
        call print_hex64
        movl $0x10000000, %eax          # no level 2 table
        call read_pte
        call print_hex64
        ret
    """)
    assert outcome.console == "0x0000000000000000" * 2


def test_panic_names_its_message_and_crashes_the_domain() -> None:
    outcome = run('PANIC "the sky falls"')
    assert outcome.reason is ShutdownReason.crash
    assert outcome.console == "panic: the sky falls\n"
