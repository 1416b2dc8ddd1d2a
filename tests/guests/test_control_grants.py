"""A control domain and the grants of another: it maps what was granted to it as anybody may, what was granted
to others by its frame only, and pages that it has outlive whoever lent them."""

from __future__ import annotations

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.abi.errno import Errno
from paravane.abi.grant_table import GrantStatus
from tests.support.boot import HOST_TIMEOUT, kernel_image

MEMORY = 4 << 20
SOMEBODY = 77
"""A domain that there is not."""

GIVER = f"""
    .include "runtime.inc"
    .include "paging.inc"
    .include "grants.inc"
    XEN_NOTES giver
    .text
main:
    call grants_init
    movl $letter, %eax
    call va_to_mfn
    movl %eax, letter + 8
    movl $secret, %eax
    call va_to_mfn
    movl %eax, letter + 12
    movl $letter, %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    call grant_page
    movl $secret, %eax
    movl ${SOMEBODY}, %edx
    xorl %ecx, %ecx
    call grant_page
1:  call yield
    cmpl $3, letter + 4
    jne 1b
    movl $GNTTAB_NR_RESERVED_ENTRIES, %eax
    call end_grant
    PRINT_DEC %eax
    movl $4, letter + 4
2:  call yield
    cmpl $5, letter + 4
    jne 2b
    PRINT " "
    movl $GNTTAB_NR_RESERVED_ENTRIES, %eax
    call end_grant
    PRINT_DEC %eax
    PRINT " "
    PRINT_DEC secret + 4
    movl $6, letter + 4
    ret
    .data
    .balign PAGE_SIZE
letter:
    .long 1111, 0, 0, 0
    .skip PAGE_SIZE - 16
secret:
    .long 2222
    .skip PAGE_SIZE - 4
"""
"""Lends a page to domain 0, with the frames of both in it, and one to somebody. Says whether the first grant
could end: while it is mapped, and after that."""

CONTROL = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "grants.inc"
    XEN_NOTES control
    .text
main:
    call yield
    movl $GNTTAB_NR_RESERVED_ENTRIES, %eax
    movl $1, %edx
    movl $granted, %ecx
    call map_grant
    testl %eax, %eax
    js main
    movl %eax, handle
    movl granted + 8, %eax
    movl %eax, letter_mfn
    movl granted + 12, %eax
    movl %eax, secret_mfn
    movl granted, %eax
    call show
    movl $GNTTAB_NR_RESERVED_ENTRIES + 1, %eax  # somebody else's
    movl $1, %edx
    movl $refused, %ecx
    call map_grant
    call show
    movl $foreign, %eax                         # frames that are granted, to whomever
    movl letter_mfn, %edx
    movl $1, %ecx
    call map_foreign
    movl $secrets, %eax
    movl secret_mfn, %edx
    movl $1, %ecx
    call map_foreign
    movl foreign, %eax
    call show
    movl secrets, %eax
    call show
    movl $refused, %eax                         # frames that nobody of that number has
    movl letter_mfn, %edx
    movl $0x7FF1, %ecx                          # DOMID_IO
    call map_foreign
    movl $3333, secrets + 4
    movl $3, foreign + 4
1:  call yield
    cmpl $4, granted + 4
    jne 1b
    movl handle, %eax
    movl $granted, %edx
    call unmap_grant
    call show
    movl $5, foreign + 4                        # the other mapping stays
2:  call yield
    cmpl $6, foreign + 4
    jne 2b
    movl $16, %esi                              # the giver dies
3:  call yield
    decl %esi
    jnz 3b
    movl foreign, %eax
    call show
    movl $5555, secrets
    movl secrets, %eax
    call show
    ret

# EAX = page, EDX = mfn, ECX = whose: maps it there, by mmu_update, and shows the answer.
map_foreign:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl %edx, %edi
    movl %ecx, %esi
    call kernel_l2
    movl %ebx, %edx
    shrl $21, %edx
    andl $511, %edx
    call read_entry
    call pte_to_mfn
    movl %eax, %edx
    shll $PAGE_SHIFT, %eax
    shrl $32 - PAGE_SHIFT, %edx
    shrl $PAGE_SHIFT - 3, %ebx
    andl $511 * 8, %ebx
    addl %ebx, %eax
    movl %eax, update
    movl %edx, update + 4
    movl %edi, %eax
    movl $PTE_DATA, %edx
    call make_entry
    movl %eax, update + 8
    movl %edx, update + 12
    movl $update, %ebx
    movl $1, %ecx
    xorl %edx, %edx
    HYPERCALL mmu_update
    call show
    popl %edi
    popl %esi
    popl %ebx
    ret

show:
    testl %eax, %eax
    jns 1f
    pushl %eax
    PRINT "-"
    popl %eax
    negl %eax
1:  PRINT_DEC %eax
    PRINT "\\n"
    ret
    .bss
    .balign PAGE_SIZE
granted: .skip PAGE_SIZE
foreign: .skip PAGE_SIZE
secrets: .skip PAGE_SIZE
refused: .skip PAGE_SIZE
update: .skip 16
letter_mfn: .skip 4
secret_mfn: .skip 4
handle: .skip 4
"""
"""Maps the letter by its grant and both pages by their frames, waits for the giver, and looks once more when
that is dead."""


def test_a_control_domain_maps_granted_pages_by_grant_and_by_frame() -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY, privileged=True)) as machine:
        config = DomainConfig(memory=MEMORY, privileged=True)
        control = machine.create(load_image(kernel_image(CONTROL)), config)
        giver = machine.create(load_image(kernel_image(GIVER)), DomainConfig(memory=MEMORY))
        assert (control.domid, giver.domid) == (0, 1)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert giver.console_output() == b"0 1 3333"
        assert [int(line) for line in control.console_output().split()] == [
            1111,
            GrantStatus.general_error,
            0,
            0,
            1111,
            2222,
            -Errno.EBUSY,
            GrantStatus.okay,
            1111,
            5555,
        ]
        assert machine.audit() == []
        machine.destroy(giver)
        machine.destroy(control)
        assert machine.platform.memory.held.total() == 0
        assert machine.audit() == []
