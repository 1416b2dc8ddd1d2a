# Page frames: the direct map (every page of the domain at VIRT_BASE + 4096 * pfn), batches of page-table
# updates, and the allocator with its reference counts.
#
# Invariant: a free page is mapped writable in the direct map; a page table is mapped read-only there, since Xen
# refuses to take a page as page table while anything maps it writable.

    .include "unix.inc"

.equ MMU_BATCH, 512

    .bss
    .balign 16
mmu_batch:                          # struct mmu_update
    .skip MMU_BATCH * MMU_UPDATE_sizeof
mmu_count:
    .skip 4
    .globl kernel_table, frame_refs, free_frames, free_count, nr_frames
kernel_table:                          # the level 2 table of the kernel's GiB that Xen's builder made
    .skip 4
boot_next:                          # first page that nothing uses yet
    .skip 4
frame_refs:                         # u16 per pfn
    .skip 4
free_frames:                        # stack of pfns
    .skip 4
free_count:
    .skip 4
nr_frames:
    .skip 4
first_frame:                        # the lowest pfn of the allocator
    .skip 4

    .text
# Gives in EAX the next entry of the batch, for the caller to fill at once: pointer and value, 64 bits each.
FUNCTION mmu_slot
    movl mmu_count, %eax
    cmpl $MMU_BATCH, %eax
    jb 1f
    call mmu_flush
    xorl %eax, %eax
1:  leal 1(%eax), %edx
    movl %edx, mmu_count
    shll $4, %eax
    addl $mmu_batch, %eax
    ret

# Hands the batch to Xen. A refusal is a mistake of this kernel, whatever an application did.
FUNCTION mmu_flush
    cmpl $0, mmu_count
    je 1f
    pushl %ebx
    pushl %esi
    pushl %edi
    movl $mmu_batch, %ebx
    movl mmu_count, %ecx
    movl $0, mmu_count
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmu_update
    testl %eax, %eax
    jnz 2f
    popl %edi
    popl %esi
    popl %ebx
1:  ret
2:  PANIC "mmu_update refused"

# EAX = address in the direct map; gives in EDX:EAX its machine address.
FUNCTION machine_address
    pushl %eax
    subl $VIRT_BASE, %eax
    shrl $12, %eax
    movl start_info, %edx
    movl START_INFO_mfn_list(%edx), %edx
    movl (%edx,%eax,4), %edx
    movl %edx, %eax
    shll $12, %eax
    shrl $20, %edx
    popl %ecx
    andl $0xfff, %ecx
    orl %ecx, %eax
    ret

# EDX:EAX = page-table entry; gives the direct-map address of the page it names.
FUNCTION entry_page
    shrdl $12, %edx, %eax
    movl MACH2PHYS_VIRT_START(,%eax,4), %eax
    shll $12, %eax
    addl $VIRT_BASE, %eax
    ret

# EAX = page of the direct map, EDX = PTE_W or 0: queues its new mapping. Only text may be executed.
FUNCTION map_page
    pushl %ebx
    pushl %esi
    movl %eax, %ebx
    movl %edx, %esi
    call mmu_slot
    movl %eax, %ecx
    movl %ebx, %edx
    shrl $21, %edx
    andl $511, %edx
    shll $3, %edx
    addl kernel_table, %edx            # the level 2 entry
    movl (%edx), %eax
    andl $-4096, %eax
    movl 4(%edx), %edx
    andl $0xfffff, %edx
    movl %edx, MMU_UPDATE_ptr+4(%ecx)
    movl %ebx, %edx
    shrl $9, %edx
    andl $511 << 3, %edx
    orl %edx, %eax
    movl %eax, MMU_UPDATE_ptr(%ecx)
    movl %ecx, %edx
    movl %ebx, %eax
    movl %esi, %ecx
    movl %edx, %esi
    call direct_entry
    movl %eax, MMU_UPDATE_val(%esi)
    movl %edx, MMU_UPDATE_val+4(%esi)
    popl %esi
    popl %ebx
    ret

# EAX = page of the direct map, ECX = PTE_W or 0; gives in EDX:EAX the level 1 entry that maps it.
direct_entry:
    pushl %ebx
    pushl %ecx
    movl %eax, %ebx
    call machine_address
    popl %ecx
    leal PTE_KERNEL(%eax,%ecx), %eax
    cmpl $text_start, %ebx
    jb 1f
    cmpl $data_start, %ebx
    jb 2f
1:  orl $PTE_NX_HIGH, %edx
2:  popl %ebx
    ret

# Finds out what Xen's builder left, maps the rest of the domain's pages, and closes the kernel to ring 3:
# the builder's own entries all have the user bit.
FUNCTION frames_init
    pushl %ebx
    pushl %esi
    movl start_info, %ebx
    movl START_INFO_nr_pages(%ebx), %eax
    cmpl $KERNEL_L2_ENTRIES << 9, %eax
    jb 1f
    movl $KERNEL_L2_ENTRIES << 9, %eax # more than fits below Xen stays unused
1:  movl %eax, nr_frames
    movl START_INFO_nr_pt_frames(%ebx), %eax
    incl %eax                       # the boot stack follows the page tables
    shll $12, %eax
    addl START_INFO_pt_base(%ebx), %eax
    movl %eax, boot_next
    movl START_INFO_pt_base(%ebx), %ecx
    movl 3*8(%ecx), %eax
    movl 3*8+4(%ecx), %edx
    call entry_page
    movl %eax, kernel_table
    movl $VIRT_BASE, %esi           # 2 MiB, one level 1 table, at a time
2:  movl %esi, %eax
    subl $VIRT_BASE, %eax
    shrl $12, %eax
    cmpl nr_frames, %eax
    jae 4f
    shrl $9, %eax
    movl kernel_table, %edx
    leal (%edx,%eax,8), %ebx
    testb $PTE_P, (%ebx)
    jz 3f
    call tighten_table
    jmp 5f
3:  call add_table
5:  call mmu_flush
    addl $2 << 20, %esi
    jmp 2b
4:  popl %esi
    popl %ebx
    ret

# ESI = address of 2 MiB that the builder mapped at least in part, EBX = their level 2 entry.
tighten_table:
    pushl %esi
    pushl %edi
    movl (%ebx), %eax
    movl 4(%ebx), %edx
    call entry_page
    movl %eax, %edi                 # level 1 entry
    leal 4096(%eax), %eax
    pushl %eax
1:  movl %esi, %eax
    subl $VIRT_BASE, %eax
    shrl $12, %eax
    cmpl nr_frames, %eax
    jae 3f
    movl $PTE_W, %edx
    testb $PTE_P, (%edi)
    jz 2f
    andl (%edi), %edx               # the builder's page tables stay read-only
2:  movl %esi, %eax
    call map_page
3:  addl $4096, %esi
    addl $8, %edi
    cmpl (%esp), %edi
    jne 1b
    popl %eax
    popl %edi
    popl %esi
    ret

# ESI = address of 2 MiB without a table, EBX = their level 2 entry: fills a table while it is an ordinary page.
add_table:
    pushl %esi
    pushl %edi
    pushl %ebp
    movl $4096, %eax
    call boot_alloc
    movl %eax, %ebp
    movl %eax, %edi
1:  movl %esi, %eax
    subl $VIRT_BASE, %eax
    shrl $12, %eax
    cmpl nr_frames, %eax
    jae 2f
    movl %esi, %eax
    movl $PTE_W, %ecx
    call direct_entry
    movl %eax, (%edi)
    movl %edx, 4(%edi)
2:  addl $4096, %esi
    addl $8, %edi
    leal 4096(%ebp), %eax
    cmpl %eax, %edi
    jne 1b
    movl %ebp, %eax
    xorl %edx, %edx
    call map_page
    movl %ebx, %eax
    movl %ebp, %edx
    movl $PTE_P | PTE_W | PTE_AD, %ecx
    call link_table
    popl %ebp
    popl %edi
    popl %esi
    ret

# EAX = entry of a live table, EDX = page of the next lower table, ECX = flags: queues entry = page | flags.
FUNCTION link_table
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl %edx, %esi
    movl %ecx, %edi
    movl %ebx, %eax
    call machine_address
    movl %eax, %ecx
    movl %edx, %ebx
    pushl %ecx
    call mmu_slot
    popl MMU_UPDATE_ptr(%eax)
    movl %ebx, MMU_UPDATE_ptr+4(%eax)
    movl %eax, %ebx
    movl %esi, %eax
    call machine_address
    orl %edi, %eax
    movl %eax, MMU_UPDATE_val(%ebx)
    movl %edx, MMU_UPDATE_val+4(%ebx)
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = bytes; gives zeroed, contiguous pages that are never freed. Only before frames_ready.
FUNCTION boot_alloc
    pushl %edi
    movl boot_next, %edi
    addl $4095, %eax
    andl $-4096, %eax
    leal (%edi,%eax), %edx
    movl %edx, boot_next
    subl $VIRT_BASE, %edx
    jc 1f
    shrl $12, %edx
    cmpl nr_frames, %edx
    ja 1f
    movl %eax, %ecx
    shrl $2, %ecx
    pushl %edi
    xorl %eax, %eax
    rep stosl
    popl %eax
    popl %edi
    ret
1:  PANIC "not enough memory to start"

# The allocator takes over all pages from boot_next on.
FUNCTION frames_ready
    pushl %edi
    movl nr_frames, %eax
    addl %eax, %eax
    call boot_alloc
    movl %eax, frame_refs
    movl nr_frames, %eax
    shll $2, %eax
    call boot_alloc
    movl %eax, free_frames
    movl %eax, %edi
    movl boot_next, %edx
    subl $VIRT_BASE, %edx
    shrl $12, %edx
    movl %edx, first_frame
    movl nr_frames, %eax
1:  cmpl %edx, %eax                 # the lowest on top
    jbe 2f
    decl %eax
    stosl
    incl free_count
    jmp 1b
2:  popl %edi
    ret

# Gives a page with one reference and any content, or 0.
FUNCTION frame_alloc
    movl free_count, %eax
    decl %eax
    js 1f
    movl %eax, free_count
    movl free_frames, %edx
    movl (%edx,%eax,4), %eax
    movl frame_refs, %edx
    movw $1, (%edx,%eax,2)
    shll $12, %eax
    addl $VIRT_BASE, %eax
    ret
1:  xorl %eax, %eax
    ret

# The same, zeroed.
FUNCTION frame_alloc_zeroed
    call frame_alloc
    testl %eax, %eax
    jz 1f
    pushl %edi
    pushl %eax
    movl %eax, %edi
    xorl %eax, %eax
    movl $1024, %ecx
    rep stosl
    popl %eax
    popl %edi
1:  ret

# EAX = how many; gives as many pages that are neighbours, each with one reference and any content, or 0. They are taken
# from above, single ones from below: so there are neighbours for long.
FUNCTION frames_alloc
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %edi
    movl nr_frames, %ebx            # the lowest of the free pages so far
    xorl %ecx, %ecx                 # how many they are
    movl frame_refs, %edx
1:  xorl %eax, %eax
    cmpl first_frame, %ebx
    jbe 5f
    decl %ebx
    incl %ecx
    cmpw $0, (%edx,%ebx,2)
    je 2f
    xorl %ecx, %ecx
2:  cmpl %edi, %ecx
    jne 1b
    subl %ecx, free_count
    movl free_frames, %esi          # the stack without them
    movl %esi, %edx
    movl free_count, %ecx
    addl %edi, %ecx
3:  lodsl
    pushl %eax
    subl %ebx, %eax
    cmpl %edi, %eax
    popl %eax
    jb 4f
    movl %eax, (%edx)
    addl $4, %edx
4:  loop 3b
    movl %edi, %ecx
    movl frame_refs, %edx
    leal (%edx,%ebx,2), %edi
    movl $1, %eax
    rep stosw
    movl %ebx, %eax
    shll $12, %eax
    addl $VIRT_BASE, %eax
5:  popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = page: drops a reference, and frees the page with the last one.
FUNCTION frame_put
    subl $VIRT_BASE, %eax
    shrl $12, %eax
    movl frame_refs, %edx
    decw (%edx,%eax,2)
    jnz 1f
    movl free_count, %edx
    movl free_frames, %ecx
    movl %eax, (%ecx,%edx,4)
    incl free_count
1:  ret

# EAX = page; gives the address of its reference count (u16).
FUNCTION frame_count
    subl $VIRT_BASE, %eax
    shrl $12, %eax
    addl %eax, %eax
    addl frame_refs, %eax
    ret
