# The start of day (Xen public/xen.h, "Start-of-day memory layout"): after the kernel the list of frames, start_info,
# the pages of xenstore and console, page tables, the boot stack; all within the first 4 MiB, which are mapped.

    .include "domain0.inc"

.equ MAPPED_PAGES, 1024
.equ NR_TABLES, 4                   # the root, one level 2 table, two of level 1

    .bss
    .balign PAGE_SIZE
scratch:                            # a page before it is the domain's
    .skip PAGE_SIZE
first_pfn:                          # the first page after the list of frames: start_info
    .skip 4
guest_console_pfn:
    .skip 4
first_table:                        # the root table
    .skip 4
guest_store_port:
    .skip 4
guest_console_port:
    .skip 4

    .data
command_line:
    .asciz "greet=domain 0"
magic:
    .asciz "xen-3.0-x86_32p"

    .text
# Fills the domain's memory and starts its vcpu, paused.
FUNCTION build_guest
    call load_image
    movl kernel_end, %eax
    addl $PAGE_SIZE - 1, %eax
    andl $~(PAGE_SIZE - 1), %eax
    pushl %eax
    movl $guest_frames, %edx
    movl $GUEST_PAGES * 4, %ecx
    call store_guest
    popl %eax
    shrl $12, %eax
    leal GUEST_PAGES * 4 / PAGE_SIZE(%eax), %edx
    movl %edx, first_pfn
    leal 2(%edx), %ecx
    movl %ecx, guest_console_pfn
    leal 3(%edx), %ecx
    movl %ecx, first_table
    cmpl $MAPPED_PAGES - NR_TABLES - 1, %ecx
    jbe 1f
    PANIC "the kernel does not fit into 4 MiB"
1:  pushl %eax
    call open_ports
    popl %eax
    call write_start_info
    call write_tables
    call write_hypercall_page
    call mask_upcalls
    call close_window
    call pin_tables
    movl first_table, %eax
    leal NR_TABLES + 1(%eax), %edx  # the boot stack grows down from the end of its page
    shll $12, %edx
    addl virt_base, %edx
    movl guest_frames(,%eax,4), %eax
    movl first_pfn, %ecx
    shll $12, %ecx
    addl virt_base, %ecx
    pushl %edx
    movl entry, %edx
    call set_guest_context
    addl $4, %esp
    ret

# Channels on the domain's behalf, to this one: xenstore's first, as xl makes them.
    .type open_ports, @function
open_ports:
    call guest_port
    movl %eax, guest_store_port
    call guest_port
    movl %eax, guest_console_port
    ret

    .type guest_port, @function
guest_port:
    pushl $0                        # struct evtchn_alloc_unbound
    movl guest, %eax
    orl $DOMID_SELF << 16, %eax
    pushl %eax
    EVTCHN alloc_unbound, 4(%esp)
    addl $EVTCHN_ALLOC_UNBOUND_port, %esp
    popl %edx
    MUST alloc_unbound
    movl %edx, %eax
    ret

# EAX = pfn of the list of frames.
    .type write_start_info, @function
write_start_info:
    pushl %ebx
    pushl %eax
    call clear_scratch
    movl $scratch, %ebx
    leal START_INFO_magic(%ebx), %eax
    movl $magic, %edx
    movl $16, %ecx
    call memory_copy
    movl $GUEST_PAGES, START_INFO_nr_pages(%ebx)
    movl guest_shared_info, %eax
    shll $12, %eax
    movl %eax, START_INFO_shared_info(%ebx)
    movl first_pfn, %eax
    movl guest_frames + 4(,%eax,4), %edx
    movl %edx, START_INFO_store_mfn(%ebx)
    movl guest_frames + 8(,%eax,4), %edx
    movl %edx, START_INFO_console_domU_mfn(%ebx)
    movl guest_store_port, %edx
    movl %edx, START_INFO_store_evtchn(%ebx)
    movl guest_console_port, %edx
    movl %edx, START_INFO_console_domU_evtchn(%ebx)
    movl first_table, %eax
    shll $12, %eax
    addl virt_base, %eax
    movl %eax, START_INFO_pt_base(%ebx)
    movl $NR_TABLES, START_INFO_nr_pt_frames(%ebx)
    popl %eax
    shll $12, %eax
    addl virt_base, %eax
    movl %eax, START_INFO_mfn_list(%ebx)
    leal START_INFO_cmd_line(%ebx), %eax
    movl $command_line, %edx
    movl $magic - command_line, %ecx
    call memory_copy
    movl first_pfn, %eax
    popl %ebx

# EAX = pfn: scratch becomes that page.
    .type store_scratch, @function
store_scratch:
    shll $12, %eax
    movl $scratch, %edx
    movl $PAGE_SIZE, %ecx
    jmp store_guest

    .type clear_scratch, @function
clear_scratch:
    movl $scratch, %eax
    xorl %edx, %edx
    movl $PAGE_SIZE, %ecx
    jmp memory_set

# The four tables that map the first 4 MiB at virt_base.
    .type write_tables, @function
write_tables:
    pushl %ebx
    call clear_scratch
    movl virt_base, %ebx
    shrl $30, %ebx
    movl first_table, %eax
    movl guest_frames + 4(,%eax,4), %eax
    movl $PTE_ROOT, %edx
    call put_entry
    movl first_table, %eax
    call store_scratch
    call clear_scratch
    movl virt_base, %ebx
    shrl $L2_SHIFT, %ebx
    andl $ENTRIES - 1, %ebx
    movl first_table, %eax
    movl guest_frames + 8(,%eax,4), %eax
    movl $PTE_TABLE, %edx
    call put_entry
    incl %ebx
    movl first_table, %eax
    movl guest_frames + 12(,%eax,4), %eax
    movl $PTE_TABLE, %edx
    call put_entry
    movl first_table, %eax
    incl %eax
    call store_scratch
    xorl %eax, %eax
    call map_pages
    movl first_table, %eax
    addl $2, %eax
    call store_scratch
    movl $ENTRIES, %eax
    call map_pages
    movl first_table, %eax
    addl $3, %eax
    call store_scratch
    popl %ebx
    ret

# EAX = mfn, EDX = flags, EBX = index: an entry of the table in scratch.
    .type put_entry, @function
put_entry:
    call make_entry
    movl %eax, scratch(,%ebx,8)
    movl %edx, scratch + 4(,%ebx,8)
    ret

# EAX = the first of 512 pfns: scratch is the level 1 table that maps them, page tables read-only.
    .type map_pages, @function
map_pages:
    pushl %ebx
    pushl %esi
    movl %eax, %esi
    xorl %ebx, %ebx
1:  movl %esi, %eax
    subl first_table, %eax
    movl $PTE_DATA, %edx
    cmpl $NR_TABLES, %eax
    jae 2f
    movl $PTE_READ_ONLY, %edx
2:  movl guest_frames(,%esi,4), %eax
    call put_entry
    incl %esi
    incl %ebx
    cmpl $ENTRIES, %ebx
    jb 1b
    popl %esi
    popl %ebx
    ret

    .type write_hypercall_page, @function
write_hypercall_page:
    DOMCTL hypercall_init
    movl hypercall_page_address, %eax
    subl virt_base, %eax
    shrl $12, %eax
    movl guest_frames(,%eax,4), %eax
    movl %eax, domctl_part + XEN_DOMCTL_HYPERCALL_INIT_gmfn
    DOMCTL_MUST hypercall_init
    ret

# A vcpu starts with its upcalls masked.
    .type mask_upcalls, @function
mask_upcalls:
    movl guest_shared_info, %eax
    call show_frame
    movb $1, SHARED_INFO_vcpu_info_evtchn_upcall_mask(%eax)
    ret

# The hypervisor looks at the tables now, and they stay what they are.
    .type pin_tables, @function
pin_tables:
    pushl %ebx
    pushl %esi
    movl first_table, %eax
    pushl $0                        # struct mmuext_op
    pushl guest_frames(,%eax,4)
    pushl $MMUEXT_PIN_L3_TABLE
    movl %esp, %ebx
    movl $1, %ecx
    xorl %edx, %edx
    movl guest, %esi
    HYPERCALL mmuext_op
    addl $MMUEXT_OP_sizeof, %esp
    popl %esi
    popl %ebx
    MUST pin_tables
    ret
