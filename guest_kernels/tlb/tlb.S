# Three TLBs, the same work: processes that switch, touch their pages, fork and copy on write.
#
# Observe: what the console says is the same whatever TLB there is, and what it cost is not (`boot tlb --tlb hardware`,
# `software`, `tagged`). A TLB that the processor refills from page tables, and that knows nothing of address spaces,
# starts empty after each switch; one with address-space numbers keeps what it has; one that the kernel refills needs
# no page tables, and an exit for each miss. What the work is for is in the word `phase`, for `paravane compare tlb`.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "tlb.inc"

    XEN_NOTES tlb

    .data
    .balign 4
trap_table:
    TRAP_GATE 14, 0, page_fault
    TRAP_GATE 0x80, 3, system_call
    TRAP_TABLE_END
    .globl current
current:                            # the process whose address space there is; at first before the first
    .long processes - PROCESS_sizeof
copied:
    .long 0
reopened:
    .long 0
next_page:
    .long pool
main_stack:                         # from where `main` returns
    .long 0
    .globl phase, phase_names
phase:                              # PHASE_
    .long PHASE_OTHER
phase_names:                        # strings, one after the other
    .asciz "other", "touches", "switches", "fork and copies", ""

    .bss
    .balign PAGE_SIZE
pool:                               # pages for processes
    .skip PROCESSES * PAGES * PAGE_SIZE
pool_end:
trap_stack:
    .skip PAGE_SIZE
trap_stack_top:
    .globl processes, processes_end, main
processes:
    .skip PROCESSES * PROCESS_sizeof
processes_end:
sharers:                            # of each page of the pool: how many have it mapped
    .skip PROCESSES * PAGES

    .text
    .type main, @function
main:
    movl %esp, main_stack
    movl $trap_table, %eax
    call set_trap_table
    call map_shared_info
    call mask_all_events
    call space_init
    movl $trap_stack_top, %eax
    call set_kernel_stack
    movl $FLAT_USER_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl $processes, %ebx
1:  call begin_process
    addl $PROCESS_sizeof, %ebx
    cmpl $processes + (PROCESSES - 1) * PROCESS_sizeof, %ebx
    jb 1b
    movl $1, processes + PROCESS_frame + 8     # EBP of the first: it forks
    jmp schedule

# EBX = a free process: gives it its pages, and has it stand at the beginning of its program.
    .type begin_process, @function
begin_process:
    call number_process
    movl $user_text + PTE_USER_READ, PROCESS_pages(%ebx)
    movl $1, %esi
1:  call take_page
    addl $PTE_USER_WRITE, %eax
    movl %eax, PROCESS_pages(%ebx,%esi,4)
    incl %esi
    cmpl $PAGES, %esi
    jb 1b
    movl $USER_VA, PROCESS_frame + 32(%ebx)
    movl $FLAT_USER_CS, PROCESS_frame + 36(%ebx)
    movl $X86_EFLAGS_IF | X86_EFLAGS_FIXED, PROCESS_frame + 40(%ebx)
    movl $DATA_VA, PROCESS_frame + 44(%ebx)
    movl $FLAT_USER_SS, PROCESS_frame + 48(%ebx)
    jmp space_make

# EBX = process: READY, by its number.
number_process:
    movl %ebx, %eax
    subl $processes, %eax
    xorl %edx, %edx
    movl $PROCESS_sizeof, %ecx
    divl %ecx
    movl %eax, PROCESS_number(%ebx)
    movl $READY, PROCESS_state(%ebx)
    ret

# Gives a page of the pool, with one who has it.
take_page:
    movl next_page, %eax
    cmpl $pool_end, %eax
    jb 1f
    PANIC "no page is left"
1:  addl $PAGE_SIZE, next_page
    call sharers_of
    movb $1, (%edx)
    ret

# EAX = page of the pool, with flags or without: EDX = address of its number of sharers. Keeps the others.
sharers_of:
    movl %eax, %edx
    subl $pool, %edx
    shrl $12, %edx
    addl $sharers, %edx
    ret

# int $0x80, from ring 3.
    .type system_call, @function
system_call:
    pushal
    cld
    movl %esp, %esi
    movl current, %ebx
    leal PROCESS_frame(%ebx), %edi
    movl $FRAME_WORDS, %ecx
    rep movsl
    movl PROCESS_eax(%ebx), %eax
    cmpl $SYS_YIELD, %eax
    je schedule
    cmpl $SYS_FORK, %eax
    je fork
    movl $DONE, PROCESS_state(%ebx)
    movl PROCESS_frame + 20(%ebx), %eax        # EDX
    movl %eax, PROCESS_result(%ebx)

# The next one that is ready goes on.
schedule:
    movl $PHASE_SWITCH, phase
    movl $trap_stack_top - 4 * FRAME_WORDS, %esp
    movl current, %ebx
    movl $PROCESSES, %ecx
1:  addl $PROCESS_sizeof, %ebx
    cmpl $processes_end, %ebx
    jb 2f
    movl $processes, %ebx
2:  cmpl $READY, PROCESS_state(%ebx)
    loopne 1b
    jne report
    cmpl %ebx, current
    je 3f
    movl %ebx, current
    call space_load
3:  cld
    leal PROCESS_frame(%ebx), %esi
    movl %esp, %edi
    movl $FRAME_WORDS, %ecx
    rep movsl
    movl $PHASE_TOUCH, phase
    popal
    iret

# EBX = the parent: the last process is a copy of it. Nobody may write to what both have.
    .type fork, @function
fork:
    movl $PHASE_FORK, phase
    movl $processes_end - PROCESS_sizeof, %edi
    xorl %esi, %esi
1:  movl PROCESS_pages(%ebx,%esi,4), %eax
    testl %esi, %esi
    jz 2f                           # the text is everybody's
    call sharers_of
    incb (%edx)
    andl $~PTE_RW, %eax
    movl %eax, PROCESS_pages(%ebx,%esi,4)
2:  movl %eax, PROCESS_pages(%edi,%esi,4)
    call space_set
    incl %esi
    cmpl $PAGES, %esi
    jb 1b
    call space_flush
    pushl %edi
    movl %ebx, %esi
    movl $FRAME_WORDS, %ecx
    rep movsl
    popl %ebx
    call number_process
    call space_make
    jmp schedule

# From ring 3: EAX and what follows are as `pushal` left them.
    .type page_fault, @function
page_fault:
    pushal
    movl SHARED_CR2, %ebp
    movl current, %ebx
    testl $PFEC_page_present, 32(%esp)
    jnz 1f
    call space_miss
    jmp 2f
1:  call copy_on_write
2:  popal
    addl $4, %esp                   # the error code
    iret

# EBX = process, EBP = address that it wants to write to: a page that two have is copied, for it to have its own.
copy_on_write:
    movl $PHASE_FORK, phase
    movl %ebp, %esi
    subl $USER_VA, %esi
    shrl $12, %esi
    movl PROCESS_pages(%ebx,%esi,4), %eax
    call sharers_of
    cmpb $1, (%edx)
    je 1f
    decb (%edx)
    incl copied
    pushl %esi
    andl $-PAGE_SIZE, %eax
    movl %eax, %esi
    call take_page
    movl %eax, %edi
    movl $PAGE_SIZE / 4, %ecx
    cld
    rep movsl
    popl %esi
    jmp 2f
1:  incl reopened
    andl $-PAGE_SIZE, %eax
2:  addl $PTE_USER_WRITE, %eax
    movl %eax, PROCESS_pages(%ebx,%esi,4)
    call space_set
    MMUEXT INVLPG_LOCAL, %ebp
    MUST invlpg
    movl $PHASE_TOUCH, phase
    ret

# All are done.
report:
    movl $PHASE_OTHER, phase
    movl main_stack, %esp
    movl $processes, %ebx
1:  PRINT "process "
    PRINT_DEC PROCESS_number(%ebx)
    PRINT ": "
    PRINT_DEC PROCESS_result(%ebx)
    PRINT " stores into its pages\n"
    addl $PROCESS_sizeof, %ebx
    cmpl $processes_end, %ebx
    jb 1b
    PRINT "written after the fork: "
    PRINT_DEC copied
    PRINT " pages copied, "
    PRINT_DEC reopened
    PRINT " that nobody shared any more\n"
    ret

# Ring 3, on a page that all processes map at USER_VA. EBP is 1 in the one that forks.
    .balign PAGE_SIZE
user_text:
    movl $ROUNDS, %esi
1:  movl $DATA_VA, %eax
    movl $DATA_PAGES, %ecx
2:  incl (%eax)
    addl $PAGE_SIZE, %eax
    loop 2b
    pushl %esi
    popl %esi
    movl $SYS_YIELD, %eax
    cmpl $ROUNDS / 2, %esi
    jne 3f
    addl %ebp, %eax                 # SYS_FORK, in one of them
    xorl %ebp, %ebp
3:  int $0x80
    decl %esi
    jnz 1b
    xorl %edx, %edx
    movl $DATA_VA, %eax
    movl $DATA_PAGES, %ecx
4:  addl (%eax), %edx
    addl $PAGE_SIZE, %eax
    loop 4b
    movl $SYS_EXIT, %eax
    int $0x80
    .balign PAGE_SIZE
