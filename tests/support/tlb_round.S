# One instruction that adds to each of six pages in turn, a hundred times.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "tlb.inc"

    XEN_NOTES round

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
    movl $100, %esi
2:  xorl %ebp, %ebp
3:  movl %ebp, %eax
    shll $12, %eax
    incl USER_VA(%eax)
    incl %ebp
    cmpl $6, %ebp
    jb 3b
    decl %esi
    jnz 2b
    ret
