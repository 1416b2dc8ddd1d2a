"""The guest runtime: every function of asm/include that kernels rely on, called by a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.sched import ShutdownReason
from paravane.asm import AssemblyError, assemble, assemble_text
from paravane.asm.elf_writer import write_elf
from tests.support.boot import boot, finished
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.boot import Run

MEMORY = 4 << 20
PRELUDE = prelude() + "main:\n"
"""What follows a `ret` in a body may be data."""


def test_numbers_print_in_all_their_forms(run: Run) -> None:
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
    assert outcome.console == "0xdeadbeef\n0x0123456789abcdef\n0 4294967295 10!\n"


def test_output_without_newlines_waits_for_the_back_end_when_the_ring_is_full(run: Run) -> None:
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


def test_memory_copy_and_string_length(run: Run) -> None:
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


def test_functions_keep_the_registers_they_promise_to_keep(run: Run) -> None:
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


def test_read_pte_gives_nothing_where_nothing_is_mapped(run: Run) -> None:
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


def test_panic_names_its_message_and_crashes_the_domain(run: Run) -> None:
    outcome = run('PANIC "the sky falls"', ShutdownReason.crash)
    assert outcome.console == "panic: the sky falls\n"


def test_several_units_may_include_the_runtime(tmp_path: Path) -> None:
    sources = [tmp_path / "main.S", tmp_path / "helper.S"]
    sources[0].write_text("""
        .include "runtime.inc"
        .include "paging.inc"
        XEN_NOTES
        .text
main:   PRINT "main\\n"
        call helper
        xorl %eax, %eax
        call print_errno
        PRINT "\\n"
        ret
""")
    sources[1].write_text("""
        .include "runtime.inc"
        .include "paging.inc"
        .include "shared.inc"
        .globl helper
helper: PRINT "helper, start_info is "
        movl start_info, %eax
        testl %eax, %eax
        jz 1f
        PRINT "known\\n"
1:      movl $-EINVAL, %eax
        call print_errno
        PRINT ", then "
        jmp map_shared_info
""")
    program = assemble(sources)
    assert len([symbol for symbol in program.symbols if symbol.name == "print_string"]) == 1
    outcome = finished(boot(write_elf(program), memory=MEMORY))
    assert outcome.console == "main\nhelper, start_info is known\nEINVAL, then OK\n"


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("PRINT", "PRINT needs an argument"),
        ("PRINT_HEX", "PRINT_HEX needs an argument"),
        ("PANIC", "PANIC needs an argument"),
        ("HYPERCALL", "macro `HYPERCALL` needs a value for `name`"),
        ("TRAP_GATE 3, 3", "macro `TRAP_GATE` needs a value for `handler`"),
        ("XEN_NOTE_LONG 1", "macro `XEN_NOTE_LONG` needs a value for `value`"),
        ("MUST", "macro `MUST` needs a value for `what`"),
        ("MMUEXT", "macro `MMUEXT` needs a value for `command`"),
        ("UPDATE_ENTRY $1, $2, $3", "macro `UPDATE_ENTRY` needs a value for `flags`"),
    ],
)
def test_a_macro_of_the_runtime_asks_for_its_arguments(use: str, expected: str) -> None:
    source = f'.include "runtime.inc"\n.include "paging.inc"\nXEN_NOTES\nmain:\n{use}\nret\n'
    with pytest.raises(AssemblyError) as caught:
        assemble_text(source)
    assert expected in str(caught.value)
