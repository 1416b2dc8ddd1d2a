# Address spaces: by page tables, or by a hash table that a TLB is refilled from.

    .include "runtime.inc"
    .include "paging.inc"
    .include "tlb.inc"

.equ SLOTS, 256                     # of the hash table; a slot has a key, 4 bytes left over, and an entry
.equ KERNEL_SLOTS, ENTRIES - ((0x100000000 - HOLE_START) >> L2_SHIFT)

.globl space_init, space_make, space_set, space_load, space_flush, space_miss

    .data
    .balign 4
kind:                               # TLBKIND_, or 0: there is nothing to be known of the TLB
    .long 0
next_tables:
    .long tables
switch_calls:                       # struct multicall_entry
    .long TLB_OP, 0, TLBOP_set_asn, 0, 0, 0, 0, 0
    .long __HYPERVISOR_mmuext_op, 0, switch_op, 1, 0, DOMID_SELF, 0, 0
switch_op:                          # struct mmuext_op
    .long MMUEXT_NEW_BASEPTR, 0, 0

    .bss
    .balign PAGE_SIZE
tables:                             # of each process: levels 3, 2, 2 of the kernel's area, 1
    .skip PROCESSES * 4 * PAGE_SIZE
hash:
    .skip SLOTS * 16
description:
    .skip TLB_DESCRIPTION_sizeof

    .text
# EBX, ECX, EDX, ESI = arguments of the TLB's hypercall, which Xen does not have.
.macro TLB_CALL
    call hypercall_page + TLB_OP * 32
.endm

# What TLB is there?
    .type space_init, @function
space_init:
    movl $TLBOP_describe, %ebx
    movl $description, %ecx
    TLB_CALL
    testl %eax, %eax
    jnz 1f
    movl description + TLB_DESCRIPTION_kind, %eax
    movl %eax, kind
1:  ret

# EBX = process with its pages: its address space. Keeps EBX, as all of these do.
    .type space_make, @function
space_make:
    cmpl $TLBKIND_software, kind
    je fill_pages
    movl next_tables, %edi
    addl $4 * PAGE_SIZE, next_tables
    movl %edi, PROCESS_tables(%ebx)
    call kernel_l2
    movl %eax, %edx
    leal 2 * PAGE_SIZE(%edi), %eax
    movl $KERNEL_SLOTS * ENTRY_SIZE, %ecx
    call memory_copy
    movl $PTE_ROOT, %edx
    leal 1 * PAGE_SIZE(%edi), %eax
    leal (USER_VA >> 30) * ENTRY_SIZE(%edi), %ecx
    call point_entry
    leal 2 * PAGE_SIZE(%edi), %eax
    leal 3 * ENTRY_SIZE(%edi), %ecx
    call point_entry
    movl $PTE_TABLE, %edx
    leal 3 * PAGE_SIZE(%edi), %eax
    leal PAGE_SIZE + (USER_VA >> L2_SHIFT) * ENTRY_SIZE(%edi), %ecx
    call point_entry
    call fill_pages
    leal 3 * PAGE_SIZE(%edi), %eax
    call va_to_mfn
    movl %eax, PROCESS_level1(%ebx)
    movl $4, %esi
1:  movl %edi, %eax
    call make_read_only
    MUST make_read_only
    addl $PAGE_SIZE, %edi
    decl %esi
    jnz 1b
    movl PROCESS_tables(%ebx), %eax
    call va_to_mfn
    movl %eax, PROCESS_root(%ebx)
    MMUEXT PIN_L3_TABLE, PROCESS_root(%ebx)
    MUST pin
    ret

fill_pages:
    xorl %esi, %esi
1:  call space_set
    incl %esi
    cmpl $PAGES, %esi
    jb 1b
    ret

# EAX = page, EDX = flags, ECX = where an entry for it goes, in a page that is no table yet. Keeps EDX.
point_entry:
    pushl %edx
    pushl %ecx
    call page_entry
    popl %ecx
    movl %eax, (%ecx)
    movl %edx, 4(%ecx)
    popl %edx
    ret

# EAX = page, EDX = flags; gives the entry in EDX:EAX.
page_entry:
    pushl %edx
    call va_to_mfn
    popl %edx
    jmp make_entry

# EBX = process, ESI = number of a page: has it mapped as PROCESS_pages says. Flushes nothing.
    .type space_set, @function
space_set:
    movl PROCESS_pages(%ebx,%esi,4), %eax
    movl %eax, %edx
    andl $-PAGE_SIZE, %eax
    andl $PAGE_SIZE - 1, %edx
    cmpl $TLBKIND_software, kind
    je 2f
    cmpl $0, PROCESS_level1(%ebx)
    jne 1f
    movl PROCESS_tables(%ebx), %ecx
    leal 3 * PAGE_SIZE(%ecx,%esi,ENTRY_SIZE), %ecx
    jmp point_entry
1:  pushl %ebx
    movl PROCESS_level1(%ebx), %ebx
    pushl %edx
    call va_to_mfn
    popl %edx
    UPDATE_ENTRY %ebx, %esi, %eax, %edx
    MUST mmu_update
    popl %ebx
    ret
2:  call page_entry
    pushl %edi
    pushl %eax
    call find_slot
    popl %eax
    movl %ecx, (%edi)
    movl %eax, 8(%edi)
    movl %edx, 12(%edi)
    popl %edi
    ret

# EBX = process, ESI = number of a page: its slot in EDI, or an empty one, and its key in ECX. Keeps EDX.
find_slot:
    movl PROCESS_number(%ebx), %ecx
    shll $8, %ecx
    leal 1(%ecx,%esi), %ecx         # no key is 0
    imull $37, %ecx, %edi
1:  andl $SLOTS - 1, %edi
    movl %edi, %eax
    shll $4, %eax
    addl $hash, %eax
    cmpl %ecx, (%eax)
    je 2f
    cmpl $0, (%eax)
    je 2f
    incl %edi
    jmp 1b
2:  movl %eax, %edi
    ret

# EBX = process: its address space is the one from now on.
    .type space_load, @function
space_load:
    cmpl $TLBKIND_software, kind
    je space_flush
    cmpl $TLBKIND_tagged, kind
    je 1f
    MMUEXT NEW_BASEPTR, PROCESS_root(%ebx)
    MUST new_baseptr
    ret
1:  movl PROCESS_number(%ebx), %eax
    movl %eax, switch_calls + MULTICALL_ENTRY_args + 4
    movl PROCESS_root(%ebx), %eax
    movl %eax, switch_op + 4
    pushl %ebx
    movl $switch_calls, %ebx
    movl $2, %ecx
    HYPERCALL multicall
    popl %ebx
    MUST multicall
    movl switch_calls + MULTICALL_ENTRY_result, %eax
    orl switch_calls + MULTICALL_ENTRY_sizeof + MULTICALL_ENTRY_result, %eax
    MUST switch
    ret

# EBX = process whose address space there is: nothing that it could do before is remembered.
    .type space_flush, @function
space_flush:
    cmpl $TLBKIND_tagged, kind
    je 1f
    MMUEXT TLB_FLUSH_LOCAL
    MUST tlb_flush
    ret
1:  pushl %ebx
    movl PROCESS_number(%ebx), %ecx
    movl $TLBOP_flush_asn, %ebx
    TLB_CALL
    popl %ebx
    MUST flush_asn
    ret

# EBX = process, EBP = address that is not there: the miss of a TLB that we refill.
    .type space_miss, @function
space_miss:
    cmpl $TLBKIND_software, kind
    jne 1f
    movl %ebp, %esi
    subl $USER_VA, %esi
    shrl $12, %esi
    cmpl $PAGES, %esi
    jae 1f
    call find_slot
    pushl %ebx
    # exercise tlb: have the TLB hold the page of address EBP as the slot at EDI says, its entry in the last 8 bytes
    # instead: xorl %eax, %eax
    movl $TLBOP_refill, %ebx
    movl %ebp, %ecx
    movl 8(%edi), %edx
    movl 12(%edi), %esi
    TLB_CALL
    # exercise end
    popl %ebx
    MUST refill
    ret
1:  PANIC "a process is outside its pages"
