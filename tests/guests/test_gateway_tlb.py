"""A kernel that changes its code through a second mapping, and what is mapped: alike in C and in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.served import Runner

KERNEL = (
    prelude("paging")
    + """
.equ NX_HIGH, 0x80000000
.equ ROUNDS, 9

    .bss
    .balign PAGE_SIZE
alias:                              # functions once more, NX
    .skip PAGE_SIZE
window:                             # functions or others, in turns
    .skip PAGE_SIZE

    .text
# EBX = where, EAX = whose frame, EDX = NX_HIGH or 0.
    .type map_page, @function
map_page:
    pushl %edx
    call va_to_mfn
    popl %edx
    movl %eax, %ecx
    shrl $20, %eax
    orl %eax, %edx
    shll $12, %ecx
    orl $_PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY, %ecx
    movl $UVMF_INVLPG, %esi
    HYPERCALL update_va_mapping
    MUST "mapping a page"
    ret

    .type main, @function
main:
    movl $alias, %ebx
    movl $functions, %eax
    movl $NX_HIGH, %edx
    call map_page

    xorl %edi, %edi
    movl $1, %ebp
1:  movl %ebp, %eax
    movb %al, alias + 1             # before it was ever called, too
    call functions
    addl %eax, %edi
    addb $16, alias + 1
    call functions
    addl %eax, %edi
    incl %ebp
    cmpl $ROUNDS, %ebp
    jbe 1b
    movl %edi, %eax
    SHOW_HEX "changed "

    xorl %edi, %edi
    movl $ROUNDS, %ebp
2:  movl $window, %ebx
    movl $functions, %eax
    xorl %edx, %edx
    call map_page
    call window
    addl %eax, %edi
    movl $window, %ebx
    movl $others, %eax
    xorl %edx, %edx
    call map_page
    call window
    addl %eax, %edi
    decl %ebp
    jnz 2b
    movl %edi, %eax
    SHOW_HEX "in turns "
    ret

    .balign PAGE_SIZE
functions:
    movl $0, %eax
    ret
    .balign PAGE_SIZE
others:
    movl $0x100, %eax
    ret
    .balign PAGE_SIZE
"""
)
ROUNDS = 9


def test_code_and_mappings_that_change_are_seen_at_once(run_both: Runner) -> None:
    in_python, in_c = run_both(KERNEL, in_c=False), run_both(KERNEL, in_c=True)
    changed = sum(value + value + 16 for value in range(1, ROUNDS + 1))
    in_turns = ROUNDS * (ROUNDS + 16 + 0x100)
    assert in_c.outcome.console.decode().split("\n")[:2] == [
        f"changed {changed:#010x}",
        f"in turns {in_turns:#010x}",
    ]
    assert in_c.outcome == in_python.outcome
    assert in_c.outcome.audit == ()
