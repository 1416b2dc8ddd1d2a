# A balloon: memory given back to the hypervisor, and asked for again.
#
# Observe: frames that were given back leave the reservation and the machine-to-phys table and cannot be mapped
# any more, but one that is still mapped stays until it is not; new frames arrive empty, at the pseudo-physical
# address that was asked for; an extent is a run of neighbouring frames; and nobody gets more than the domain's
# limit, which is a little above the memory it started with: the answer is how many extents there were. With `follow`
# on the command line it does what its administrator asks for instead (follow.inc).

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "cmdline.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "watch.inc"

    XEN_NOTES balloon

.equ BALLOON_PAGES, 512             # 2 MiB
.equ MORE, 8                        # asked for beyond the limit
.equ EXTENT_ORDER, 4                # 16 frames in a row

    .bss
    .balign PAGE_SIZE
balloon:                            # the pages that go and come
    .skip BALLOON_PAGES * PAGE_SIZE
    .balign 4
frames:                             # list of frames, or of pfns, for the hypervisor
    .skip (BALLOON_PAGES + MORE) * 4
old_frames:
    .skip BALLOON_PAGES * 4
reservation:                        # struct xen_memory_reservation
    .skip XEN_MEMORY_RESERVATION_sizeof
balloon_pfn:                        # pfn of the balloon's first page
    .skip 4
domain:                             # struct xen_memory_domain
    .skip XEN_MEMORY_DOMAIN_sizeof
    .balign 8
request:                            # struct mmu_update
    .skip MMU_UPDATE_sizeof

    .text
    .type main, @function
main:
    movw $DOMID_SELF, domain
    movl $balloon - VIRT_BASE, %eax
    shrl $12, %eax
    movl %eax, balloon_pfn
    movl $follow_word, %eax
    call cmdline_word
    testl %eax, %eax
    jnz follow
    PRINT "limit: "
    movl $XENMEM_maximum_reservation, %eax
    call ask_pages
    call show_pages
    call collect_frames
    call show_still_mapped
    call show_decrease
    call show_gone
    call show_populate
    call show_slack
    call show_limit
    call show_extent
    jmp show_increase

# EAX = a command about a domain's memory; gives its answer.
    .type ask_pages, @function
ask_pages:
    pushl %ebx
    movl %eax, %ebx
    movl $domain, %ecx
    HYPERCALL memory_op
    popl %ebx
    ret

# Prints EAX, and how many pages the domain has.
    .type show_pages, @function
show_pages:
    call print_dec
    PRINT " pages, now: "
    movl $XENMEM_current_reservation, %eax
    call ask_pages
    call print_dec
    PRINT "\n"
    ret

# EAX = command, EDX = extents in `frames`, of one frame each; gives how many were dealt with.
    .type change_reservation, @function
change_reservation:
    xorl %ecx, %ecx
# The same with extents of 2^ECX frames.
    .type change_extents, @function
change_extents:
    pushl %ebx
    pushl %ecx
    movl %eax, %ebx
    movl $reservation, %ecx
    movl $frames, XEN_MEMORY_RESERVATION_extent_start(%ecx)
    movl %edx, XEN_MEMORY_RESERVATION_nr_extents(%ecx)
    popl XEN_MEMORY_RESERVATION_extent_order(%ecx)
    movl $0, XEN_MEMORY_RESERVATION_mem_flags(%ecx)
    movw $DOMID_SELF, XEN_MEMORY_RESERVATION_domid(%ecx)
    HYPERCALL memory_op
    popl %ebx
    ret

# Lists the balloon's frames, and leaves something in each page.
    .type collect_frames, @function
collect_frames:
    xorl %ebx, %ebx
1:  movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    movl $0x600DCAFE, (%eax)
    call va_to_mfn
    movl %eax, frames(,%ebx,4)
    movl %eax, old_frames(,%ebx,4)
    incl %ebx
    cmpl $BALLOON_PAGES, %ebx
    jb 1b
    ret

# The first frame goes while it is mapped: the kernel may still use it until it unmaps it.
    .type show_still_mapped, @function
show_still_mapped:
    PRINT "give back one frame that is mapped: "
    movl $XENMEM_decrease_reservation, %eax
    movl $1, %edx
    call change_reservation
    call show_pages
    PRINT "  it still holds "
    PRINT_HEX balloon
    PRINT "\n  unmapped: "
    xorl %edx, %edx
    movl $balloon, %eax
    xorl %ecx, %ecx
    call write_pte
    MUST update_va_mapping
    movl $1, %eax
    call show_pages
    PRINT "give it back once more: "
    movl $XENMEM_decrease_reservation, %eax
    movl $1, %edx
    call change_reservation
    jmp show_pages

# The rest, unmapped first.
    .type show_decrease, @function
show_decrease:
    movl $1, %ebx
1:  movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    # exercise balloon: unmap the page at EAX: `write_pte` with an empty entry in ECX:EDX
    xorl %edx, %edx
    xorl %ecx, %ecx
    call write_pte
    MUST update_va_mapping
    # exercise end
    movl old_frames(,%ebx,4), %eax
    movl %eax, frames - 4(,%ebx,4)
    incl %ebx
    cmpl $BALLOON_PAGES, %ebx
    jb 1b
    PRINT "give back the rest: "
    movl $XENMEM_decrease_reservation, %eax
    movl $BALLOON_PAGES - 1, %edx
    call change_reservation
    jmp show_pages

# The frames are not ours: what of them can be seen, and what used.
    .type show_gone, @function
show_gone:
    xorl %ebx, %ebx
    xorl %esi, %esi                 # frames whose machine-to-phys entry is not their page any more
    xorl %edi, %edi                 # frames that may not be mapped
1:  movl old_frames(,%ebx,4), %eax
    call mfn_to_pfn
    movl %eax, %edx
    movl balloon_pfn, %ecx
    addl %ebx, %ecx
    cmpl %ecx, %edx
    je 2f
    incl %esi
2:  movl $balloon, %eax
    movl old_frames(,%ebx,4), %edx
    movl $PTE_READ_ONLY, %ecx
    call map_frame
    testl %eax, %eax
    jz 3f
    incl %edi
3:  incl %ebx
    cmpl $BALLOON_PAGES, %ebx
    jb 1b
    PRINT "  gone from the machine-to-phys table: "
    PRINT_DEC %esi
    PRINT "\n  refused when mapped: "
    PRINT_DEC %edi
    PRINT "\n"
    ret

# The pages come back: other frames, at the same pfns.
    .type show_populate, @function
show_populate:
    PRINT "populate the balloon: "
    call list_pfns
    movl $XENMEM_populate_physmap, %eax
    movl $BALLOON_PAGES, %edx
    call change_reservation
    call show_pages
    xorl %ebx, %ebx
    xorl %esi, %esi                 # frames that the machine-to-phys table knows by their pfn
    xorl %edi, %edi                 # words that are not zero
1:  movl frames(,%ebx,4), %eax
    movl balloon_pfn, %ecx
    addl %ebx, %ecx
    movl start_info, %edx
    movl START_INFO_mfn_list(%edx), %edx
    movl %eax, (%edx,%ecx,4)        # p2m
    cmpl %ecx, M2P_START(,%eax,4)
    jne 2f
    incl %esi
2:  movl %eax, %edx
    movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    pushl %eax
    movl $PTE_DATA, %ecx
    call map_frame
    MUST update_va_mapping
    popl %edx
    movl $PAGE_SIZE / 4, %ecx
3:  cmpl $0, (%edx)
    je 4f
    incl %edi
4:  addl $4, %edx
    loop 3b
    incl %ebx
    cmpl $BALLOON_PAGES, %ebx
    jb 1b
    PRINT "  known to the machine-to-phys table: "
    PRINT_DEC %esi
    PRINT "\n  words that are not zero: "
    PRINT_DEC %edi
    PRINT "\n"
    ret

# Fills `frames` with the pfns of the balloon and some more.
    .type list_pfns, @function
list_pfns:
    xorl %ecx, %ecx
1:  movl balloon_pfn, %eax
    addl %ecx, %eax
    movl %eax, frames(,%ecx,4)
    incl %ecx
    cmpl $BALLOON_PAGES + MORE, %ecx
    jb 1b
    ret

# What the domain may have beyond its first memory; nobody needs to map it.
    .type show_slack, @function
show_slack:
    PRINT "up to the limit: "
    movl $XENMEM_current_reservation, %eax
    call ask_pages
    movl %eax, %ebx
    movl $XENMEM_maximum_reservation, %eax
    call ask_pages
    subl %ebx, %eax
    movl %eax, %edx
    movl $XENMEM_increase_reservation, %eax
    call change_reservation
    jmp show_pages

# Three pages go; eight are wanted; three come.
    .type show_limit, @function
show_limit:
    movl $3, %edx
    call drop_pages
    PRINT "give back 3, ask for 8: "
    call list_pfns
    movl $XENMEM_populate_physmap, %eax
    movl $MORE, %edx
    call change_reservation
    call show_pages
    xorl %ebx, %ebx                 # these are the pages that went
1:  movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    movl frames(,%ebx,4), %edx
    movl $PTE_DATA, %ecx
    call map_frame
    MUST update_va_mapping
    incl %ebx
    cmpl $3, %ebx
    jb 1b
    PRINT "ask for another 8: "
    call list_pfns
    movl $XENMEM_populate_physmap, %eax
    movl $MORE, %edx
    call change_reservation
    jmp show_pages

# Sixteen pages go, and an extent of sixteen frames comes: neighbours, the first a multiple of sixteen.
    .type show_extent, @function
show_extent:
    movl $1 << EXTENT_ORDER, %edx
    call drop_pages
    PRINT "give back 16, ask for 16 in a row: "
    call list_pfns
    movl $XENMEM_populate_physmap, %eax
    movl $1, %edx
    movl $EXTENT_ORDER, %ecx
    call change_extents
    call print_dec
    PRINT " extent, now: "
    movl $XENMEM_current_reservation, %eax
    call ask_pages
    call print_dec
    xorl %ebx, %ebx
    xorl %esi, %esi                 # frames that are known by the pfn of their page
1:  movl frames, %eax
    addl %ebx, %eax
    call mfn_to_pfn
    movl balloon_pfn, %ecx
    addl %ebx, %ecx
    cmpl %ecx, %eax
    jne 2f
    incl %esi
2:  movl frames, %edx
    addl %ebx, %edx
    movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    movl $PTE_DATA, %ecx
    call map_frame
    MUST update_va_mapping
    incl %ebx
    cmpl $1 << EXTENT_ORDER, %ebx
    jb 1b
    PRINT "\n  known to the machine-to-phys table: "
    PRINT_DEC %esi
    PRINT "\n  the first frame, modulo 16: "
    movl frames, %eax
    andl $(1 << EXTENT_ORDER) - 1, %eax
    call print_dec
    PRINT "\n"
    ret

# EDX = how many of the balloon's pages, from its start, to unmap and give back.
    .type drop_pages, @function
drop_pages:
    pushl %ebx
    pushl %esi
    movl %edx, %esi
    xorl %ebx, %ebx
1:  movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    call read_pte
    call pte_to_mfn
    movl %eax, frames(,%ebx,4)
    movl %ebx, %eax
    shll $12, %eax
    addl $balloon, %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    call write_pte
    MUST update_va_mapping
    incl %ebx
    cmpl %esi, %ebx
    jb 1b
    movl $XENMEM_decrease_reservation, %eax
    movl %esi, %edx
    call change_reservation
    popl %esi
    popl %ebx
    ret

# increase_reservation gives a frame without a pfn: that, the kernel says itself, by MMU_MACHPHYS_UPDATE.
    .type show_increase, @function
show_increase:
    movl $1, %edx
    call drop_pages
    PRINT "give back 1, increase by 1: "
    movl $XENMEM_increase_reservation, %eax
    movl $1, %edx
    call change_reservation
    call show_pages
    PRINT "  pfn of the new frame: "
    movl frames, %eax
    call mfn_to_pfn
    call print_hex32
    movl frames, %eax
    movl %eax, %edx
    shll $12, %eax
    shrl $20, %edx
    orl $MMU_MACHPHYS_UPDATE, %eax
    movl %eax, request + MMU_UPDATE_ptr
    movl %edx, request + MMU_UPDATE_ptr + 4
    movl balloon_pfn, %eax
    movl %eax, request + MMU_UPDATE_val
    movl $request, %ebx
    movl $1, %ecx
    call mmu_update
    MUST mmu_update
    movl $balloon, %eax
    movl frames, %edx
    movl $PTE_DATA, %ecx
    call map_frame
    MUST update_va_mapping
    movl frames, %eax
    call mfn_to_va
    movl $text_elsewhere, %edx
    cmpl $balloon, %eax
    jne 1f
    movl $text_there, %edx
1:  movl $0x600DCAFE, balloon
    pushl %edx
    PRINT "\n  after the update: "
    popl %eax
    jmp print_string

    .include "follow.inc"

    .section .rodata
text_there:
    .asciz "the page it is mapped at\n"
text_elsewhere:
    .asciz "another page\n"
