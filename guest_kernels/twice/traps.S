# The way in and out: stubs of the traps, system calls, and what becomes of a fault.

    .include "twice.inc"

# A handler's stub: makes the frame alike whether the processor gave an error code or not.
.macro TRAP_STUB vector, has_error=0
    .globl trap_\vector
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

# Interrupts start here.
FUNCTION interrupt_entry
    pushl $0
    pushl $VECTOR_INTERRUPT

trap_entry:
    pushal
    movl %esp, %ebp
    KERNEL_SEGMENTS
    movl FRAME_vector(%ebp), %ebx
    cmpl $VECTOR_INTERRUPT, %ebx
    je 2f
    cmpl $VECTOR_PAGE_FAULT, %ebx
    jne 3f
    call fault_address
    movl %eax, %esi
    movl FRAME_error(%ebp), %edx
    call page_fault
    testl %eax, %eax
    jnz 3f
FUNCTION trap_done
    testl $2, FRAME_cs(%ebp)        # of ring 3?
    jnz return_to_user
    jmp machine_return
2:  call interrupt
    jmp trap_done
3:  testl $2, FRAME_cs(%ebp)
    jz 4f
    leal 128(%ebx), %eax            # a fault of the program's own
    jmp process_exit
4:  PANIC "a trap in the kernel"

# int $0x80
FUNCTION system_call_entry
    pushl $0
    pushl $0x80
    pushal
    movl %esp, %ebp
    KERNEL_SEGMENTS
    movl FRAME_eax(%ebp), %eax
    movl FRAME_ecx(%ebp), %ecx
    cmpl $NR_CALLS, %eax
    jae 1f
    movl FRAME_edx(%ebp), %edx
    call *calls(,%eax,4)
    movl %eax, FRAME_eax(%ebp)
    jmp return_to_user
1:  movl $-1, FRAME_eax(%ebp)

# EBP = frame of a process: back to ring 3, if it is still its turn.
FUNCTION return_to_user
    cmpl $0, need_resched
    je machine_return
    call schedule
    jmp return_to_user

# write(EBX = bytes, ECX = how many), from user memory alone.
sys_write:
    leal (%ebx,%ecx), %eax
    cmpl %ebx, %eax
    jb 1f
    cmpl $USER_END, %eax
    ja 1f
    movl %ebx, %eax
    movl %ecx, %edx
    call console_write
    xorl %eax, %eax
    ret
1:  movl $-1, %eax
    ret

    .section .rodata
    .balign 4
calls:                              # by SYS_ number
    .long sys_exit, sys_write, sys_getpid, sys_fork, sys_exec, sys_wait, sys_kill, sys_put, sys_get
    .long sys_map, sys_protect, sys_unmap, sys_timer, sys_sleep, sys_phase
.equ NR_CALLS, (. - calls) / 4
