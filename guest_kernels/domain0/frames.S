# The new domain's memory: its frames, and a window through which this one writes them.

    .include "domain0.inc"

    .bss
    .balign PAGE_SIZE
window:                             # shows a frame of the domain that is built
    .skip PAGE_SIZE
guest_frames:                       # pfn -> mfn
    .skip GUEST_PAGES * 4
guest_shared_info:                  # the frame of its shared_info
    .skip 4
window_frame:                       # the frame that was at the window before
    .skip 4
reservation:
    .skip XEN_MEMORY_RESERVATION_sizeof

    .text
# Gives the domain its memory: pfns from 0 on.
FUNCTION populate_guest
    pushl %ebx
    movl $GUEST_PAGES - 1, %eax
1:  movl %eax, guest_frames(,%eax,4)
    decl %eax
    jns 1b
    movl $guest_frames, reservation + XEN_MEMORY_RESERVATION_extent_start
    movl $GUEST_PAGES, reservation + XEN_MEMORY_RESERVATION_nr_extents
    movl guest, %eax
    movw %ax, reservation + XEN_MEMORY_RESERVATION_domid
    movl $XENMEM_populate_physmap, %ebx
    movl $reservation, %ecx
    HYPERCALL memory_op
    cmpl $GUEST_PAGES, %eax
    je 2f
    PANIC "the machine has too little memory"
2:  movl $window, %eax
    call va_to_mfn
    movl %eax, window_frame
    popl %ebx
    ret

# EAX = one of the domain's frames: shows it in the window; gives the window's address.
FUNCTION show_frame
    pushl %ebx
    pushl %esi
    pushl %edi
    movl $PTE_DATA, %edx
    call make_entry
    movl $window, %ebx
    movl %eax, %ecx
    movl $UVMF_INVLPG | UVMF_LOCAL, %esi
    movl guest, %edi
    HYPERCALL update_va_mapping_otherdomain
    MUST update_va_mapping_otherdomain
    movl $window, %eax
    popl %edi
    popl %esi
    popl %ebx
    ret

# The window shows none of the domain's frames any more: what is to be a page table must not be writable.
FUNCTION close_window
    movl $window, %eax
    movl window_frame, %edx
    movl $PTE_DATA, %ecx
    call map_frame
    MUST close_window
    ret

# EAX = pseudo-physical address, EDX = data, ECX = bytes: writes them into the domain's memory.
FUNCTION store_guest
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl %eax, %ebx
    movl %edx, %esi
    movl %ecx, %ebp
1:  testl %ebp, %ebp
    jz 3f
    movl %ebx, %eax
    shrl $12, %eax
    cmpl $GUEST_PAGES, %eax
    jae 4f
    movl guest_frames(,%eax,4), %eax
    call show_frame
    movl %ebx, %edx
    andl $PAGE_SIZE - 1, %edx
    leal (%eax,%edx), %edi
    movl $PAGE_SIZE, %ecx
    subl %edx, %ecx
    cmpl %ebp, %ecx
    jbe 2f
    movl %ebp, %ecx
2:  addl %ecx, %ebx
    subl %ecx, %ebp
    rep movsb
    jmp 1b
3:  popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret
4:  PANIC "the kernel does not fit into its domain"
