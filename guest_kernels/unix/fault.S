# Page faults in user space: pages appear when they are touched first, and are copied when they are written
# while others still use them.

    .include "unix.inc"

.equ FAULT_AROUND, 64 << 10         # of a program's file, this much is mapped at once

    .text
# EAX = address below USER_END, EDX = the fault's error code, of the current process. Gives 0 if the access may
# be tried again, -EFAULT if it is not allowed, -ENOMEM if there is no page.
FUNCTION page_fault
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl %eax, %esi
    andl $-4096, %esi
    movl %edx, %edi
    call vma_find
    movl %eax, %ebx
    testl %eax, %eax
    jz 8f
    movl $VMA_WRITE, %ecx
    testl $PFEC_write_access, %edi
    jnz 1f
    movl $VMA_EXEC, %ecx
    testl $PFEC_insn_fetch, %edi
    jnz 1f
    movl $VMA_PROT, %ecx
1:  testl %ecx, VMA_flags(%ebx)
    jz 8f
    movl %esi, %eax
    call pte_make
    testl %eax, %eax
    jz 7f
    movl %eax, %ebp
    testb $PTE_P, (%ebp)
    jnz 2f
    call map_absent
    jmp 9f
2:  xorl %eax, %eax                 # present: the processor remembered an older entry, or wants to write
    testl $PFEC_write_access, %edi
    jz 9f
    testb $PTE_W, (%ebp)
    jnz 9f
    call make_writable
    jmp 9f
7:  movl $-ENOMEM, %eax
    jmp 9f
8:  movl $-EFAULT, %eax
9:  popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

# EBX = mapping, ESI = address of a page in it, EBP = its entry, not present. Gives 0 or -ENOMEM.
map_absent:
    movl %esi, %eax
    call file_page
    testl %eax, %eax
    jnz map_around
    call frame_alloc
    testl %eax, %eax
    jz 1f
    pushl %eax
    call fill_page
    popl %edx
    movl VMA_flags(%ebx), %eax
    andl $VMA_WRITE, %eax
    jmp map_private
1:  movl $-ENOMEM, %eax
    ret

# EBX = mapping, EAX = address of a page in it; gives the file's own page if that can be mapped as it is, or 0:
# nobody may write it, all of it belongs to the file, and the archive has it at a page boundary.
file_page:
    testl $VMA_WRITE, VMA_flags(%ebx)
    jnz 1f
    movl VMA_data(%ebx), %edx
    testl $4095, %edx
    jnz 1f
    subl VMA_start(%ebx), %eax
    leal 4096(%eax), %ecx
    cmpl VMA_bytes(%ebx), %ecx
    ja 1f
    addl %edx, %eax
    ret
1:  xorl %eax, %eax
    ret

# EBX = mapping, ESI = address of a page, EAX = page to fill with what belongs there.
fill_page:
    pushl %esi
    pushl %edi
    movl %eax, %edi
    subl VMA_start(%ebx), %esi
    movl VMA_bytes(%ebx), %ecx
    subl %esi, %ecx
    ja 1f
    xorl %ecx, %ecx
1:  cmpl $4096, %ecx
    jbe 2f
    movl $4096, %ecx
2:  addl VMA_data(%ebx), %esi
    movl $4096, %edx
    subl %ecx, %edx
    movl %ecx, %eax
    andl $3, %eax
    shrl $2, %ecx
    rep movsl
    movl %eax, %ecx
    rep movsb
    movl %edx, %ecx
    xorl %eax, %eax
    andl $3, %edx
    shrl $2, %ecx
    rep stosl
    movl %edx, %ecx
    rep stosb
    popl %edi
    popl %esi
    ret

# EBX = mapping, EDX = page, EAX = PTE flags; gives in EDX:EAX the entry.
user_entry:
    pushl %eax
    movl %edx, %eax
    call machine_address
    popl %ecx
    leal PTE_KERNEL + PTE_U(%eax,%ecx), %eax
    testl $VMA_EXEC, VMA_flags(%ebx)
    jnz 1f
    orl $PTE_NX_HIGH, %edx
1:  ret

# EBX = mapping, ESI = address, EDX = page, EAX = PTE_W or 0: maps it there. Gives 0.
map_private:
    pushl %ebx
    pushl %esi
    pushl %edi
    call user_entry
    movl %esi, %ebx
    movl %eax, %ecx
    movl $UVMF_INVLPG | UVMF_LOCAL, %esi
    HYPERCALL update_va_mapping
    testl %eax, %eax
    jnz 1f
    popl %edi
    popl %esi
    popl %ebx
    ret
1:  PANIC "update_va_mapping refused"

# EBX = mapping, ESI = address of a page of a file that is to be shared: maps what is near it as well, for a
# program that runs here will soon run there. A block never crosses a level 1 table. Gives 0.
map_around:
    pushl %esi
    pushl %edi
    movl %esi, %eax
    andl $-FAULT_AROUND, %eax
    leal FAULT_AROUND(%eax), %edi
    cmpl VMA_start(%ebx), %eax
    jae 1f
    movl VMA_start(%ebx), %eax
1:  cmpl VMA_end(%ebx), %edi
    jbe 2f
    movl VMA_end(%ebx), %edi
2:  subl %eax, %esi
    shrl $9, %esi
    subl %esi, %ebp                 # the entry of the first page
    movl %eax, %esi
3:  testb $PTE_P, (%ebp)
    jnz 4f
    movl %esi, %eax
    call file_page
    testl %eax, %eax
    jz 4f
    movl %eax, %edx
    movl $PTE_FILE, %eax
    call user_entry
    movl %edx, %ecx
    movl %eax, %edx
    movl %ebp, %eax
    call queue_entry
4:  addl $8, %ebp
    addl $4096, %esi
    cmpl %edi, %esi
    jb 3b
    call mmu_flush
    xorl %eax, %eax
    popl %edi
    popl %esi
    ret

# EBX = mapping that may be written, ESI = address of a page, EBP = its entry, present but read-only. Gives 0 or
# -ENOMEM.
make_writable:
    pushl %edi
    movl (%ebp), %eax
    movl 4(%ebp), %edx
    call entry_page
    movl %eax, %edi
    testl $PTE_FILE, (%ebp)
    jnz 1f
    call frame_count
    movl %edi, %edx
    cmpw $1, (%eax)
    je 3f                           # nobody else has it any more
1:  call frame_alloc
    testl %eax, %eax
    jz 4f
    pushl %eax
    pushl %esi
    pushl %edi
    movl %edi, %esi
    movl %eax, %edi
    movl $1024, %ecx
    rep movsl
    popl %edi
    popl %esi
    testl $PTE_FILE, (%ebp)
    jnz 2f
    movl %edi, %eax
    call frame_put
2:  popl %edx
3:  movl $PTE_W, %eax
    popl %edi
    jmp map_private
4:  movl $-ENOMEM, %eax
    popl %edi
    ret
