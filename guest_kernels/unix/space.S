# Address spaces: one level 3 table per process. Its entries 0..2 are the process's own; entry 3 names a level 2
# table of its own too (Xen puts its private mappings in there, so it refuses to share one), which holds the
# kernel's level 1 tables, the same for all.
#
# Tables are written while they are ordinary pages, then made read-only and pinned; from then on every change
# is an mmu_update. An address space is unpinned before its pages are freed.

    .include "unix.inc"

    .bss
    .balign 4
mmuext:                             # struct mmuext_op, two of them
    .skip 2 * MMUEXT_OP_sizeof

    .text
# EDX = address of a table entry; gives the page it names, or 0.
next_table:
    movl (%edx), %eax
    testb $PTE_P, %al
    jz 1f
    movl 4(%edx), %edx
    jmp entry_page
1:  xorl %eax, %eax
    ret

# EAX = user address; gives the address of its level 1 entry in the current process, 0 if there is no table.
FUNCTION pte_find
    pushl %ebx
    movl %eax, %ebx
    movl current, %edx
    movl PROC_l3(%edx), %edx
    shrl $30, %eax
    leal (%edx,%eax,8), %edx
    call next_table
    testl %eax, %eax
    jz 1f
    movl %ebx, %ecx
    shrl $21, %ecx
    andl $511, %ecx
    leal (%eax,%ecx,8), %edx
    call next_table
    testl %eax, %eax
    jz 1f
    shrl $12, %ebx
    andl $511, %ebx
    leal (%eax,%ebx,8), %eax
1:  popl %ebx
    ret

# The same, but makes the tables that are not there; 0 only when memory is exhausted.
FUNCTION pte_make
    pushl %ebx
    movl %eax, %ebx
    movl current, %edx
    movl PROC_l3(%edx), %edx
    shrl $30, %eax
    leal (%edx,%eax,8), %eax
    movl $PTE_P, %edx
    call descend
    testl %eax, %eax
    jz 1f
    movl %ebx, %ecx
    shrl $21, %ecx
    andl $511, %ecx
    leal (%eax,%ecx,8), %eax
    movl $PTE_TABLE, %edx
    call descend
    testl %eax, %eax
    jz 1f
    shrl $12, %ebx
    andl $511, %ebx
    leal (%eax,%ebx,8), %eax
1:  popl %ebx
    ret

# EAX = entry of a live table, EDX = flags for a new one; gives the next table's page, made if need be, or 0.
descend:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl %edx, %esi
    movl %eax, %edx
    call next_table
    testl %eax, %eax
    jnz 1f
    call frame_alloc_zeroed
    testl %eax, %eax
    jz 1f
    movl %eax, %edi
    xorl %edx, %edx
    call map_page
    movl %ebx, %eax
    movl %edi, %edx
    movl %esi, %ecx
    call link_table
    call mmu_flush
    movl %edi, %eax
1:  popl %edi
    popl %esi
    popl %ebx
    ret

# Gives the level 3 table of a new address space without user pages, not pinned yet, or 0.
FUNCTION space_new
    pushl %ebx
    pushl %esi
    pushl %edi
    call frame_alloc_zeroed
    movl %eax, %ebx
    testl %eax, %eax
    jz 1f
    call frame_alloc_zeroed
    testl %eax, %eax
    jz 2f
    movl kernel_table, %esi
    movl %eax, %edi
    movl $KERNEL_L2_ENTRIES * 2, %ecx
    rep movsl
    call machine_address
    orl $PTE_P, %eax
    movl %eax, 3*8(%ebx)
    movl %edx, 3*8+4(%ebx)
    movl %ebx, %eax
1:  popl %edi
    popl %esi
    popl %ebx
    ret
2:  movl %ebx, %eax
    call frame_put
    xorl %eax, %eax
    jmp 1b

# EAX = level 3 table: makes all its tables read-only and pins it.
FUNCTION space_commit
    pushl %ebx
    movl %eax, %ebx
    movl $protect_table, %edx
    xorl %ecx, %ecx
    call each_table
    call mmu_flush
    movl %ebx, %eax
    movl $MMUEXT_PIN_L3_TABLE, %edx
    call mmuext_page
    popl %ebx
    ret

protect_table:                      # EAX = page of a table
    xorl %edx, %edx
    jmp map_page

# EAX = level 3 table, EDX = 1 if it is pinned: frees the tables and the pages that belong to them. It must not
# be the one in use.
FUNCTION space_destroy
    pushl %ebx
    movl %eax, %ebx
    testl %edx, %edx
    jz 1f
    movl $MMUEXT_UNPIN_TABLE, %edx
    call mmuext_page
1:  movl %ebx, %eax
    movl $release_table, %edx
    movl $release_pages, %ecx
    call each_table
    call mmu_flush
    popl %ebx
    ret

release_table:                      # EAX = page of a table: an ordinary page again
    pushl %eax
    movl $PTE_W, %edx
    call map_page
    popl %eax
    jmp frame_put

# EAX = level 1 table: drops the pages it maps.
release_pages:
    pushl %ebx
    pushl %esi
    movl %eax, %ebx
    leal 4096(%eax), %esi
1:  movl (%ebx), %eax
    testb $PTE_P, %al
    jz 2f
    testl $PTE_FILE, %eax
    jnz 2f
    movl 4(%ebx), %edx
    call entry_page
    call frame_put
2:  addl $8, %ebx
    cmpl %esi, %ebx
    jne 1b
    popl %esi
    popl %ebx
    ret

# EAX = level 3 table, EDX = called with each table of the address space in EAX, lower levels first, ECX = called
# with each user level 1 table before that, or 0. Reads an entry before its table is handed out.
each_table:
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    pushl %eax                      # 8(%esp): level 3
    pushl %edx                      # 4(%esp)
    pushl %ecx                      # (%esp)
    movl %eax, %ebp
    leal 24(%eax), %esi             # entry 3: the kernel's
1:  movl %ebp, %edx
    call next_table
    testl %eax, %eax
    jz 4f
    movl %eax, %ebx                 # level 2 entry
    pushl %eax
    leal 4096(%eax), %edi
    cmpl %esi, %ebp
    je 3f
2:  movl %ebx, %edx
    call next_table
    testl %eax, %eax
    jz 5f
    cmpl $0, 4(%esp)
    je 6f
    pushl %eax
    call *8(%esp)
    popl %eax
6:  call *8(%esp)
5:  addl $8, %ebx
    cmpl %edi, %ebx
    jne 2b
3:  popl %eax
    call *4(%esp)
4:  addl $8, %ebp
    cmpl %esi, %ebp
    jbe 1b
    movl 8(%esp), %eax
    call *4(%esp)
    addl $12, %esp
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = page, EDX = MMUEXT_ command that takes its frame. May not fail.
FUNCTION mmuext_page
    movl %edx, mmuext + MMUEXT_OP_cmd
    call machine_address
    shrdl $12, %edx, %eax
    movl %eax, mmuext + MMUEXT_OP_arg1_mfn
    movl $1, %ecx
mmuext_call:                        # ECX = operations in mmuext
    pushl %ebx
    pushl %esi
    pushl %edi
    movl $mmuext, %ebx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmuext_op
    testl %eax, %eax
    jnz 1f
    popl %edi
    popl %esi
    popl %ebx
    ret
1:  PANIC "mmuext_op refused"

# Forgets what the processor remembers of entries that were taken away or made read-only.
FUNCTION tlb_flush
    movl $MMUEXT_TLB_FLUSH_LOCAL, mmuext + MMUEXT_OP_cmd
    movl $1, %ecx
    jmp mmuext_call

# Leaves the process's address space for the one that Xen's builder made: the kernel and nothing else.
FUNCTION space_leave
    movl $0, loaded_l3
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    movl $MMUEXT_NEW_BASEPTR, %edx
    jmp mmuext_page

# Uses the current process's address space.
FUNCTION space_enter
    movl current, %eax
    movl PROC_l3(%eax), %eax
    movl %eax, loaded_l3
    movl $MMUEXT_NEW_BASEPTR, %edx
    jmp mmuext_page

# Copies the current process's address space; gives the level 3 table, pinned, or 0. Private pages become
# read-only in both and are copied by whoever writes first. Pages of files are left out: they come back when
# they are touched.
FUNCTION space_fork
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    call space_new
    testl %eax, %eax
    jz 5f
    movl %eax, %ebp
    movl current, %esi
    movl PROC_l3(%esi), %esi
    xorl %ebx, %ebx                 # index of the level 3 entry
1:  leal (%esi,%ebx,8), %edx
    call next_table
    testl %eax, %eax
    jz 2f
    movl %eax, %edi
    leal (%ebp,%ebx,8), %eax
    movl $PTE_P, %edx
    call add_copy
    testl %eax, %eax
    jz 4f
    movl %edi, %edx
    call fork_level2
    testl %eax, %eax
    jz 4f
2:  incl %ebx
    cmpl $3, %ebx
    jne 1b
    movl %ebp, %eax
    call space_commit
    call tlb_flush
    movl %ebp, %eax
5:  popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret
4:  call mmu_flush
    call tlb_flush
    movl %ebp, %eax                 # no memory: what was copied goes again
    xorl %edx, %edx
    call space_destroy
    xorl %eax, %eax
    jmp 5b

# EAX = entry of a table that is still an ordinary page, EDX = flags: gives the new table it names, or 0.
add_copy:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl %edx, %esi
    call frame_alloc_zeroed
    movl %eax, %edi
    testl %eax, %eax
    jz 1f
    call machine_address
    orl %esi, %eax
    movl %eax, (%ebx)
    movl %edx, 4(%ebx)
1:  movl %edi, %eax
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = the child's level 2 table, EDX = the parent's; gives 0 when memory is exhausted.
fork_level2:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx                 # child's entry
    movl %edx, %esi                 # parent's entry
    leal 4096(%esi), %edi
1:  testb $PTE_P, (%esi)
    jz 2f
    movl %esi, %edx
    call next_table
    movl %ebx, %edx
    call fork_level1
    testl %eax, %eax
    jz 3f
2:  addl $8, %ebx
    addl $8, %esi
    cmpl %edi, %esi
    jne 1b
    movl $1, %eax
3:  popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = the parent's level 1 table, EDX = the child's level 2 entry, for which a table is made with the first
# page to go into it; gives 0 when memory is exhausted.
fork_level1:
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl %eax, %esi
    movl %edx, %ebp
    xorl %ebx, %ebx                 # index
    xorl %edi, %edi                 # child's table
1:  movl (%esi,%ebx,8), %eax
    testb $PTE_P, %al
    jz 4f
    testl $PTE_FILE, %eax
    jnz 4f
    testl %edi, %edi
    jnz 2f
    movl %ebp, %eax
    movl $PTE_TABLE, %edx
    call add_copy
    movl %eax, %edi
    testl %eax, %eax
    jz 5f
2:  testb $PTE_W, (%esi,%ebx,8)
    jz 3f
    leal (%esi,%ebx,8), %eax
    movl (%eax), %edx
    andl $~PTE_W, %edx
    movl 4(%eax), %ecx
    call queue_entry
3:  movl (%esi,%ebx,8), %eax
    movl 4(%esi,%ebx,8), %edx
    andl $~PTE_W, %eax
    movl %eax, (%edi,%ebx,8)
    movl %edx, 4(%edi,%ebx,8)
    call entry_page
    call frame_count
    incw (%eax)
4:  incl %ebx
    cmpl $512, %ebx
    jne 1b
    movl $1, %eax
5:  popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = live entry, EDX and ECX = lower and upper half of its value: queues the change.
FUNCTION queue_entry
    pushl %ecx
    pushl %edx
    call machine_address
    pushl %edx
    pushl %eax
    call mmu_slot
    popl MMU_UPDATE_ptr(%eax)
    popl MMU_UPDATE_ptr+4(%eax)
    popl MMU_UPDATE_val(%eax)
    popl MMU_UPDATE_val+4(%eax)
    ret
