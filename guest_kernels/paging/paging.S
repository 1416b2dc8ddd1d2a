# A second address space, built by hand: the kernel's own page tables, of every level.
#
# Observe: a page becomes a page table only once nobody can write to it; the hypervisor checks the whole tree
# when its root is pinned; after that the same virtual address reads differently under the one root and the
# other, while the kernel, mapped in both, goes on as if nothing had happened; and the pages of the second tree
# can be written again only after it is unpinned.

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES paging

.equ SHARED_VA, 0xD0000000          # mapped in both spaces, to different pages
.equ LOW_VA, 0x00400000             # mapped in the second space only
.equ SHARED_L2_INDEX, (SHARED_VA >> L2_SHIFT) & (ENTRIES - 1)
.equ LOW_L2_INDEX, (LOW_VA >> L2_SHIFT) & (ENTRIES - 1)
.equ KERNEL_SLOTS, ENTRIES - ((0x100000000 - HOLE_START) >> L2_SHIFT)   # level 2 entries that are ours

    .data
    .balign 4
trap_table:
    TRAP_GATE 14, 0, page_fault
    TRAP_TABLE_END
fault_resume:                       # where a page fault goes on
    .long 0

    .bss
    .balign PAGE_SIZE
# The tables of the second space. Its root is the level 3 table, or without PAE the level 2 table.
new_tables:
.ifdef TWO_LEVEL
new_root:
.else
new_root:
    .skip PAGE_SIZE
new_low_l2:                         # the first gigabyte
    .skip PAGE_SIZE
.endif
new_l2:                             # the kernel's, shared but for SHARED_VA
    .skip PAGE_SIZE
new_l1:
    .skip PAGE_SIZE
new_tables_end:
first_l1:                           # what SHARED_VA goes through in the first space
    .skip PAGE_SIZE
first_page:
    .skip PAGE_SIZE
second_page:
    .skip PAGE_SIZE
first_root_mfn:
    .skip 4
new_root_mfn:
    .skip 4

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    movl %eax, first_root_mfn
    movl $new_root, %eax
    call va_to_mfn
    movl %eax, new_root_mfn
    movl $first_text, %edx
    movl $first_page, %eax
    movl $first_text_end - first_text, %ecx
    call memory_copy
    movl $second_text, %edx
    movl $second_page, %eax
    movl $second_text_end - second_text, %ecx
    call memory_copy

    PRINT "first space, before anything is mapped:\n"
    call show_space
    call extend_first_space
    PRINT "first space, with a table for 0xd0000000:\n"
    call show_space
    call fill_tables
    call show_pinning
    call show_switch
    jmp show_release

# Puts first_l1, which maps first_page, into the kernel's level 2 table.
    .type extend_first_space, @function
extend_first_space:
    movl $first_page, %eax
    call va_to_mfn
    movl $PTE_DATA, %edx
    call make_entry
    call store_entry_first_l1
    movl $first_l1, %eax
    call make_read_only
    MUST make_read_only
    movl $first_l1, %eax
    call va_to_mfn
    movl %eax, %ebx
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, $SHARED_L2_INDEX, %ebx, $PTE_TABLE
    MUST mmu_update
    ret

# EDX:EAX = entry: the first one of first_l1.
    .type store_entry_first_l1, @function
store_entry_first_l1:
    movl $first_l1, %ecx
    jmp store_entry

# EDX:EAX = entry, ECX = its address, in a page that is no page table yet.
    .type store_entry, @function
store_entry:
    movl %eax, (%ecx)
.ifndef TWO_LEVEL
    movl %edx, 4(%ecx)
.endif
    ret

# Writes the second space's tables with plain stores: they are ordinary pages so far.
    .type fill_tables, @function
fill_tables:
    call kernel_l2
    movl %eax, %edx
    movl $new_l2, %eax              # the hypervisor fills in its own entries when it takes the table
    movl $KERNEL_SLOTS * ENTRY_SIZE, %ecx
    call memory_copy
    movl $second_page, %eax
    movl $new_l1, %ecx
    movl $PTE_DATA, %edx
    call point_entry
    movl $new_l1, %eax
    movl $new_l2 + SHARED_L2_INDEX * ENTRY_SIZE, %ecx
    movl $PTE_TABLE, %edx
    call point_entry
    movl $new_l1, %eax              # one table may serve at two places
    movl $PTE_TABLE, %edx
.ifdef TWO_LEVEL
    movl $new_root + LOW_L2_INDEX * ENTRY_SIZE, %ecx
    jmp point_entry
.else
    movl $new_low_l2 + LOW_L2_INDEX * ENTRY_SIZE, %ecx
    call point_entry
    movl $new_low_l2, %eax
    movl $new_root, %ecx
    movl $PTE_ROOT, %edx
    call point_entry
    movl $new_l2, %eax
    movl $new_root + 3 * ENTRY_SIZE, %ecx
    movl $PTE_ROOT, %edx
    jmp point_entry
.endif

# EAX = address of a page of ours, ECX = where to put an entry that refers to it, EDX = its flags.
    .type point_entry, @function
point_entry:
    pushl %ecx
    pushl %edx
    call va_to_mfn
    popl %edx
    call make_entry
    popl %ecx
    jmp store_entry

# Pinning: not before every table is read-only.
    .type show_pinning, @function
show_pinning:
    PRINT "pin the second space while its tables are writable: "
    MMUEXT PIN_ROOT_TABLE, new_root_mfn
    call print_errno
    movl $new_tables, %ebx
1:
    # exercise paging: take our own right to write to the page that EBX points to
    movl %ebx, %eax
    call make_read_only
    MUST make_read_only
    # exercise end
    addl $PAGE_SIZE, %ebx
    cmpl $new_tables_end, %ebx
    jb 1b
    PRINT "\npin it with all of them read-only: "
    MMUEXT PIN_ROOT_TABLE, new_root_mfn
    call print_errno
    PRINT "\nmake one of them writable again: "
    movl $new_l1, %eax
    call make_writable
    call print_errno
    PRINT "\n"
    ret

# There and back. The tables of both spaces can be read in both.
    .type show_switch, @function
show_switch:
    MMUEXT NEW_BASEPTR, new_root_mfn
    MUST NEW_BASEPTR
    PRINT "second space:\n"
    call show_space
    PRINT "  its root as the hypervisor left it: "
    movl $new_root, %eax
.ifdef TWO_LEVEL
    movl $SHARED_L2_INDEX, %edx
    movl $new_l1, %ebx
.else
    movl $SHARED_VA >> 30, %edx
    movl $new_l2, %ebx
.endif
    call read_entry
    call pte_to_mfn
    call mfn_to_va
    cmpl %eax, %ebx
    jne 1f
    PRINT "refers to our own table\n"
    jmp 2f
1:  PRINT "refers to somebody else's table\n"
2:  PRINT "  its last level 2 entry, which we left empty: "
    movl $new_l2, %eax
    movl $KERNEL_SLOTS, %edx
    call read_entry
    testb $PTE_PRESENT, %al
    jz 3f
    PRINT "the hypervisor's\n"
    jmp 4f
3:  PRINT "empty\n"
4:  movl $'!', SHARED_VA + second_mark - second_text
    MMUEXT NEW_BASEPTR, first_root_mfn
    MUST NEW_BASEPTR
    PRINT "first space again:\n"
    jmp show_space

# Takes both apart again.
    .type show_release, @function
show_release:
    PRINT "what the second space wrote: "
    movl $second_page, %eax
    call print_string
    PRINT "\nunpin: "
    MMUEXT UNPIN_TABLE, new_root_mfn
    call print_errno
    PRINT "\nunpin again: "
    MMUEXT UNPIN_TABLE, new_root_mfn
    call print_errno
    PRINT "\nunmap 0xd0000000 in the first space: "
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, $SHARED_L2_INDEX, $0, $0
    call print_errno
    PRINT "\n"
    call show_space
    xorl %esi, %esi                 # pages that can be written again
    movl $new_tables, %ebx
1:  movl %ebx, %eax
    call make_writable
    testl %eax, %eax
    jnz 2f
    movl $0x600DCAFE, (%ebx)
    incl %esi
2:  addl $PAGE_SIZE, %ebx
    cmpl $first_page, %ebx
    jb 1b
    PRINT "tables that are ordinary pages again: "
    PRINT_DEC %esi
    PRINT " of "
    PRINT_DEC $(first_page - new_tables) >> 12
    PRINT "\n"
    ret

# What the two addresses read here.
    .type show_space, @function
show_space:
    movl $SHARED_VA, %eax
    call show_address
    movl $LOW_VA, %eax

# EAX = address: prints the text that is there.
    .type show_address, @function
show_address:
    pushl %ebx
    movl %eax, %ebx
    PRINT "  "
    PRINT_HEX %ebx
    PRINT ": "
    movl $1f, fault_resume
    movb (%ebx), %al
    movl %ebx, %eax
    call print_string
    jmp 2f
1:  PRINT "page fault"
2:  PRINT "\n"
    popl %ebx
    ret

# The read of show_address.
    .type page_fault, @function
page_fault:
    pushl fault_resume
    popl TRAP_FRAME_eip(%esp)
    addl $4, %esp
    iret

    .section .rodata
first_text:
    .asciz "the first page"
first_text_end:
second_text:
    .ascii "the second page"
second_mark:
    .asciz "."
second_text_end:
