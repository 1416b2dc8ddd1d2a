# Time: what it is, how a kernel is woken, and where it has gone.
#
# Observe: system time is read without a hypercall, from a record that is read again when its version has changed
# meanwhile, and goes on by the time-stamp counter in between. A timer that is set to a time which has passed goes off
# at once. The periodic timer ticks who runs and wakes nobody. What a vcpu slept is in its run states as blocked, and
# what it had of the processor, its virtual time, as running; an hour's sleep costs nothing where the clock is virtual.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "systime.inc"
    .include "events.inc"

    XEN_NOTES clock

.equ MILLISECOND, 1000000
.equ PERIOD, 20                     # milliseconds

# Prints `text` and the tenths of a second from `from` to now: finer than that, a clock that follows the host's shows
# what the host does beside.
.macro ELAPSED text:vararg
    PRINT \text
    call print_elapsed
.endm

    .bss
    .balign 8
from:                               # what is measured began then
    .skip 8
deadline:
    .skip 8
ticks:
    .skip 4
timer_port:
    .skip 4
    .balign 8
run_states:
    .skip VCPU_RUNSTATE_INFO_sizeof

    .data
    .balign 4
single_shot:                        # struct vcpu_set_singleshot_timer
    .quad 0
    .long 0
    .balign 4
poll:                               # struct sched_poll
    .long 0, 0
    .quad 0
    .balign 4
area:
    .long run_states, 0
period:
    .quad PERIOD * MILLISECOND

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
    movl %eax, timer_port
    movl $ticked, %edx
    call set_handler
    movl timer_port, %eax
    call unmask_port
    movl $VMASST_CMD_enable, %ebx
    movl $VMASST_TYPE_runstate_update_flag, %ecx
    HYPERCALL vm_assist
    MUST vm_assist
    movl $area, %edx
    xorl %ecx, %ecx
    movl $VCPUOP_register_runstate_memory_area, %ebx
    HYPERCALL vcpu_op
    MUST register_runstate_memory_area
    movb $0, UPCALL_MASK
    call show_real_time
    call one_shot
    call past
    call by_poll
    call periodic
    call an_hour
    call show_run_states
    ret

# From now on.
    .type begin, @function
begin:
    call system_time
    movl %eax, from
    movl %edx, from + 4
    ret

# EAX = milliseconds: `deadline` is so long after `from`.
    .type set_deadline, @function
set_deadline:
    movl $MILLISECOND, %ecx
    mull %ecx
    addl from, %eax
    adcl from + 4, %edx
    movl %eax, deadline
    movl %edx, deadline + 4
    ret

    .type print_elapsed, @function
print_elapsed:
    call system_time
    subl from, %eax
    sbbl from + 4, %edx
    call print_tenths
    ret

# EDX:EAX in nanoseconds.
    .type print_tenths, @function
print_tenths:
    movl $100 * MILLISECOND, %ecx
    divl %ecx
    call print_dec
    PRINT " tenths of a second\n"
    ret

# The wall clock says when system time was 0, by its own version.
    .type show_real_time, @function
show_real_time:
1:  movl shared_info + SHARED_INFO_wc_version, %ecx
    testl $1, %ecx
    jnz 1b
    movl shared_info + SHARED_INFO_wc_sec, %edi
    cmpl shared_info + SHARED_INFO_wc_version, %ecx
    jne 1b
    PRINT "seconds since 1970: "
    PRINT_DEC %edi
    PRINT "\n"
    ret

    .type ticked, @function
ticked:
    incl ticks
    ret

    .type one_shot, @function
one_shot:
    call begin
    movl $1000, %eax
    call set_deadline
    # exercise clock: ask for an event at `deadline`: set_timer_op takes its low word in EBX, its high one in ECX
    movl deadline, %ebx
    movl deadline + 4, %ecx
    HYPERCALL set_timer_op
    MUST set_timer_op
    # exercise end
    call block
    ELAPSED "a timer set for a second from now: "
    ret

    .type past, @function
past:
    movl $0, ticks
    call begin
    movl $single_shot, %edx
    xorl %ecx, %ecx
    movl $VCPUOP_set_singleshot_timer, %ebx
    HYPERCALL vcpu_op
    MUST set_singleshot_timer
    ELAPSED "one set for the beginning: "
    PRINT "and it went off: "
    PRINT_DEC ticks
    PRINT "\n"
    ret

    .type by_poll, @function
by_poll:
    call begin
    movl $250, %eax
    call poll_for
    ELAPSED "a poll with a time limit: "
    ret

# EAX = milliseconds after `from`.
    .type poll_for, @function
poll_for:
    pushl %ebx
    call set_deadline
    movl deadline, %eax
    movl %eax, poll + SCHED_POLL_timeout
    movl deadline + 4, %eax
    movl %eax, poll + SCHED_POLL_timeout + 4
    movl $poll, %ecx
    movl $SCHEDOP_poll, %ebx
    HYPERCALL sched_op
    MUST poll
    popl %ebx
    ret

# Computes for ten periods, and sleeps for ten: only while it runs is it ticked.
    .type periodic, @function
periodic:
    call begin
    movl $period, %edx
    xorl %ecx, %ecx
    movl $VCPUOP_set_periodic_timer, %ebx
    HYPERCALL vcpu_op
    MUST set_periodic_timer
    movl $0, ticks
    movl $PERIOD * 10, %eax
    call set_deadline
1:  call system_time
    subl deadline, %eax
    sbbl deadline + 4, %edx
    js 1b
    PRINT "ticks while it computes for ten periods: "
    call how_many
    movl $0, ticks
    call begin
    movl $PERIOD * 10, %eax
    call poll_for
    PRINT "while it sleeps as long, with one as it wakes: "
    call how_many
    movl $VCPUOP_stop_periodic_timer, %ebx
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
    MUST stop_periodic_timer
    ret

# The last one may come as the time is over, or not any more.
    .type how_many, @function
how_many:
    cmpl $9, ticks
    jb 1f
    cmpl $11, ticks
    ja 1f
    PRINT "ten\n"
    ret
1:  cmpl $2, ticks
    ja 2f
    PRINT "hardly any\n"
    ret
2:  PRINT_DEC ticks
    PRINT "\n"
    ret

    .type an_hour, @function
an_hour:
    call begin
    movl $3600000, %eax
    call poll_for
    ELAPSED "an hour: "
    ret

# STATE RUNSTATE_running, "text": how long it was in that state.
.macro STATE state:req, text:vararg
    PRINT \text
    movl run_states + VCPU_RUNSTATE_INFO_time + 8 * \state, %eax
    movl run_states + VCPU_RUNSTATE_INFO_time + 8 * \state + 4, %edx
    call print_tenths
.endm

# The area is up to date as the vcpu was switched in last.
    .type show_run_states, @function
show_run_states:
    STATE RUNSTATE_blocked, "of all that, blocked: "
    STATE RUNSTATE_running, "and running, which is its virtual time: "
    btl $31, run_states + VCPU_RUNSTATE_INFO_state_entry_time + 4
    jc 1f
    PRINT "and its record is not being written\n"
1:  ret
