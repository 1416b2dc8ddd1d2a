# SCHEDOP_poll: to sleep until one of some event channels has fired, or for a while, with upcalls masked.
#
# Observe: what has fired already keeps nobody waiting, masked or not; a port that was never fired wakes nobody, its
# time-out does; of several ports any will do; two vcpus may wait for one port, and both wake.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "vcpus.inc"

    XEN_NOTES poll

.equ MANY, 128
.equ A_WHILE, 5000000               # nanoseconds

    .bss
    .balign 16
stacks:
    .skip 3 * PAGE_SIZE
request:                            # struct sched_poll
    .skip SCHED_POLL_sizeof
run_states:
    .skip VCPU_RUNSTATE_INFO_sizeof
ports:
    .skip MANY * 4
loop_port:
    .skip 4
ipi:
    .skip 4
began:
    .skip 8
woken:                              # vcpus that came back from their sleep
    .skip 4

    .text
    .type main, @function
main:
    call events_init
    xorl %eax, %eax
    call bind_ipi
    movl %eax, ipi
    call pending_already
    call times_out
    call several
    call refused
    movl $ipi, request + SCHED_POLL_ports
    movl $1, request + SCHED_POLL_nr_ports
    call two_vcpus
    ret

# POLL ports, count: waits; prints the text, and how it ended.
.macro POLL text:req, ports, count
    movl \ports, request + SCHED_POLL_ports
    movl \count, request + SCHED_POLL_nr_ports
    call do_poll
    pushl %eax
    PRINT "\text: "
    popl %eax
    call print_errno
    PRINT "\n"
.endm

    .type do_poll, @function
do_poll:
    pushl %ebx
    movl $SCHEDOP_poll, %ebx
    movl $request, %ecx
    HYPERCALL sched_op
    popl %ebx
    ret

    .type fire, @function
fire:
    movl ipi, %eax
    call send_event
    MUST send
    ret

    .type forget, @function
forget:
    movl ipi, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    ret

    .type pending_already, @function
pending_already:
    call fire
    POLL "a port that has fired, masked", $ipi, $1
    call forget
    ret

# The time-out is a system time; the virtual time-stamp counter counts the same nanoseconds.
    .type times_out, @function
times_out:
    rdtsc
    movl %eax, began
    movl %edx, began + 4
    addl $A_WHILE, %eax
    adcl $0, %edx
    movl %eax, request + SCHED_POLL_timeout
    movl %edx, request + SCHED_POLL_timeout + 4
    POLL "a port that does not fire, for 5 ms", $ipi, $1
    call elapsed
    POLL "the same, a time that has passed", $ipi, $1
    rdtsc
    addl $A_WHILE, %eax
    adcl $0, %edx
    movl %eax, request + SCHED_POLL_timeout
    movl %edx, request + SCHED_POLL_timeout + 4
    POLL "no port at all, for 5 ms", $0, $0
    movl $0, request + SCHED_POLL_timeout
    movl $0, request + SCHED_POLL_timeout + 4
    ret

    .type elapsed, @function
elapsed:
    rdtsc
    subl began, %eax
    sbbl began + 4, %edx
    cmpl $A_WHILE, %eax
    jb 1f
    PRINT "at least 5 ms have passed\n"
    ret
1:  PRINT "it woke too early\n"
    ret

# The last of so many has fired.
    .type several, @function
several:
    movl ipi, %edx
    movl %edx, ports + 4 * (MANY - 1)
    movl $MANY - 2, %ebx
1:  xorl %eax, %eax
    call bind_ipi
    movl %eax, ports(,%ebx,4)
    decl %ebx
    jns 1b
    call fire
    POLL "128 ports, the last has fired", $ports, $MANY
    call forget
    ret

    .type refused, @function
refused:
    POLL "129 ports", $ports, $MANY + 1
    movl $1000, loop_port
    POLL "a port that is not in use", $loop_port, $1
    POLL "a list that cannot be read", $0xF5000000, $1
    call fire
    movl $ipi, %eax
    POLL "a good one before it, which has fired", $ipi, $1
    call forget
    ret

# Vcpus 1 and 2 sleep for one port, and one event wakes both.
    .type two_vcpus, @function
two_vcpus:
    movl $2, %ebx
1:  movl %ebx, %eax
    movl $other, %edx
    movl %ebx, %ecx
    shll $12, %ecx
    addl $stacks, %ecx
    call start_vcpu
    MUST start_vcpu
    movl %ebx, %eax
    call wait_until_asleep
    decl %ebx
    jnz 1b
    call fire
2:  call yield
    cmpl $2, woken
    jne 2b
    PRINT "two vcpus for one port, both woken: "
    PRINT_DEC woken
    PRINT "\n"
    ret

# EAX = vcpu.
    .type wait_until_asleep, @function
wait_until_asleep:
    pushl %ebx
    movl %eax, %ebx
1:  call yield
    movl $VCPUOP_get_runstate_info, %eax
    movl %ebx, %edx
    movl $run_states, %ecx
    call vcpu_op
    MUST get_runstate_info
    cmpl $RUNSTATE_blocked, run_states + VCPU_RUNSTATE_INFO_state
    jne 1b
    popl %ebx
    ret

# EAX = the own vcpu.
other:
    movl %eax, %esi
    movl $SCHEDOP_poll, %ebx
    movl $request, %ecx
    HYPERCALL sched_op
    lock incl woken
    movl $VCPUOP_down, %eax
    movl %esi, %edx
    xorl %ecx, %ecx
    call vcpu_op
