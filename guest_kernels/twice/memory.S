# What becomes of user memory: page faults, and the system calls that change many entries at a time.

    .include "twice.inc"

    .text
# EAX = address, EDX = error code of a page fault. Gives 0 if the access may be tried again.
FUNCTION page_fault
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %esi
    andl $-PAGE, %esi
    movl %edx, %edi
    cmpl $USER_END, %esi
    jae 8f
    call pte_find
    movl %eax, %ebx
    testl %eax, %eax
    jz 1f
    testb $PTE_P, (%ebx)
    jz 1f
    testl $ERROR_WRITE, %edi
    jz 8f
    testl $PTE_COW, (%ebx)
    jz 8f
    call copy_page
    jmp 2f
1:  cmpl $STACK_LOW, %esi           # absent: stack and heap come when they are touched
    jb 8f
    cmpl $STACK_TOP, %esi
    jb 3f
    cmpl $HEAP, %esi
    jb 8f
    cmpl $HEAP_END, %esi
    jae 8f
3:  movl %esi, %eax
    call pte_make
    movl %eax, %ebx
    call frame_alloc_zeroed
2:  call machine_address            # EAX = page that belongs at ESI, EBX = its entry
    movl %edx, %ecx
    movl %eax, %edx
    orl $PTE_PAGE, %edx
    movl %esi, %eax
    call entry_install
    xorl %eax, %eax
    jmp 9f
8:  movl $1, %eax
9:  popl %edi
    popl %esi
    popl %ebx
    ret

# EBX = entry of a page with COW; gives a page with its content that nobody else uses.
copy_page:
    pushl %esi
    pushl %edi
    movl %ebx, %eax
    call entry_target
    movl %eax, %esi
    call frame_uses
    cmpw $1, (%eax)
    je 1f
    call frame_alloc
    movl %eax, %edi
    movl %esi, %edx
    call frame_copy
    movl %esi, %eax
    call frame_put
    movl %edi, %esi
1:  movl %esi, %eax
    popl %edi
    popl %esi
    ret

# map(EBX = address, ECX = pages), with nothing there yet.
FUNCTION sys_map
    movl %ecx, %edi
1:  movl %ebx, %eax
    call pte_make
    movl %eax, %esi
    call frame_alloc_zeroed
    call machine_address
    movl %edx, %ecx
    movl %eax, %edx
    orl $PTE_PAGE, %edx
    movl %esi, %eax
    call entry_set
    addl $PAGE, %ebx
    decl %edi
    jnz 1b
    call entries_flush
    xorl %eax, %eax
    ret

# protect(EBX = address, ECX = pages, EDX = 1 if they may be written), for pages that nobody shares.
FUNCTION sys_protect
    movl %ecx, %edi
    imull $PTE_W, %edx, %esi
1:  movl %ebx, %eax
    call pte_find
    movl (%eax), %edx
    andl $~PTE_W, %edx
    orl %esi, %edx
    movl 4(%eax), %ecx
    call entry_set
    addl $PAGE, %ebx
    decl %edi
    jnz 1b
    jmp forget

# unmap(EBX = address, ECX = pages): those that are there.
FUNCTION sys_unmap
    movl %ecx, %edi
1:  movl %ebx, %eax
    call pte_find
    testl %eax, %eax
    jz 2f
    movl %eax, %esi
    call entry_target
    testl %eax, %eax
    jz 2f
    call frame_put                  # nobody takes a frame before the entries are flushed
    movl %esi, %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    call entry_set
2:  addl $PAGE, %ebx
    decl %edi
    jnz 1b

forget:
    call entries_flush
    call space_flush
    xorl %eax, %eax
    ret
