# Demand paging: a heap of which no page is there until it is touched.
#
# Observe: every first touch is a page fault, and every page fault passes through the hypervisor, which alone reads CR2
# and leaves the address in vcpu_info; the handler maps one page and the instruction is executed once more, as if
# nothing had been; whoever touches the heap again meets nobody.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"

    XEN_NOTES demand

.equ HEAP_VA, 0xD0000000
.equ PAGES, 64

    .data
    .balign 4
trap_table:
    TRAP_GATE 14, 0, page_fault
    TRAP_TABLE_END
next_page:                          # of the pool, for the next fault
    .long pool
faults:
    .long 0

    .bss
    .balign PAGE_SIZE
heap_table:                         # the level 1 table for HEAP_VA
    .skip PAGE_SIZE
pool:
    .skip PAGES * PAGE_SIZE
pool_end:

    .text
    .type main, @function
main:
    call map_shared_info
    movl $trap_table, %eax
    call set_trap_table
    call install_table
    PRINT "writing to 64 pages: "
    call write_heap
    call print_faults
    PRINT "reading them again: "
    call read_heap
    call print_faults
    PRINT "pages that hold what was written: "
    PRINT_DEC %esi
    PRINT "\n"
    ret

# An empty table, so that only the last level is missing.
    .type install_table, @function
install_table:
    movl $heap_table, %eax
    call make_read_only
    MUST make_read_only
    movl $heap_table, %eax
    call va_to_mfn
    movl %eax, %ebx
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, $(HEAP_VA >> L2_SHIFT) & (ENTRIES - 1), %ebx, $PTE_TABLE
    MUST mmu_update
    ret

# A word into each page: its own address.
    .type write_heap, @function
write_heap:
    movl $HEAP_VA, %eax
    movl $PAGES, %ecx
1:  movl %eax, (%eax)
    addl $PAGE_SIZE, %eax
    loop 1b
    ret

# Gives in ESI how many pages have it.
    .type read_heap, @function
read_heap:
    movl $HEAP_VA, %eax
    movl $PAGES, %ecx
    xorl %esi, %esi
1:  cmpl %eax, (%eax)
    jne 2f
    incl %esi
2:  addl $PAGE_SIZE, %eax
    loop 1b
    ret

# How many there were since the last time.
    .type print_faults, @function
print_faults:
    PRINT_DEC faults
    PRINT " page faults\n"
    movl $0, faults
    ret

    .type page_fault, @function
page_fault:
    pushal
    incl faults
    movl SHARED_CR2, %ebx
    cmpl $pool_end, next_page
    jb 1f
    PANIC "more page faults than pages"
1:
    # exercise demand: map our page `next_page`, writable, where EBX points to: `va_to_mfn`, `map_frame`
    movl next_page, %eax
    call va_to_mfn
    movl %eax, %edx
    movl %ebx, %eax
    andl $~(PAGE_SIZE - 1), %eax
    movl $PTE_DATA, %ecx
    call map_frame
    MUST map_frame
    # exercise end
    addl $PAGE_SIZE, next_page
    popal
    addl $4, %esp                   # the error code
    iret
