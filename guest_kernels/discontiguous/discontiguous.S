# Machine memory is not what it seems: neighbouring pages are not neighbouring frames.
#
# Observe: hardly any two pages of the domain are adjacent in the machine; p2m list and machine-to-phys table
# are each other's inverse; the page tables hold machine addresses, those of the p2m list; and they are mapped
# so that the kernel may read them, but not write.

    .include "runtime.inc"

    XEN_NOTES discontiguous

    .bss
    .balign 4
machphys_mapping:                   # struct xen_machphys_mapping
    .skip XEN_MACHPHYS_MAPPING_sizeof

    .text
    .type main, @function
main:
    call show_adjacent
    call show_round_trip
    call show_mappings
    jmp show_table_pages

# How many pages have their successor in the next machine frame.
    .type show_adjacent, @function
show_adjacent:
    movl start_info, %ecx
    movl START_INFO_mfn_list(%ecx), %edx
    movl START_INFO_nr_pages(%ecx), %ecx
    decl %ecx
    movl %ecx, %ebx                 # pairs
    xorl %esi, %esi                 # adjacent ones
1:  movl (%edx), %eax
    incl %eax
    addl $4, %edx
    cmpl %eax, (%edx)
    jne 2f
    incl %esi
2:  loop 1b
    PRINT "adjacent frames: "
    jmp show_ratio

# Every page: from pfn to mfn and back.
    .type show_round_trip, @function
show_round_trip:
    movl $XENMEM_machphys_mapping, %ebx
    movl $machphys_mapping, %ecx
    HYPERCALL memory_op
    testl %eax, %eax
    jz 1f
    PANIC "XENMEM_machphys_mapping failed"
1:  PRINT "machine-to-phys table at "
    PRINT_HEX machphys_mapping + XEN_MACHPHYS_MAPPING_v_start
    PRINT "\n"
    movl start_info, %ecx
    movl START_INFO_nr_pages(%ecx), %ebx
    xorl %edi, %edi                 # pfn
    xorl %esi, %esi                 # good ones
2:  movl %edi, %eax
    call pfn_to_mfn
    call mfn_to_pfn
    cmpl %edi, %eax
    jne 3f
    incl %esi
3:  incl %edi
    cmpl %ebx, %edi
    jb 2b
    PRINT "pfn to mfn and back: "
    jmp show_ratio

# Every page that the initial page tables map: the frame in its entry against the p2m list.
    .type show_mappings, @function
show_mappings:
    xorl %ebx, %ebx                 # pfn = pages mapped so far
    xorl %esi, %esi                 # those mapped to their own frame
1:  movl %ebx, %eax
    shll $12, %eax
    addl $VIRT_BASE, %eax
    call read_pte
    testb $PTE_PRESENT, %al
    jz 3f
    call pte_to_mfn
    movl %eax, %edi
    # exercise discontiguous: EAX = the machine frame of the page number in EBX, which is in EDI if both agree
    # instead: movl %ebx, %eax
    movl %ebx, %eax
    call pfn_to_mfn
    # exercise end
    cmpl %edi, %eax
    jne 2f
    incl %esi
2:  incl %ebx
    jmp 1b
3:  PRINT "entries that hold the p2m's frame: "
    jmp show_ratio

# The page tables' own pages: present, and not writable.
    .type show_table_pages, @function
show_table_pages:
    movl start_info, %ecx
    movl START_INFO_pt_base(%ecx), %edi
    movl START_INFO_nr_pt_frames(%ecx), %ebx
    movl %ebx, %ebp
    xorl %esi, %esi                 # read-only ones
1:  movl %edi, %eax
    call read_pte
    andl $PTE_PRESENT | PTE_RW, %eax
    cmpl $PTE_PRESENT, %eax
    jne 2f
    incl %esi
2:  addl $PAGE_SIZE, %edi
    decl %ebp
    jnz 1b
    PRINT "page tables mapped read-only: "

# Prints "ESI of EBX".
    .type show_ratio, @function
show_ratio:
    PRINT_DEC %esi
    PRINT " of "
    PRINT_DEC %ebx
    PRINT "\n"
    ret
