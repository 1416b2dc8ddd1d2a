"""Guests that lend each other pages: the pair of the kernel `grants`, and what a page may be besides data."""

from __future__ import annotations

import pytest

from paravane import DomainConfig, Machine, ShutdownReason, guest_kernels, load_image
from paravane.asm import build
from tests.support.boot import HOST_TIMEOUT, kernel_image

MEMORY = 4 << 20

LENT_CODE = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "cmdline.inc"
    .include "grants.inc"
    XEN_NOTES

    .section .lent, "awx", @progbits
    .balign PAGE_SIZE
code:                               # the byte that is the result comes from the other domain
    movl $1, %eax
    ret
    .balign 64
turn:                               # 1: the other domain's
    .long 0
    .balign PAGE_SIZE

    .bss
    .balign PAGE_SIZE
window:
    .skip PAGE_SIZE

returns:                            # 1: the page is returned each time
    .skip 4

    .data
peer_word: .asciz "peer="
returns_word: .asciz "returns="

    .text
main:
    call grants_init
    movl $peer_word, %eax
    xorl %edx, %edx
    call cmdline_number
    movl %eax, %esi
    movl $returns_word, %eax
    xorl %edx, %edx
    call cmdline_number
    movl %eax, returns
    movl $3, %ebx                   # how often it is called
    movl %esi, %eax
    cmpl $1, %eax
    je taker
    movl $code, %eax
    movl %esi, %edx
    xorl %ecx, %ecx
    call grant_page
1:  call code
    PRINT_DEC %eax
    PRINT "\\n"
    movl $1, turn
2:  call yield
    cmpl $0, turn
    jne 2b
    decl %ebx
    jnz 1b
    ret

taker:
    call yield
    movl $GNTTAB_NR_RESERVED_ENTRIES, %eax
    movl %esi, %edx
    movl $window, %ecx
    call map_grant
    testl %eax, %eax
    js taker
    movl %eax, %edi
1:  call yield
    cmpl $1, window + (turn - code)
    jne 1b
    incb window + 1
    movl $0, window + (turn - code)
    decl %ebx
    jz 2f
    cmpl $0, returns
    je 1b
    movl %edi, %eax
    movl $window, %edx
    call unmap_grant
    MUST unmap_grant
    jmp taker
2:  ret
"""


@pytest.mark.parametrize("returns", [0, 1])
def test_code_in_a_lent_page_runs_as_the_other_domain_writes_it(returns: int) -> None:
    """Also when the other one has returned the page by the time it runs."""
    image = load_image(kernel_image(LENT_CODE))
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        giver, taker = (
            machine.create(image, DomainConfig(memory=MEMORY, cmdline=f"peer={peer} returns={returns}"))
            for peer in (2, 1)
        )
        machine.run(timeout=HOST_TIMEOUT)
        assert (giver.reason, taker.reason) == (ShutdownReason.poweroff,) * 2
        assert machine.audit() == []
        numbers = [int(line) for line in giver.console_output().split()]
        assert numbers == [1, 2, 3]


def test_a_taker_whose_peer_is_itself_does_not_wait_for_ever() -> None:
    """Started in the wrong order it is domain 1, which it takes for the giver."""
    image = load_image(build(guest_kernels.load("grants").sources))
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        taker, giver = (
            machine.create(image, DomainConfig(memory=MEMORY, cmdline=cmdline))
            for cmdline in ("taker peer=1", "giver peer=2")
        )
        machine.run(timeout=HOST_TIMEOUT)
        assert (taker.reason, giver.reason) == (ShutdownReason.crash, None)
        assert b"no port of the peer waits for this domain" in taker.console_output()
