# A kernel without PAE: two levels of page tables, entries of four bytes, as the ABI xen-3.0-x86_32 has them.
#
# Observe: the hypervisor's area starts higher, at 0xfc000000, and so does the machine-to-phys table; an address
# is two indices of ten bits and an offset; and the root is a level 2 table, which is pinned and switched to as
# such. `paging`, `batch`, `writable` and `attack` can be built in this form as well: -D TWO_LEVEL=1.

.equ TWO_LEVEL, 1

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES twolevel

.equ SPARE_VA, 0xE0000000           # nothing of the initial mapping
.equ SPARE_INDEX, SPARE_VA >> L2_SHIFT
.equ GUEST_ENTRIES, HOLE_START >> L2_SHIFT

    .bss
    .balign PAGE_SIZE
second_root:
    .skip PAGE_SIZE
spare_l1:
    .skip PAGE_SIZE
page:
    .skip PAGE_SIZE
other_page:
    .skip PAGE_SIZE
machphys_mapping:                   # struct xen_machphys_mapping
    .skip XEN_MACHPHYS_MAPPING_sizeof

    .text
    .type main, @function
main:
    PRINT "magic: "
    movl start_info, %eax
    call print_string
    PRINT "\n"
    call show_area
    call show_walk
    call show_initial_tables
    call show_update
    jmp show_second_root

    .type show_area, @function
show_area:
    movl $XENMEM_machphys_mapping, %ebx
    movl $machphys_mapping, %ecx
    HYPERCALL memory_op
    MUST machphys_mapping
    PRINT "machine-to-phys table: from "
    PRINT_HEX machphys_mapping + XEN_MACHPHYS_MAPPING_v_start
    PRINT " to "
    PRINT_HEX machphys_mapping + XEN_MACHPHYS_MAPPING_v_end
    PRINT ", up to mfn "
    PRINT_HEX machphys_mapping + XEN_MACHPHYS_MAPPING_max_mfn
    PRINT "\n"
    ret

# From the address of `page` to its frame by hand, through both levels.
    .type show_walk, @function
show_walk:
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %ebx
    PRINT "level 2, index "
    movl $page, %edi
    shrl $22, %edi
    PRINT_DEC %edi
    movl (%ebx,%edi,4), %eax
    movl %eax, %esi
    call show_flags
    movl %esi, %eax
    shrl $12, %eax
    call mfn_to_va
    movl %eax, %ebx
    PRINT "level 1, index "
    movl $page, %edi
    shrl $12, %edi
    andl $ENTRIES - 1, %edi
    PRINT_DEC %edi
    movl (%ebx,%edi,4), %eax
    movl %eax, %esi
    call show_flags
    movl $page, %eax
    call va_to_mfn
    shrl $12, %esi
    cmpl %eax, %esi
    jne 1f
    PRINT "that is the frame of the p2m list\n"
    ret
1:  PRINT "that is another frame than the p2m list's\n"
    ret

# EAX = entry.
    .type show_flags, @function
show_flags:
    pushl %eax
    PRINT ": flags "
    popl %eax
    andl $PTE_PRESENT | PTE_RW | PTE_USER, %eax
    call print_hex32
    PRINT "\n"
    ret

    .type show_initial_tables, @function
show_initial_tables:
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
    PRINT_DEC %esi
    PRINT " of "
    PRINT_DEC %ebx
    PRINT "\n"
    ret

# The same page at two addresses, then another page at one of them.
    .type show_update, @function
show_update:
    PRINT "a level 1 table for 0xe0000000: "
    movl $spare_l1, %eax
    call make_read_only
    MUST make_read_only
    movl $spare_l1, %eax
    call va_to_mfn
    movl %eax, %esi
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    UPDATE_ENTRY %eax, $SPARE_INDEX, %esi, $PTE_TABLE
    call print_errno
    movl $0x11111111, page
    movl $0x22222222, other_page
    movl $page, %eax
    call va_to_mfn
    UPDATE_ENTRY %esi, $5, %eax, $PTE_DATA
    MUST mmu_update
    PRINT "\nmmu_update of its entry 5: "
    PRINT_HEX SPARE_VA + 5 * PAGE_SIZE
    movl $other_page, %eax
    call va_to_mfn
    movl %eax, %edx
    movl $SPARE_VA + 5 * PAGE_SIZE, %eax
    movl $PTE_DATA, %ecx
    call map_frame
    MUST update_va_mapping
    PRINT "\nupdate_va_mapping of the same: "
    PRINT_HEX SPARE_VA + 5 * PAGE_SIZE
    PRINT "\na level 2 entry for a 4 MiB page: "
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    UPDATE_ENTRY %eax, $SPARE_INDEX, $0, $PTE_TABLE | _PAGE_PSE
    call print_errno
    PRINT "\na level 2 entry of the hypervisor's: "
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    UPDATE_ENTRY %eax, $GUEST_ENTRIES, %esi, $PTE_TABLE
    call print_errno
    PRINT "\n"
    ret

# A copy of the root without the table for SPARE_VA. Its upper 16 entries are the hypervisor's to fill.
    .type show_second_root, @function
show_second_root:
    movl start_info, %ebx
    movl START_INFO_pt_base(%ebx), %ebx
    movl $second_root, %eax
    movl %ebx, %edx
    movl $GUEST_ENTRIES * ENTRY_SIZE, %ecx
    call memory_copy
    movl $0, second_root + SPARE_INDEX * ENTRY_SIZE
    movl $second_root, %eax
    call make_read_only
    MUST make_read_only
    movl $second_root, %eax
    call va_to_mfn
    movl %eax, %esi
    PRINT "pin the second root as level 2: "
    MMUEXT PIN_L2_TABLE, %esi
    call print_errno
    PRINT "\nswitch to it: "
    MMUEXT NEW_BASEPTR, %esi
    call print_errno
    PRINT "\nits machine-to-phys table: "
    movl $page, %eax
    call va_to_mfn
    call mfn_to_va
    cmpl $page, %eax
    jne 1f
    PRINT "the same\n"
    jmp 2f
1:  PRINT "another\n"
2:  movl %ebx, %eax
    call va_to_mfn
    movl %eax, %edi
    PRINT "and back: "
    MMUEXT NEW_BASEPTR, %edi
    call print_errno
    PRINT ", "
    PRINT_HEX SPARE_VA + 5 * PAGE_SIZE
    PRINT "\nunpin: "
    MMUEXT UNPIN_TABLE, %esi
    call print_errno
    PRINT "\nwritable again: "
    movl $second_root, %eax
    call make_writable
    call print_errno
    PRINT "\n"
    ret
