# A balloon that gives its pages back and takes them again, on a machine where memory may be short.
#
# Observe: XENMEM_populate_physmap never fails: it answers how many extents there were, and the entries of its list
# after those are still pfns. Who takes the answer for a yes or a no maps them as frames. As long as there is enough
# memory that never shows; `paravane explore shortage --faults memory` has an extent refused now and then, and shows
# it. With -D MENDED the kernel asks again for what it did not get.

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES shortage

.equ PAGES, 16

    .bss
    .balign PAGE_SIZE
balloon:                            # the pages that go and come
    .skip PAGES * PAGE_SIZE
    .balign 4
frames:                             # list of frames, or of pfns, for the hypervisor
    .skip PAGES * 4
reservation:                        # struct xen_memory_reservation
    .skip XEN_MEMORY_RESERVATION_sizeof

    .text
    .type main, @function
main:
    call give_back
    call take
    call use
    PRINT_DEC $PAGES
    PRINT " pages are back\n"
    ret

# EAX = command, ECX = the first of the extents in `frames`, of one page each; gives how many up to the last were dealt
# with.
    .type change_reservation, @function
change_reservation:
    pushl %ebx
    movl %eax, %ebx
    movl $PAGES, %edx
    subl %ecx, %edx
    leal frames(,%ecx,4), %eax
    movl $reservation, %ecx
    movl %eax, XEN_MEMORY_RESERVATION_extent_start(%ecx)
    movl %edx, XEN_MEMORY_RESERVATION_nr_extents(%ecx)
    movl $0, XEN_MEMORY_RESERVATION_extent_order(%ecx)
    movl $0, XEN_MEMORY_RESERVATION_mem_flags(%ecx)
    movw $DOMID_SELF, XEN_MEMORY_RESERVATION_domid(%ecx)
    HYPERCALL memory_op
    popl %ebx
    ret

# Unmaps the pages and gives their frames away.
    .type give_back, @function
give_back:
    xorl %ebx, %ebx
1:  movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    call va_to_mfn
    movl %eax, frames(,%ebx,4)
    movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    call write_pte
    MUST update_va_mapping
    incl %ebx
    cmpl $PAGES, %ebx
    jb 1b
    movl $XENMEM_decrease_reservation, %eax
    xorl %ecx, %ecx
    call change_reservation
    cmpl $PAGES, %eax
    je 2f
    PANIC "not all pages could be given back"
2:  ret

# Asks for as many frames, for the same pfns.
    .type take, @function
take:
    xorl %ecx, %ecx
1:  movl $balloon - VIRT_BASE, %eax
    shrl $12, %eax
    addl %ecx, %eax
    movl %eax, frames(,%ecx,4)
    incl %ecx
    cmpl $PAGES, %ecx
    jb 1b
    xorl %esi, %esi                 # pages that are there
2:  movl $XENMEM_populate_physmap, %eax
    movl %esi, %ecx
    call change_reservation
    testl %eax, %eax
    js 3f
.ifdef MENDED
    addl %eax, %esi
    cmpl $PAGES, %esi
    jb 2b                           # memory comes back when others have given some away
.endif
    ret
3:  PANIC "no memory"

# Maps the new frames, and stores to each page.
    .type use, @function
use:
    xorl %ebx, %ebx
1:  movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    movl frames(,%ebx,4), %edx
    movl $PTE_DATA, %ecx
    call map_frame
    MUST update_va_mapping
    movl %ebx, %eax
    shll $12, %eax
    movl %ebx, balloon(%eax)
    incl %ebx
    cmpl $PAGES, %ebx
    jb 1b
    ret
