# Long lists that are right: what a hypercall answers does not tell in how many portions it was done.

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES portions

.equ UPDATES, 20000
.equ BAD_UPDATE, 15000
.equ OPERATIONS, 6000
.equ EXTENTS, 3000
.equ FIRST_PFN, 4500                # of the extents: not mapped at the start of day
.equ EXCHANGED, 1500
.equ CALLS, 10000
.equ LONG_CALL, 5000                # number of the entry that is a long list itself
.equ SWAPS, 1001
.equ TEXT, 33000
.equ TABLE_VA, 0xD0000000

# Prints a name and EAX as a signed number.
.macro SHOW text:vararg
    pushl %eax
    PRINT \text
    popl %eax
    call print_signed
.endm

    .bss
    .balign PAGE_SIZE
table:                              # level 1 table for TABLE_VA
    .skip PAGE_SIZE
    .balign 16
updates:
    .skip UPDATES * MMU_UPDATE_sizeof
operations:
    .skip OPERATIONS * MMUEXT_OP_sizeof
extents:                            # two lists of frames or pfns
    .skip EXTENTS * 4
new_extents:
    .skip EXTENTS * 4
calls:
    .skip CALLS * MULTICALL_ENTRY_sizeof
swaps:
    .skip SWAPS * GNTTAB_SWAP_GRANT_REF_sizeof
text:
    .skip TEXT
table_mfn:
    .skip 4
done:
    .skip 4

    .text
    .type main, @function
main:
    call install_table
    call prepare_updates
    call show_updates
    call show_bad_update
    call show_operations
    call show_reservation
    call show_exchange
    call show_multicall
    call show_swaps
    jmp show_console_io

    .type print_signed, @function
print_signed:
    testl %eax, %eax
    jns 1f
    pushl %eax
    PRINT "-"
    popl %eax
    negl %eax
1:  call print_dec
    PRINT "\n"
    ret

    .type install_table, @function
install_table:
    movl $table, %eax
    call make_read_only
    MUST make_read_only
    movl $table, %eax
    call va_to_mfn
    movl %eax, table_mfn
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, $(TABLE_VA >> L2_SHIFT) & (ENTRIES - 1), table_mfn, $PTE_TABLE
    MUST mmu_update
    ret

# Update n maps pfn n & 4095, read-only, at entry n & 511.
    .type prepare_updates, @function
prepare_updates:
    movl $updates, %edi
    xorl %ebx, %ebx
1:  movl %ebx, %eax
    andl $ENTRIES - 1, %eax
    movl table_mfn, %ecx
    movl %ecx, %edx
    shll $12, %ecx
    shrl $20, %edx
    leal (%ecx,%eax,ENTRY_SIZE), %eax
    movl %eax, MMU_UPDATE_ptr(%edi)
    movl %edx, MMU_UPDATE_ptr+4(%edi)
    movl %ebx, %eax
    andl $4095, %eax
    call pfn_to_mfn
    movl $PTE_READ_ONLY, %edx
    call make_entry
    movl %eax, MMU_UPDATE_val(%edi)
    movl %edx, MMU_UPDATE_val+4(%edi)
    addl $MMU_UPDATE_sizeof, %edi
    incl %ebx
    cmpl $UPDATES, %ebx
    jb 1b
    ret

# All updates in one call; prints the answer, how many were done and the pfns now mapped, added up.
    .type show_updates, @function
show_updates:
    movl $updates, %ebx
    movl $UPDATES, %ecx
    movl $done, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmu_update
    SHOW "mmu_update: "
    movl done, %eax
    SHOW "done: "
    xorl %ebx, %ebx
    xorl %esi, %esi
1:  movl $table, %eax
    movl %esi, %edx
    call read_entry
    call pte_to_mfn
    call mfn_to_pfn
    addl %eax, %ebx
    incl %esi
    cmpl $ENTRIES, %esi
    jb 1b
    movl %ebx, %eax
    SHOW "sum of pfns: "
    ret

    .type show_bad_update, @function
show_bad_update:
    movl $3, updates + BAD_UPDATE * MMU_UPDATE_sizeof   # no such type of update
    jmp show_updates

# Flushes, and at the end an operation that does not exist.
    .type show_operations, @function
show_operations:
    movl $operations, %edi
    movl $OPERATIONS, %ecx
1:  movl $MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_OP_cmd(%edi)
    addl $MMUEXT_OP_sizeof, %edi
    loop 1b
    movl $99, MMUEXT_OP_cmd - MMUEXT_OP_sizeof(%edi)
    movl $operations, %ebx
    movl $OPERATIONS, %ecx
    movl $done, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmuext_op
    SHOW "mmuext_op: "
    movl done, %eax
    SHOW "done: "
    ret

# EAX = command, EDX = list; gives how many of EXTENTS extents were dealt with.
    .type reserve, @function
reserve:
    movl %eax, %ebx
    movl %edx, reservation
    movl $reservation, %ecx
    HYPERCALL memory_op
    ret

    .type show_pages, @function
show_pages:
    movl $XENMEM_current_reservation, %ebx
    movl $domain, %ecx
    HYPERCALL memory_op
    SHOW "pages: "
    ret

    .type show_reservation, @function
show_reservation:
    xorl %esi, %esi
1:  leal FIRST_PFN(%esi), %eax
    movl %eax, new_extents(,%esi,4)
    call pfn_to_mfn
    movl %eax, extents(,%esi,4)
    incl %esi
    cmpl $EXTENTS, %esi
    jb 1b
    movl $XENMEM_decrease_reservation, %eax
    movl $extents, %edx
    call reserve
    SHOW "decrease_reservation: "
    call show_pages
    movl $XENMEM_populate_physmap, %eax
    movl $new_extents, %edx
    call reserve
    SHOW "populate_physmap: "
    call show_pages
# Every new frame is known by the pfn that was asked for.
    xorl %esi, %esi
2:  movl new_extents(,%esi,4), %eax
    call mfn_to_pfn
    subl $FIRST_PFN, %eax
    cmpl %esi, %eax
    jne 3f
    incl %esi
    cmpl $EXTENTS, %esi
    jb 2b
3:  movl %esi, %eax
    SHOW "pfns kept: "
    ret

# Some of the new frames for others, which take over their pfns.
    .type show_exchange, @function
show_exchange:
    xorl %esi, %esi
1:  leal FIRST_PFN(%esi), %eax
    movl %eax, extents(,%esi,4)
    incl %esi
    cmpl $EXCHANGED, %esi
    jb 1b
    movl $XENMEM_exchange, %ebx
    movl $exchange, %ecx
    HYPERCALL memory_op
    SHOW "exchange: "
    movl exchange + XEN_MEMORY_EXCHANGE_nr_exchanged, %eax
    SHOW "exchanged: "
    jmp show_pages

# Entries that ask for the version, and among them one with all the updates.
    .type show_multicall, @function
show_multicall:
    movl $calls, %edi
    movl $CALLS, %ecx
1:  movl $__HYPERVISOR_xen_version, MULTICALL_ENTRY_op(%edi)
    addl $MULTICALL_ENTRY_sizeof, %edi
    loop 1b
    movl $calls + LONG_CALL * MULTICALL_ENTRY_sizeof, %edi
    movl $__HYPERVISOR_mmu_update, MULTICALL_ENTRY_op(%edi)
    movl $updates, MULTICALL_ENTRY_args(%edi)
    movl $BAD_UPDATE, MULTICALL_ENTRY_args+4(%edi)
    movl $done, MULTICALL_ENTRY_args+8(%edi)
    movl $DOMID_SELF, MULTICALL_ENTRY_args+12(%edi)
    movl $calls, %ebx
    movl $CALLS, %ecx
    HYPERCALL multicall
    SHOW "multicall: "
    movl done, %eax
    SHOW "done: "
    movl calls + LONG_CALL * MULTICALL_ENTRY_sizeof + MULTICALL_ENTRY_result, %eax
    SHOW "long entry: "
    movl $calls, %edi
    xorl %ebx, %ebx
    movl $CALLS, %ecx
2:  addl MULTICALL_ENTRY_result(%edi), %ebx
    addl $MULTICALL_ENTRY_sizeof, %edi
    loop 2b
    movl %ebx, %eax
    call print_hex32
    PRINT "\n"
    ret

# Entries 8 and 9 of the grant table change places an odd number of times; the last pair is out of the table.
    .type show_swaps, @function
show_swaps:
    movl $swaps, %edi
    movl $SWAPS, %ecx
1:  movl $8, GNTTAB_SWAP_GRANT_REF_ref_a(%edi)
    movl $9, GNTTAB_SWAP_GRANT_REF_ref_b(%edi)
    movw $0x5555, GNTTAB_SWAP_GRANT_REF_status(%edi)
    addl $GNTTAB_SWAP_GRANT_REF_sizeof, %edi
    loop 1b
    movl $-1, GNTTAB_SWAP_GRANT_REF_ref_a - GNTTAB_SWAP_GRANT_REF_sizeof(%edi)
    movl $GNTTABOP_swap_grant_ref, %ebx
    movl $swaps, %ecx
    movl $SWAPS, %edx
    HYPERCALL grant_table_op
    SHOW "swap_grant_ref: "
    movl $swaps, %edi
    xorl %ebx, %ebx
    movl $SWAPS, %ecx
2:  movswl GNTTAB_SWAP_GRANT_REF_status(%edi), %eax
    addl %eax, %ebx
    addl $GNTTAB_SWAP_GRANT_REF_sizeof, %edi
    loop 2b
    movl %ebx, %eax
    SHOW "statuses: "
    ret

# Rows of digits for the hypervisor's console.
    .type show_console_io, @function
show_console_io:
    xorl %esi, %esi
    movb $'0', %al
1:  movb %al, text(%esi)
    incb %al
    cmpb $'9', %al
    jbe 2f
    movb $'0', %al
2:  incl %esi
    cmpl $TEXT, %esi
    jb 1b
    movl $CONSOLEIO_write, %ebx
    movl $TEXT, %ecx
    movl $text, %edx
    HYPERCALL console_io
    SHOW "console_io: "
    ret

    .data
    .balign 4
reservation:                        # struct xen_memory_reservation
    .long 0, EXTENTS, 0, 0
    .word DOMID_SELF, 0
domain:                             # struct xen_memory_domain
    .word DOMID_SELF, 0
exchange:                           # struct xen_memory_exchange: two reservations, then how far it got
    .long new_extents, EXCHANGED, 0, 0
    .word DOMID_SELF, 0
    .long extents, EXCHANGED, 0, 0
    .word DOMID_SELF, 0
    .long 0
