# A thousand updates of one page table: how they are asked for changes the number of hypercalls, not the table.
#
# Observe: mmu_update takes as many requests as one likes, multicall as many hypercalls; every way leaves the
# same table; and of a batch with a bad request in it, all before that request is done and nothing after it.

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES batch

.equ UPDATES, 1000
.equ TABLE_VA, 0xD0000000           # what the table maps
.equ STRIDE, 37                     # entries between two updates: odd, so that all entries get one
.equ BAD, 100                       # number of the request that is refused
.equ CALLS, 125                     # entries of one multicall

    .bss
    .balign PAGE_SIZE
table:                              # the level 1 table for TABLE_VA
    .skip PAGE_SIZE
    .balign 16
updates:                            # the thousand
    .skip UPDATES * MMU_UPDATE_sizeof
clearing:                           # one request for each entry of the table: nothing there
    .skip ENTRIES * MMU_UPDATE_sizeof
calls:
    .skip CALLS * MULTICALL_ENTRY_sizeof
table_mfn:
    .skip 4
hypercalls:                         # how many were made
    .skip 4
checksum:                           # of the table, after the first way
    .skip 4
done:
    .skip 4

    .text
    .type main, @function
main:
    call install_table
    call prepare_requests
    PRINT "1000 updates of one table\n"
    movl $1, %eax
    call by_mmu_update
    movl $16, %eax
    call by_mmu_update
    movl $128, %eax
    call by_mmu_update
    movl $1024, %eax
    call by_mmu_update
    call by_update_va_mapping
    call by_multicall
    jmp show_bad_request

# Makes `table` the level 1 table for TABLE_VA.
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

# Update n maps the page with pfn n, read-only, at entry n * STRIDE.
    .type prepare_requests, @function
prepare_requests:
    movl $updates, %edi
    xorl %ebx, %ebx
1:  imull $STRIDE, %ebx, %eax
    call put_pointer
    movl %ebx, %eax
    call pfn_to_mfn
    movl $PTE_READ_ONLY, %edx
    call make_entry
    movl %eax, MMU_UPDATE_val(%edi)
    movl %edx, MMU_UPDATE_val+4(%edi)
    addl $MMU_UPDATE_sizeof, %edi
    incl %ebx
    cmpl $UPDATES, %ebx
    jb 1b
    movl $clearing, %edi
    xorl %ebx, %ebx
2:  movl %ebx, %eax
    call put_pointer
    addl $MMU_UPDATE_sizeof, %edi
    incl %ebx
    cmpl $ENTRIES, %ebx
    jb 2b
    ret

# EDI = request, EAX = number of an entry, round and round: the request is about that one.
    .type put_pointer, @function
put_pointer:
    andl $ENTRIES - 1, %eax
    movl table_mfn, %ecx
    movl %ecx, %edx
    shll $12, %ecx
    shrl $20, %edx
    leal (%ecx,%eax,ENTRY_SIZE), %eax
    movl %eax, MMU_UPDATE_ptr(%edi)
    movl %edx, MMU_UPDATE_ptr+4(%edi)
    ret

# EAX = requests in each call.
    .type by_mmu_update, @function
by_mmu_update:
    movl %eax, %ebp
    PRINT "mmu_update, "
    PRINT_DEC %ebp
    PRINT " a call: "
    call clear_table
    movl $updates, %esi
    movl $UPDATES, %edi             # requests left
1:
    # exercise batch: ECX = how many requests go into this call: EBP, or EDI if fewer are left
    # instead: movl $1, %ecx
    movl %ebp, %ecx
    cmpl %edi, %ecx
    jbe 2f
    movl %edi, %ecx
    # exercise end
2:  subl %ecx, %edi
    movl %esi, %ebx
    imull $MMU_UPDATE_sizeof, %ecx, %eax
    addl %eax, %esi
    call mmu_update
    MUST mmu_update
    incl hypercalls
    testl %edi, %edi
    jnz 1b
    jmp compare

    .type by_update_va_mapping, @function
by_update_va_mapping:
    PRINT "update_va_mapping: "
    call clear_table
    movl $updates, %edi
    xorl %ebp, %ebp
1:  call entry_address
    movl %eax, %ebx
    movl MMU_UPDATE_val(%edi), %ecx
    movl MMU_UPDATE_val+4(%edi), %edx
    movl $UVMF_NONE, %esi
    HYPERCALL update_va_mapping
    MUST update_va_mapping
    incl hypercalls
    addl $MMU_UPDATE_sizeof, %edi
    incl %ebp
    cmpl $UPDATES, %ebp
    jb 1b
    jmp compare

# EBP = number of an update; gives the address that its entry maps.
    .type entry_address, @function
entry_address:
    imull $STRIDE, %ebp, %eax
    andl $ENTRIES - 1, %eax
    shll $12, %eax
    addl $TABLE_VA, %eax
    ret

    .type by_multicall, @function
by_multicall:
    PRINT "multicall of 125 update_va_mapping: "
    call clear_table
    movl $updates, %edi
    xorl %ebp, %ebp
1:  movl $calls, %esi
2:  movl $__HYPERVISOR_update_va_mapping, MULTICALL_ENTRY_op(%esi)
    movl $-1, MULTICALL_ENTRY_result(%esi)
    call entry_address
    movl %eax, MULTICALL_ENTRY_args(%esi)
    movl MMU_UPDATE_val(%edi), %eax
    movl %eax, MULTICALL_ENTRY_args+4(%esi)
    movl MMU_UPDATE_val+4(%edi), %eax
    movl %eax, MULTICALL_ENTRY_args+8(%esi)
    movl $UVMF_NONE, MULTICALL_ENTRY_args+12(%esi)
    addl $MMU_UPDATE_sizeof, %edi
    incl %ebp
    addl $MULTICALL_ENTRY_sizeof, %esi
    cmpl $calls + CALLS * MULTICALL_ENTRY_sizeof, %esi
    jb 2b
    movl $calls, %ebx
    movl $CALLS, %ecx
    HYPERCALL multicall
    MUST multicall
    incl hypercalls
    movl $calls, %esi
3:  movl MULTICALL_ENTRY_result(%esi), %eax
    MUST update_va_mapping
    addl $MULTICALL_ENTRY_sizeof, %esi
    cmpl $calls + CALLS * MULTICALL_ENTRY_sizeof, %esi
    jb 3b
    cmpl $UPDATES, %ebp
    jb 1b
    jmp compare

    .type clear_table, @function
clear_table:
    movl $clearing, %ebx
    movl $ENTRIES, %ecx
    call mmu_update
    MUST mmu_update
    movl $0, hypercalls
    ret

# Prints how many hypercalls it took and whether the table is what the first way made of it.
    .type compare, @function
compare:
    call sum_table
    movl %eax, %ebx
    PRINT_DEC hypercalls
    PRINT " hypercalls, "
    cmpl $0, checksum
    jne 1f
    movl %ebx, checksum
    PRINT "the first table\n"
    ret
1:  cmpl %ebx, checksum
    jne 2f
    PRINT "the same table\n"
    ret
2:  PRINT "another table\n"
    ret

# Gives a checksum in which every bit and its place count.
    .type sum_table, @function
sum_table:
    movl $table, %edx
    movl $PAGE_SIZE / 4, %ecx
    movl $1, %eax
1:  roll $5, %eax
    addl (%edx), %eax
    addl $4, %edx
    loop 1b
    ret

# Request number BAD sets a bit that no guest may.
    .type show_bad_request, @function
show_bad_request:
    call clear_table
    orl $_PAGE_PSE, updates + BAD * MMU_UPDATE_sizeof + MMU_UPDATE_val
    PRINT "a batch whose request 100 is bad: "
    movl $updates, %ebx
    movl $UPDATES, %ecx
    movl $done, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmu_update
    call print_errno
    PRINT ", "
    PRINT_DEC done
    PRINT " done, "
    xorl %ecx, %ecx
    xorl %eax, %eax                 # entries that map something
1:  testb $PTE_PRESENT, table(,%ecx,ENTRY_SIZE)
    jz 2f
    incl %eax
2:  incl %ecx
    cmpl $ENTRIES, %ecx
    jb 1b
    call print_dec
    PRINT " entries present\n"
    ret
