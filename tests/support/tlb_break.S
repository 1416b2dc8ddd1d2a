# One instruction with a breakpoint, which adds to each of six pages in turn: to hit that once each time is enough.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "tlb.inc"

    XEN_NOTES broken

    .bss
    .balign PAGE_SIZE
pool:    .skip PAGES * PAGE_SIZE
process: .skip PROCESS_sizeof
    .text
main:
    call map_shared_info
    call space_init
    movl $process, %ebx
    movl $pool, %edi
    xorl %esi, %esi
1:  leal PTE_USER_WRITE(%edi), %eax
    movl %eax, PROCESS_pages(%ebx,%esi,4)
    addl $PAGE_SIZE, %edi
    incl %esi
    cmpl $PAGES, %esi
    jb 1b
    call space_make
    call space_load
    movl $trap_table, %ebx
    HYPERCALL set_trap_table
    movl $0, %ebx
    movl $there, %ecx
    HYPERCALL set_debugreg
    movl $1, %eax
    movl %eax, %dr7
    xorl %ebp, %ebp
    xorl %edi, %edi
2:  movl %ebp, %eax
    shll $12, %eax
there:
    incl USER_VA(%eax)
    incl %ebp
    cmpl $6, %ebp
    jb 2b
    xorl %eax, %eax
    movl %eax, %dr7
    cmpl $6, %edi
    jne 3f
    PRINT "six\n"
    ret
3:  PRINT "others\n"
    ret

breakpoint:
    incl %edi
    orl $0x10000, 8(%esp)           # RF: go on
    iret

    .data
trap_table:
    TRAP_GATE 1, 0, breakpoint
    TRAP_TABLE_END
