# Events from Xen: the timer that takes the processor from a process that does not give it up, and the console.
#
# Invariant: upcalls are masked in the kernel. The gates mask them on the way in, return_to_user unmasks them as
# its last act; one that comes between that and its iret finds ring 1 and leaves everything for the next time.

    .include "unix.inc"

.equ SLICE, 10000000                # nanoseconds
.equ VECTOR_EVENT, 0x100            # in a frame: no vector of the processor

    .bss
    .balign 4
    .globl need_resched, live_processes
need_resched:                       # somebody else's turn before the next return to ring 3
    .skip 4
live_processes:
    .skip 4
timer_armed:
    .skip 4
timer_bind:                         # struct evtchn_bind_virq
    .skip EVTCHN_BIND_VIRQ_sizeof

    .text
FUNCTION events_init
    pushl %ebx
    movl $VIRQ_TIMER, timer_bind + EVTCHN_BIND_VIRQ_virq
    movl $EVTCHNOP_bind_virq, %ebx
    movl $timer_bind, %ecx
    HYPERCALL event_channel_op
    testl %eax, %eax
    jnz 1f
    movl timer_bind + EVTCHN_BIND_VIRQ_port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    movl console_port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    movl $FLAT_KERNEL_CS, %ebx
    movl $event_entry, %ecx
    movl $FLAT_KERNEL_CS, %edx
    movl $failsafe_entry, %esi
    HYPERCALL set_callbacks
    testl %eax, %eax
    jnz 1f
    popl %ebx
    ret
1:  PANIC "no events"

# Xen has something for us.
event_entry:
    pushl $-1
    pushl $VECTOR_EVENT
    pushal
    movl %esp, %ebp
    KERNEL_SEGMENTS
    testl $2, FRAME_cs(%ebp)
    jz 1f
    call take_events
    jmp return_to_user
1:  movl $1, need_resched           # return_to_user was about to leave
    call take_events
    popal
    addl $8, %esp
    movb $0, shared_info + VCPU_INFO_evtchn_upcall_mask
    iret

# Xen could not load one of the selectors that were in use: DS, ES, FS, GS are on the stack above the frame, and
# one of them names a descriptor that a process has taken back. None is needed to go on.
failsafe_entry:
    addl $16, %esp
    pushl %eax
    KERNEL_SEGMENTS
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movb $0, shared_info + VCPU_INFO_evtchn_upcall_mask
    popl %eax
    iret

# Accepts all events: clearing what says that there are some comes before looking at what they are about.
FUNCTION take_events
    movb $0, shared_info + VCPU_INFO_evtchn_upcall_pending
    xorl %eax, %eax
    xchgl %eax, shared_info + VCPU_INFO_evtchn_pending_sel
    movl console_port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    movl timer_bind + EVTCHN_BIND_VIRQ_port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    jnc tty_poll
    movl $0, timer_armed
    movl $1, need_resched
    jmp tty_poll

# A process is about to run that others may have to wait for: the timer ends its turn. With one process there is
# nobody to wait.
FUNCTION start_slice
    cmpl $0, timer_armed
    jne 1f
    cmpl $1, live_processes
    jbe 1f
    pushl %ebx
    movl $1, timer_armed
    call system_time
    addl $SLICE, %eax
    adcl $0, %edx
    movl %eax, %ebx
    movl %edx, %ecx
    HYPERCALL set_timer_op
    popl %ebx
1:  ret
