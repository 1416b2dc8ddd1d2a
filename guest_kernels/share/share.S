# One processor for several domains: who sleeps leaves it to the others, and has it back at once.
#
# Observe: alone, a domain that only waits for its timer has the processor for little of the time, and the hypervisor
# is idle. Beside domains that compute (the word `busy` on their command line) it still wakes in time, for
# who has used little goes before who has used much; and those share what it leaves.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "systime.inc"
    .include "events.inc"
    .include "cmdline.inc"

    XEN_NOTES share

.equ MILLISECOND, 1000000
.equ PERIOD, 20 * MILLISECOND
.equ PERIODS, 10
.equ WORK, 200000                   # instructions between two looks at the clock
.equ RUNNING, run_states + VCPU_RUNSTATE_INFO_time + 8 * RUNSTATE_running

    .bss
    .balign 8
began:                              # system time
    .skip 8
deadline:
    .skip 8
had:                                # nanoseconds of the processor, before it all began
    .skip 8
run_states:
    .skip VCPU_RUNSTATE_INFO_sizeof
periods:
    .skip 4

    .text
    .type main, @function
main:
    call events_init
    xorl %ecx, %ecx
    movl $VCPUOP_stop_periodic_timer, %ebx
    HYPERCALL vcpu_op
    MUST stop_periodic_timer
    movl $VIRQ_TIMER, %eax
    xorl %edx, %edx
    call bind_virq
    call unmask_port
    movb $0, UPCALL_MASK
    call ask_run_states
    movl RUNNING, %eax
    movl RUNNING + 4, %edx
    movl %eax, had
    movl %edx, had + 4
    call system_time
    movl %eax, began
    movl %edx, began + 4
    movl %eax, deadline
    movl %edx, deadline + 4
    movl $PERIODS, periods
1:  addl $PERIOD, deadline
    adcl $0, deadline + 4
    movl $busy_word, %eax
    call cmdline_word
    testl %eax, %eax
    jz 2f
    call compute
    jmp 3f
2:  call sleep
3:  decl periods
    jnz 1b
    jmp report

# The processor is ours until `deadline`, or as much of it as we are given.
    .type compute, @function
compute:
    movl $WORK, %ecx
    loop .
    call system_time
    subl deadline, %eax
    sbbl deadline + 4, %edx
    js compute
    ret

# Until `deadline`, and nothing to do.
    .type sleep, @function
sleep:
    movb $1, UPCALL_MASK            # a deadline that has passed must not go off before there is a sleep to end
    # exercise share: ask for an event at `deadline` (set_timer_op: EBX low, ECX high), then `block`
    # instead: call compute
    movl deadline, %ebx
    movl deadline + 4, %ecx
    HYPERCALL set_timer_op
    MUST set_timer_op
    call block
    # exercise end
    ret

# What the hypervisor counted: the time in each state.
    .type ask_run_states, @function
ask_run_states:
    movl $VCPUOP_get_runstate_info, %ebx
    xorl %ecx, %ecx
    movl $run_states, %edx
    HYPERCALL vcpu_op
    MUST get_runstate_info
    ret

    .type report, @function
report:
    call ask_run_states
    call system_time
    subl began, %eax
    sbbl began + 4, %edx
    movl $100, %ecx                 # percents: the time of so many
    divl %ecx
    movl %eax, %ecx
    movl RUNNING, %eax
    movl RUNNING + 4, %edx
    subl had, %eax
    sbbl had + 4, %edx
    divl %ecx
    movl %eax, %ebx
    PRINT_DEC $PERIODS
    PRINT " periods, and it had the processor for "
    cmpl $50, %ebx
    jae 1f
    PRINT "less than half of the time\n"
    ret
1:  PRINT_DEC %ebx
    PRINT " percent of the time\n"
    ret

    .section .rodata
busy_word:
    .asciz "busy"
