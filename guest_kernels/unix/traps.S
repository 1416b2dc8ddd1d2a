# The way in and out: traps, system calls, and what becomes of a fault.

    .include "unix.inc"

# A handler's stub: makes the frame alike whether the processor gave an error code or not.
.macro TRAP_STUB vector, has_error=0
trap_\vector:
    .if \has_error == 0
    pushl $0
    .endif
    pushl $\vector
    jmp trap_entry
.endm

    .text
    .irp vector, 0, 1, 3, 4, 5, 6, 7, 9, 16, 19
    TRAP_STUB \vector
    .endr
    .irp vector, 10, 11, 12, 13, 14, 17
    TRAP_STUB \vector, 1
    .endr

    .globl trap_table
    .data
    .balign 4
trap_table:                         # struct trap_info: all mask upcalls; ring 3 may use `int3`, `into`, `int $0x80`
    .irp vector, 0, 1, 5, 6, 7, 9, 10, 11, 12, 13, 14, 16, 17, 19
    .byte \vector, TI_IF
    .word FLAT_KERNEL_CS
    .long trap_\vector
    .endr
    .irp vector, 3, 4
    .byte \vector, TI_IF | 3
    .word FLAT_KERNEL_CS
    .long trap_\vector
    .endr
    .byte 0x80, TI_IF | 3
    .word FLAT_KERNEL_CS
    .long syscall_entry
    .long 0, 0

signals:                            # signal for each vector
    .byte SIGFPE, SIGTRAP, 0, SIGTRAP, SIGSEGV, SIGSEGV, SIGILL, 0, 0, SIGFPE
    .byte SIGSEGV, SIGBUS, SIGBUS, SIGSEGV, SIGSEGV, 0, SIGFPE, SIGBUS, 0, SIGFPE

    .text
syscall_entry:
    pushl %eax
    pushl $0x80
    pushal
    movl %esp, %ebp
    KERNEL_SEGMENTS
    movl FRAME_eax(%ebp), %eax
    call system_call
    .globl syscall_return
syscall_return:                     # EAX = result, EBP = frame
    movl %eax, FRAME_eax(%ebp)

# EBP = frame of a process: back to ring 3, if it is still its turn. Signals first. Code and stack segment are
# the flat ones whatever the process did to its own: a bad selector would make iret fault in the kernel.
    .globl return_to_user
return_to_user:
    movl %ebp, %esp
    cmpl $0, need_resched
    jne 3f
    call signal_pending
    testl %eax, %eax
    jnz 1f
    cmpl $-ERESTART_CALL, FRAME_eax(%ebp)
    je 1f
2:  movl $FLAT_USER_CS, FRAME_cs(%ebp)
    movl $FLAT_USER_SS, FRAME_ss(%ebp)
    movb $0, shared_info + VCPU_INFO_evtchn_upcall_mask
    cmpb $0, shared_info + VCPU_INFO_evtchn_upcall_pending
    jne 4f
    popal
    addl $8, %esp
    iret
1:  call signal_deliver
    jmp 2b
3:  movl $0, need_resched
    call schedule
    jmp return_to_user
4:  movb $1, shared_info + VCPU_INFO_evtchn_upcall_mask # it came while upcalls were masked
    call take_events
    jmp return_to_user

# A system call met a bad user address: it fails with -EFAULT, wherever it was. What it had half done must be
# harmless; the system calls touch user memory before they change anything.
    .globl syscall_fault
syscall_fault:
    movl current, %ebx
    movl PROC_stack_top(%ebx), %ebp
    subl $FRAME_sizeof, %ebp
    movl %ebp, %esp
    testl $PF_DOOMED, PROC_flags(%ebx)
    jnz 1f
    movl $-EFAULT, %eax
    jmp syscall_return
1:  movl $SIGSEGV, %eax
    jmp process_exit

# EAX = user address, EDX = bytes: comes back, with all registers kept, only if this is below the kernel.
FUNCTION user_range
    addl %eax, %edx
    jc syscall_fault
    cmpl $USER_END, %edx
    ja syscall_fault
    subl %eax, %edx
    ret

trap_entry:
    pushal
    movl %esp, %ebp
    KERNEL_SEGMENTS
    movl FRAME_vector(%ebp), %ebx
    movl FRAME_orig(%ebp), %edi     # error code
    testl $2, FRAME_cs(%ebp)
    jz kernel_trap
    movl $-1, FRAME_orig(%ebp)
    movl current, %eax
    movl %edi, PROC_error(%eax)
    cmpl $X86_EXC_NM, %ebx
    je 2f
    movl FRAME_eip(%ebp), %esi      # for the message
    cmpl $X86_EXC_PF, %ebx
    jne 1f
    movl shared_info + VCPU_INFO_arch_cr2, %esi
    cmpl $USER_END, %esi
    jae 1f
    movl %esi, %eax
    movl %edi, %edx
    call page_fault
    testl %eax, %eax
    jz return_to_user
    cmpl $-ENOMEM, %eax
    je out_of_memory
1:  movzbl signals(%ebx), %edx
    call user_trap
    jmp return_to_user
2:  call fpu_switch
    jmp return_to_user

# A page is needed and none is left: the process that needs it goes.
out_of_memory:
    movl current, %ebx
    PRINT "out of memory: killed "
    leal PROC_comm(%ebx), %eax
    call print_string
    PRINT "\n"
    movl $SIGKILL, %eax
    jmp process_exit

# A trap in ring 1. Page faults at user addresses are the user's; at the kernel's own they may come from an
# entry that the processor remembered from before it allowed writing.
kernel_trap:
    cmpl $X86_EXC_PF, %ebx
    jne 2f
    movl shared_info + VCPU_INFO_arch_cr2, %esi
    cmpl $USER_END, %esi
    jae 1f
    cmpl $0, current
    je kernel_panic
    movl %esi, %eax
    movl %edi, %edx
    call page_fault
    testl %eax, %eax
    jz 9f
    cmpl $-ENOMEM, %eax
    je out_of_memory
    jmp syscall_fault
1:  movl %esi, %eax
    call kernel_entry
    andl $PTE_P | PTE_W, %eax
    cmpl $PTE_P | PTE_W, %eax
    je 9f
    jmp kernel_panic
2:  movl $fixups, %ecx
3:  movl (%ecx), %eax
    cmpl %eax, FRAME_eip(%ebp)
    jne 4f
    movl 4(%ecx), %eax
    movl %eax, FRAME_eip(%ebp)
9:  movl %ebp, %esp
    popal
    addl $8, %esp
    iret
4:  addl $8, %ecx
    cmpl $fixups_end, %ecx
    jb 3b

# EBP = frame, ESI = fault address, EDI = error code, EBX = vector: the end.
kernel_panic:
    PRINT "unix: trap "
    PRINT_DEC %ebx
    PRINT " in the kernel, error code "
    PRINT_HEX %edi
    PRINT ", cr2 "
    PRINT_HEX %esi
    PRINT "\neip "
    PRINT_HEX FRAME_eip(%ebp)
    PRINT " cs "
    PRINT_HEX FRAME_cs(%ebp)
    PRINT " eflags "
    PRINT_HEX FRAME_eflags(%ebp)
    PRINT " esp "
    leal FRAME_esp(%ebp), %esi      # a trap within ring 1 leaves no stack pointer in the frame
    PRINT_HEX %esi
    PRINT "\neax "
    PRINT_HEX FRAME_eax(%ebp)
    PRINT " ebx "
    PRINT_HEX FRAME_ebx(%ebp)
    PRINT " ecx "
    PRINT_HEX FRAME_ecx(%ebp)
    PRINT " edx "
    PRINT_HEX FRAME_edx(%ebp)
    PRINT "\nesi "
    PRINT_HEX FRAME_esi(%ebp)
    PRINT " edi "
    PRINT_HEX FRAME_edi(%ebp)
    PRINT " ebp "
    PRINT_HEX FRAME_ebp(%ebp)
    PRINT "\n"
    PANIC "trap in the kernel"

# EAX = kernel address; gives the lower half of its level 1 entry, 0 if there is none.
kernel_entry:
    pushl %ebx
    movl %eax, %ebx
    shrl $21, %eax
    andl $511, %eax
    movl kernel_table, %edx
    leal (%edx,%eax,8), %edx
    xorl %eax, %eax
    testb $PTE_P, (%edx)
    jz 1f
    movl (%edx), %eax
    movl 4(%edx), %edx
    call entry_page
    shrl $12, %ebx
    andl $511, %ebx
    movl (%eax,%ebx,8), %eax
1:  popl %ebx
    ret

# A trap that is the process's own fault. EBP = frame, EBX = vector, EDX = signal, ESI = address, EDI = error
# code. A process without a handler for the signal gets a line on the console and ends.
user_trap:
    pushl %edx
    movl %edx, %eax
    call signal_caught
    testl %eax, %eax
    jnz 1f
    movl current, %eax
    leal PROC_comm(%eax), %eax
    call print_string
    PRINT "["
    movl current, %eax
    PRINT_DEC PROC_pid(%eax)
    PRINT "]: trap "
    PRINT_DEC %ebx
    PRINT " at "
    PRINT_HEX %esi
    PRINT ", eip "
    PRINT_HEX FRAME_eip(%ebp)
    PRINT ", error code "
    PRINT_HEX %edi
    PRINT "\n"
    popl %eax
    jmp process_exit
1:  popl %edx
    movl current, %eax
    jmp signal_send
