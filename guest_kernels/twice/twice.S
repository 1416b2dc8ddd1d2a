# The same kernel twice: for a PC, where it is privileged, and for Xen, where it is not.
#
# Observe: processes in ring 3 with system calls, fork with copy-on-write, pages on demand, context switches, batches
# of page-table updates and a timer, all of it common code; what is below differs (bare.S, xen.S; twice.inc names the
# functions). The console is the same, whatever carries the kernel out: nothing in it depends on time. Which work the
# kernel is at is in the word `phase`, so that whoever counts can say what each kind of work costs.

    .include "twice.inc"

    .bss
    .balign 4
    .globl phase, kernel_space
phase:                              # PHASE_
    .skip 4
kernel_space:                       # level 3 table of an address space without user pages
    .skip 4
frames_before:
    .skip 4

    .section .rodata
    .balign 4
    .globl phase_names
phase_names:                        # NR_PHASES strings, one after the other
    .asciz "other", "system calls", "page faults", "fork", "exec", "context switches", "table updates", "timer"
    .byte 0                         # the end of them
all_free:
    .ascii "every frame is free again\n"
    .equ ALL_FREE, . - all_free

    .text
FUNCTION main
    call frames_init
    call machine_init
    call space_new
    movl %eax, kernel_space
    call space_commit
    movl free_count, %eax
    movl %eax, frames_before
    jmp start_init

# EBX = PHASE_: what follows is work of this kind.
FUNCTION sys_phase
    movl %ebx, phase
    xorl %eax, %eax
    ret

# The first process has ended; EAX = its status. What it and its children had must have come back.
FUNCTION init_ended
    testl %eax, %eax
    jnz 1f
    movl free_count, %eax
    cmpl frames_before, %eax
    jne 2f
    movl $all_free, %eax
    movl $ALL_FREE, %edx
    call console_write
    jmp exit
1:  PANIC "the first process failed"
2:  PANIC "frames are missing"
