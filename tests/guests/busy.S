# Computes, with a hypercall now and then, until a timer goes off: how many hypercalls that took.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"

    XEN_NOTES busy

.equ ROUNDS, 100000                 # of computing between two hypercalls
.equ PATIENCE, 20000                # hypercalls
.equ WAIT, 200000000                # nanoseconds

    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    movl $VCPUOP_stop_periodic_timer, %ebx
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
    MUST vcpu_op
    movl $EVTCHNOP_bind_virq, %ebx
    movl $timer, %ecx
    HYPERCALL event_channel_op
    MUST bind_virq
    movl $WAIT, %ebx
    xorl %ecx, %ecx
    HYPERCALL set_timer_op
    MUST set_timer_op
    xorl %esi, %esi
1:  movl $ROUNDS, %ecx
2:  decl %ecx
    jnz 2b
    movl $XENVER_version, %ebx
    HYPERCALL xen_version
    incl %esi
    cmpl $PATIENCE, %esi
    je 3f
    movl timer + EVTCHN_BIND_VIRQ_port, %eax
    btl %eax, shared_info + SHARED_INFO_evtchn_pending
    jnc 1b
    PRINT "went off\n"
    ret
3:  PRINT "did not go off\n"
    ret

    .data
    .balign 4
timer:                              # struct evtchn_bind_virq
    .long VIRQ_TIMER, 0, 0
