# What a process may touch: its list of mappings. The order of the list has no meaning; mappings never overlap;
# all bounds are multiples of the page size, none is above USER_END.

    .include "unix.inc"

    .text
# EAX = address; gives the mapping that holds it, or 0.
FUNCTION vma_find
    leal 1(%eax), %edx              # fall through: what overlaps [address, address + 1)

# EAX = start, EDX = end; gives a mapping that overlaps this range, or 0.
FUNCTION vma_overlapping
    pushl %ebx
    pushl %esi
    movl current, %ebx
    movl PROC_vma_count(%ebx), %ecx
    leal PROC_vmas(%ebx), %esi
    jmp 2f
1:  cmpl VMA_start(%esi), %edx
    jbe 3f
    cmpl VMA_end(%esi), %eax
    jb 4f
3:  addl $VMA_sizeof, %esi
2:  decl %ecx
    jns 1b
    xorl %esi, %esi
4:  movl %esi, %eax
    popl %esi
    popl %ebx
    ret

# EAX = start, EDX = end, ECX = flags: a new anonymous mapping where none is. Gives it, or 0 when the list is
# full. One that continues another just makes that longer.
FUNCTION vma_add
    pushl %ebx
    pushl %esi
    movl current, %ebx
    leal PROC_vmas(%ebx), %esi
    pushl PROC_vma_count(%ebx)
1:  decl (%esp)
    js 5f
    cmpl VMA_flags(%esi), %ecx
    jne 2f
    cmpl $0, VMA_bytes(%esi)
    jne 2f
    cmpl VMA_end(%esi), %eax
    je 3f
    cmpl VMA_start(%esi), %edx
    je 4f
2:  addl $VMA_sizeof, %esi
    jmp 1b
3:  movl %edx, VMA_end(%esi)
    jmp 6f
4:  movl %eax, VMA_start(%esi)
    jmp 6f
5:  call vma_append
    movl %eax, %esi
6:  movl %esi, %eax
    popl %edx
    popl %esi
    popl %ebx
    ret

# The same, but always an entry of its own.
FUNCTION vma_append
    pushl %ebx
    pushl %esi
    movl current, %ebx
    xorl %esi, %esi
    cmpl $NR_VMAS, PROC_vma_count(%ebx)
    je 1f
    imull $VMA_sizeof, PROC_vma_count(%ebx), %esi
    incl PROC_vma_count(%ebx)
    leal PROC_vmas(%ebx,%esi), %esi
    movl %eax, VMA_start(%esi)
    movl %edx, VMA_end(%esi)
    movl %ecx, VMA_flags(%esi)
    movl $0, VMA_data(%esi)
    movl $0, VMA_bytes(%esi)
1:  movl %esi, %eax
    popl %esi
    popl %ebx
    ret

# EAX = address: makes it a boundary between mappings. Gives 0, or -ENOMEM when the list is full.
vma_split:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    call vma_find
    testl %eax, %eax
    jz 2f
    movl %eax, %esi
    xorl %eax, %eax
    cmpl VMA_start(%esi), %ebx
    je 2f
    movl current, %edx
    movl PROC_vma_count(%edx), %ecx
    movl $-ENOMEM, %eax
    cmpl $NR_VMAS, %ecx
    je 2f
    incl PROC_vma_count(%edx)
    imull $VMA_sizeof, %ecx, %ecx
    leal PROC_vmas(%edx,%ecx), %edi
    movl VMA_end(%esi), %eax
    movl %eax, VMA_end(%edi)
    movl %ebx, VMA_start(%edi)
    movl VMA_flags(%esi), %eax
    movl %eax, VMA_flags(%edi)
    movl %ebx, %ecx
    subl VMA_start(%esi), %ecx      # bytes that stay below
    movl %ebx, VMA_end(%esi)
    movl VMA_data(%esi), %eax
    addl %ecx, %eax
    movl %eax, VMA_data(%edi)
    movl VMA_bytes(%esi), %eax
    movl %eax, %edx
    subl %ecx, %edx
    jnc 1f
    xorl %edx, %edx
1:  movl %edx, VMA_bytes(%edi)
    cmpl %ecx, %eax
    jbe 3f
    movl %ecx, VMA_bytes(%esi)
3:  xorl %eax, %eax
2:  popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = start, EDX = end: makes both boundaries. Gives 0 or -ENOMEM.
FUNCTION split_range
    pushl %edx
    call vma_split
    popl %edx
    testl %eax, %eax
    jnz 1f
    movl %edx, %eax
    call vma_split
1:  ret

# EAX = start, EDX = end: nothing is mapped there any more. Gives 0 or -ENOMEM.
FUNCTION vma_unmap
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %esi
    movl %edx, %edi
    call split_range
    testl %eax, %eax
    jnz 3f
1:  movl %esi, %eax
    movl %edi, %edx
    call vma_overlapping
    testl %eax, %eax
    jz 2f
    movl current, %ebx              # the last of the list takes its place
    decl PROC_vma_count(%ebx)
    imull $VMA_sizeof, PROC_vma_count(%ebx), %ecx
    leal PROC_vmas(%ebx,%ecx), %edx
    movl $VMA_sizeof, %ecx
    call memory_copy
    jmp 1b
2:  movl %esi, %eax
    movl %edi, %edx
    call zap_pages
    xorl %eax, %eax
3:  popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = start, EDX = end: drops the pages there.
zap_pages:
    movl $zap_entry, %ecx

# EAX = start, EDX = end, ECX = called for each present level 1 entry there: EAX = entry, EDX = address. What
# it queues is carried out.
FUNCTION each_page
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl %eax, %ebx
    movl %edx, %esi
    movl %ecx, %edi
1:  cmpl %esi, %ebx
    jae 4f
    movl %ebx, %eax
    call pte_find
    testl %eax, %eax
    jnz 2f
    addl $2 << 20, %ebx             # no table: on to the next one
    andl $-(2 << 20), %ebx
    jmp 1b
2:  movl %eax, %ebp
3:  testb $PTE_P, (%ebp)
    jz 5f
    movl %ebp, %eax
    movl %ebx, %edx
    call *%edi
5:  addl $8, %ebp
    addl $4096, %ebx
    cmpl %esi, %ebx
    jae 4f
    testl $(2 << 20) - 1, %ebx
    jnz 3b
    jmp 1b
4:  call mmu_flush
    call tlb_flush
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

zap_entry:
    pushl %ebx
    movl %eax, %ebx
    xorl %edx, %edx
    xorl %ecx, %ecx
    call queue_entry
    testl $PTE_FILE, (%ebx)
    jnz 1f
    movl (%ebx), %eax
    movl 4(%ebx), %edx
    call entry_page
    call frame_put
1:  popl %ebx
    ret

# EAX = bytes, EDX = address that would be nice or 0; gives a free range's start, or 0.
FUNCTION vma_place
    pushl %ebx
    pushl %esi
    movl %eax, %esi
    movl %edx, %ebx
    andl $-4096, %ebx
    jz 1f
    cmpl $MMAP_LOW, %ebx
    jb 1f
    leal (%ebx,%esi), %edx
    cmpl %ebx, %edx
    jb 1f
    cmpl $USER_END, %edx
    ja 1f
    movl %ebx, %eax
    call vma_overlapping
    testl %eax, %eax
    jz 3f
1:  movl $MMAP_TOP, %edx            # else from the top downwards
2:  movl %edx, %ebx
    subl %esi, %ebx
    jc 4f
    cmpl $MMAP_LOW, %ebx
    jb 4f
    movl %ebx, %eax
    call vma_overlapping
    testl %eax, %eax
    jz 3f
    movl VMA_start(%eax), %edx
    jmp 2b
4:  xorl %ebx, %ebx
3:  movl %ebx, %eax
    popl %esi
    popl %ebx
    ret
