# The system calls that change what a process may touch.

    .include "unix.inc"

    .text
# brk(EBX = new end of the heap): gives the end that holds now, the old one if this is not possible.
FUNCTION sys_brk
    movl current, %esi
    movl PROC_brk(%esi), %edi
    cmpl PROC_brk_start(%esi), %ebx
    jb 9f
    cmpl $USER_END - 4096, %ebx
    ja 9f
    leal 4095(%ebx), %edx           # whole pages: new end EDX, old end EAX
    andl $-4096, %edx
    leal 4095(%edi), %eax
    andl $-4096, %eax
    cmpl %eax, %edx
    je 8f
    jb 7f
    pushl %edx
    pushl %eax
    call vma_overlapping
    testl %eax, %eax
    popl %eax
    popl %edx
    jnz 9f
    movl $VMA_READ | VMA_WRITE | VMA_HEAP, %ecx
    call vma_add
    testl %eax, %eax
    jz 9f
    jmp 8f
7:  xchgl %eax, %edx
    call vma_unmap
    testl %eax, %eax
    jnz 9f
8:  movl %ebx, PROC_brk(%esi)
    movl %ebx, %edi
9:  movl %edi, %eax
    ret

.equ MAP_SHARED, 1
.equ MAP_PRIVATE, 2
.equ MAP_FIXED, 0x10
.equ MAP_ANONYMOUS, 0x20

# mmap2(EBX = address, ECX = bytes, EDX = protection, ESI = flags, EDI = descriptor, frame's EBP = page of the
# file). Shared mappings of files are refused for writing: there is nothing to write to.
FUNCTION sys_mmap2
    movl %edx, %eax                 # EDX and ECX do not last
    movl $-EINVAL, %edx
    addl $4095, %ecx
    jc 9f
    andl $-4096, %ecx
    jz 9f
    andl $VMA_PROT, %eax
    pushl %eax                      # 8(%esp): protection
    pushl %ecx                      # 4(%esp): bytes
    pushl $0                        # (%esp): node of a file
    testl $MAP_ANONYMOUS, %esi
    jnz 1f
    movl %edi, %eax
    call file_node
    cmpl $-MAX_ERRNO, %eax
    jae 8f
    movl %eax, (%esp)
    testl $MAP_SHARED, %esi
    jz 1f
    movl $-EACCES, %eax
    testl $VMA_WRITE, 8(%esp)
    jnz 8f
1:  testl $MAP_FIXED, %esi
    jz 2f
    movl $-EINVAL, %eax
    testl $4095, %ebx
    jnz 8f
    movl $-ENOMEM, %eax
    movl %ebx, %edx
    addl 4(%esp), %edx
    jc 8f
    cmpl $USER_END, %edx
    ja 8f
    cmpl $MMAP_LOW, %ebx
    jb 8f
    movl %ebx, %eax
    call vma_unmap
    testl %eax, %eax
    jnz 8f
    jmp 3f
2:  movl 4(%esp), %eax
    movl %ebx, %edx
    call vma_place
    movl %eax, %ebx
    movl $-ENOMEM, %eax
    testl %ebx, %ebx
    jz 8f
3:  movl (%esp), %esi
    testl %esi, %esi
    jnz 5f
    movl %ebx, %eax
    movl %ebx, %edx
    addl 4(%esp), %edx
    movl 8(%esp), %ecx
    call vma_add
    jmp 6f
5:  movl %ebx, %eax
    movl 4(%esp), %edx
    movl 8(%esp), %ecx
    pushl FRAME_ebp(%ebp)
    pushl %esi
    call vma_add_file
    addl $8, %esp
6:  testl %eax, %eax
    movl $-ENOMEM, %eax
    jz 8f
    movl %ebx, %eax
8:  addl $12, %esp
    ret
9:  movl %edx, %eax
    ret

# EAX = start, EDX = bytes, ECX = flags, on the stack node and page of the file: a private mapping of the file
# where none is. Gives it, or 0 when the list is full.
vma_add_file:
    addl %eax, %edx
    call vma_append
    testl %eax, %eax
    jz 1f
    pushl %ebx
    movl 8(%esp), %ebx
    movl 12(%esp), %ecx             # page of the file, any 32-bit number
    movl NODE_size(%ebx), %edx
    shrl $12, %edx
    cmpl %edx, %ecx
    ja 2f
    shll $12, %ecx
    movl NODE_size(%ebx), %edx
    subl %ecx, %edx
    movl %edx, VMA_bytes(%eax)
    addl NODE_data(%ebx), %ecx
    movl %ecx, VMA_data(%eax)
2:  popl %ebx
1:  ret

# mmap(EBX = address of the six arguments of mmap2, but with the offset in bytes)
FUNCTION sys_old_mmap
    movl %ebx, %eax
    movl $24, %edx
    call user_range
    movl 4(%ebx), %ecx
    movl 8(%ebx), %edx
    movl 12(%ebx), %esi
    movl 16(%ebx), %edi
    movl 20(%ebx), %eax
    movl (%ebx), %ebx
    testl $4095, %eax
    jnz 1f
    shrl $12, %eax
    pushl FRAME_ebp(%ebp)           # mmap2 looks for the sixth argument there
    movl %eax, FRAME_ebp(%ebp)
    call sys_mmap2
    popl FRAME_ebp(%ebp)
    ret
1:  movl $-EINVAL, %eax
    ret

# EBX = start, ECX = bytes of a range that a system call names; gives start in EAX and end in EDX, with CF set
# if it is not a range of pages in user space.
page_range:
    movl %ebx, %eax
    testl $4095, %ebx
    jnz 1f
    leal 4095(%ecx), %edx
    cmpl %ecx, %edx
    jb 1f
    andl $-4096, %edx
    addl %ebx, %edx
    jc 1f
    cmpl $USER_END + 1, %edx
    cmc
    ret
1:  stc
    ret

FUNCTION sys_munmap
    call page_range
    jc 1f
    cmpl %edx, %eax
    je 1f
    jmp vma_unmap
1:  movl $-EINVAL, %eax
    ret

# mprotect(EBX = start, ECX = bytes, EDX = protection)
FUNCTION sys_mprotect
    movl %edx, %esi
    andl $VMA_PROT, %esi
    call page_range
    jc 4f
    movl %edx, %edi
    call split_range
    testl %eax, %eax
    jnz 3f
    pushl %ebx
1:  cmpl %edi, %ebx                 # mapping after mapping
    jae 2f
    movl %ebx, %eax
    call vma_find
    testl %eax, %eax
    jz 5f
    andl $~VMA_PROT, VMA_flags(%eax)
    orl %esi, VMA_flags(%eax)
    movl VMA_end(%eax), %ebx
    jmp 1b
2:  popl %eax
    movl %edi, %edx
    movl $protect_entry, %ecx
    call each_page
    xorl %eax, %eax
3:  ret
4:  movl $-EINVAL, %eax
    ret
5:  popl %eax
    movl %ebx, %edx
    movl $protect_entry, %ecx
    call each_page
    movl $-ENOMEM, %eax             # a hole; what lies before it has changed
    ret

# EAX = entry, EDX = address. The right to write comes back with the first fault that finds it allowed: the page
# may be shared with another process. Without any right the page is kept, but out of ring 3's reach.
protect_entry:
    pushl %ebx
    pushl %esi
    movl %eax, %ebx
    movl %edx, %eax
    call vma_find
    movl VMA_flags(%eax), %esi
    movl (%ebx), %edx
    andl $~(PTE_W | PTE_U), %edx
    testl $VMA_PROT, %esi
    jz 1f
    orl $PTE_U, %edx
1:  movl 4(%ebx), %ecx
    andl $~PTE_NX_HIGH, %ecx
    testl $VMA_EXEC, %esi
    jnz 2f
    orl $PTE_NX_HIGH, %ecx
2:  movl %ebx, %eax
    call queue_entry
    popl %esi
    popl %ebx
    ret
