# Address spaces: one level 3 table per process. Entry 0 names the level 2 table of its own pages, entry 3 one with the
# kernel's entries, closed to ring 3. Each has a copy of that one: Xen refuses to share it.
#
# Tables are written while they are ordinary pages, then handed over to the machine (table_make, space_pin); from
# then on every change is an entry_set or an entry_install.

    .include "twice.inc"

    .text
# EAX = address of an entry; gives the page it names, or 0.
FUNCTION entry_target
    testb $PTE_P, (%eax)
    jz 1f
    movl 4(%eax), %edx
    movl (%eax), %eax
    jmp entry_page
1:  xorl %eax, %eax
    ret

# EAX = entry of a table that is still an ordinary page, EDX = flags: gives a new page that it names from now on.
add_page:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl %edx, %esi
    call frame_alloc_zeroed
    movl %eax, %edi
    call machine_address
    orl %esi, %eax
    movl %eax, (%ebx)
    movl %edx, 4(%ebx)
    movl %edi, %eax
    popl %edi
    popl %esi
    popl %ebx
    ret

# Gives the level 3 table of a new address space without user pages, all of it still ordinary pages.
FUNCTION space_new
    pushl %ebx
    pushl %esi
    pushl %edi
    call frame_alloc_zeroed
    movl %eax, %ebx
    movl $PTE_P, %edx
    call add_page
    leal 3*8(%ebx), %eax
    movl $PTE_P, %edx
    call add_page
    movl %eax, %edi
    movl kernel_table, %esi
    movl $KERNEL_ENTRIES, %ecx
1:  lodsl
    andl $~PTE_U, %eax
    stosl
    movsl
    loop 1b
    movl %ebx, %eax
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = level 3 table, EDX = called with each of its tables in EAX, the level 3 table last. An entry is read before
# its table is handed out.
each_table:
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl %eax, %ebp
    movl %edx, %edi
    call entry_target
    movl %eax, %ebx
    leal PAGE(%eax), %esi
    pushl %eax
1:  movl %ebx, %eax
    call entry_target
    testl %eax, %eax
    jz 2f
    call *%edi
2:  addl $8, %ebx
    cmpl %esi, %ebx
    jne 1b
    leal 3*8(%ebp), %eax
    call entry_target
    movl %eax, %esi
    popl %eax
    call *%edi
    movl %esi, %eax
    call *%edi
    movl %ebp, %eax
    call *%edi
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = level 3 table: the machine may use it from now on.
FUNCTION space_commit
    pushl %ebx
    movl %eax, %ebx
    movl $table_make, %edx
    call each_table
    call entries_flush
    movl %ebx, %eax
    call space_pin
    popl %ebx
    ret

# EAX = level 3 table, not the one in use: frees its pages and its tables.
FUNCTION space_destroy
    pushl %ebx
    pushl %esi
    movl %eax, %ebx
    call space_unpin
    movl %ebx, %eax
    call entry_target
    movl %eax, %esi
1:  movl %esi, %eax
    call entry_target
    testl %eax, %eax
    jz 2f
    call release_pages
2:  addl $8, %esi
    testl $PAGE - 1, %esi
    jnz 1b
    movl %ebx, %eax
    movl $release_table, %edx
    call each_table
    call entries_flush
    popl %esi
    popl %ebx
    ret

# EAX = page of a table: an ordinary page again, and free.
release_table:
    pushl %eax
    call table_unmake
    popl %eax
    jmp frame_put

# EAX = level 1 table: drops the pages it maps.
release_pages:
    pushl %ebx
    movl %eax, %ebx
1:  movl %ebx, %eax
    call entry_target
    testl %eax, %eax
    jz 2f
    call frame_put
2:  addl $8, %ebx
    testl $PAGE - 1, %ebx
    jnz 1b
    popl %ebx
    ret

# EAX = level 3 table of ordinary pages, EDX = bytes of a program, ECX = how many: they stand at PROGRAM.
FUNCTION space_fill
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %edx, %esi
    leal (%edx,%ecx), %edi
    call entry_target
    addl $8 * (PROGRAM >> 21), %eax
    movl $PTE_PAGE, %edx
    call add_page
    movl %eax, %ebx
1:  movl %ebx, %eax
    movl $PTE_PAGE, %edx
    call add_page
    movl %esi, %edx
    call frame_copy
    addl $8, %ebx
    addl $PAGE, %esi
    cmpl %edi, %esi
    jb 1b
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = user address; gives its level 1 entry in the current process's tables, 0 if there is no table.
FUNCTION pte_find
    pushl %ebx
    movl %eax, %ebx
    call l2_entry
    call entry_target
    testl %eax, %eax
    jz 1f
    shrl $12, %ebx
    andl $511, %ebx
    leal (%eax,%ebx,8), %eax
1:  popl %ebx
    ret

# EAX = user address; gives its level 2 entry.
l2_entry:
    pushl %eax
    movl current, %eax
    movl PROC_space(%eax), %eax
    call entry_target
    popl %edx
    shrl $21, %edx
    leal (%eax,%edx,8), %eax
    ret

# EAX = user address; gives its level 1 entry, in a new table if need be.
FUNCTION pte_make
    pushl %ebx
    pushl %esi
    movl %eax, %ebx
    call pte_find
    testl %eax, %eax
    jnz 1f
    call frame_alloc_zeroed
    movl %eax, %esi
    call table_make
    movl %esi, %eax
    call machine_address
    orl $PTE_PAGE, %eax
    movl %edx, %ecx
    pushl %eax
    pushl %ecx
    movl %ebx, %eax
    call l2_entry
    popl %ecx
    popl %edx
    call entry_set
    call entries_flush
    movl %ebx, %eax
    call pte_find
1:  popl %esi
    popl %ebx
    ret

# Copies the current process's address space; gives the level 3 table. Pages that may be written become COW in both.
FUNCTION space_fork
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    call space_new
    movl %eax, %ebp
    call entry_target
    movl %eax, %edi                 # the child's level 2 entry
    xorl %eax, %eax
    call l2_entry
    movl %eax, %esi                 # the parent's
1:  movl %esi, %eax
    call entry_target
    testl %eax, %eax
    jz 2f
    movl %eax, %ebx
    movl %edi, %eax
    movl $PTE_PAGE, %edx
    call add_page
    movl %ebx, %edx
    call fork_pages
2:  addl $8, %edi
    addl $8, %esi
    testl $PAGE - 1, %esi
    jnz 1b
    movl %ebp, %eax
    call space_commit
    call space_flush
    movl %ebp, %eax
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = the child's level 1 table, still an ordinary page, EDX = the parent's.
fork_pages:
    pushl %esi
    pushl %edi
    movl %eax, %edi
    movl %edx, %esi
1:  testb $PTE_P, (%esi)
    jz 3f
    testb $PTE_W, (%esi)
    jz 2f
    movl (%esi), %edx
    andl $~PTE_W, %edx
    orl $PTE_COW, %edx
    movl %edx, (%edi)
    movl 4(%esi), %ecx
    movl %ecx, 4(%edi)
    movl %esi, %eax
    call entry_set
    jmp 4f
2:  movl (%esi), %eax
    movl %eax, (%edi)
    movl 4(%esi), %eax
    movl %eax, 4(%edi)
4:  movl %edi, %eax
    call entry_target
    call frame_uses
    incw (%eax)
3:  addl $8, %edi
    addl $8, %esi
    testl $PAGE - 1, %esi
    jnz 1b
    popl %edi
    popl %esi
    ret
