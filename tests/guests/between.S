# What is due is delivered between two portions of a hypercall, and between two entries of a multicall.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"

    XEN_NOTES between

.equ UPDATES, 20000
.equ SOON, 1000000                  # nanoseconds
.equ LATER, 50000000

# Prints a name and a number.
.macro SHOW value, text:vararg
    PRINT \text
    PRINT_DEC \value
    PRINT "\n"
.endm

.macro ENTRY number, op, arg0=$0, arg1=$0
    movl $__HYPERVISOR_\op, calls + \number * MULTICALL_ENTRY_sizeof + MULTICALL_ENTRY_op
    movl $99, calls + \number * MULTICALL_ENTRY_sizeof + MULTICALL_ENTRY_result
    movl \arg0, calls + \number * MULTICALL_ENTRY_sizeof + MULTICALL_ENTRY_args
    movl \arg1, calls + \number * MULTICALL_ENTRY_sizeof + MULTICALL_ENTRY_args + 4
.endm

    .bss
    .balign 16
updates:
    .skip UPDATES * MMU_UPDATE_sizeof
calls:
    .skip 8 * MULTICALL_ENTRY_sizeof
done:
    .skip 4
upcalls:                            # how many came
    .skip 4
seen_done:                          # what the last one saw
    .skip 4
seen_results:
    .skip 4 * 4
seen_eip:
    .skip 4

    .text
    .type main, @function
main:
    call map_shared_info
    movl $VCPUOP_stop_periodic_timer, %ebx      # its ticks depend on how fast the host is
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
    MUST vcpu_op
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall, %ecx
    movl $FLAT_KERNEL_CS, %edx
    movl $upcall, %esi
    HYPERCALL set_callbacks
    MUST set_callbacks
    movl $EVTCHNOP_bind_virq, %ebx
    movl $timer, %ecx
    HYPERCALL event_channel_op
    MUST bind_virq
    movl $EVTCHNOP_bind_ipi, %ebx
    movl $ipi, %ecx
    HYPERCALL event_channel_op
    MUST bind_ipi
    movl ipi + EVTCHN_BIND_IPI_port, %eax
    movl %eax, send
    call mask_all_events
    movl timer + EVTCHN_BIND_VIRQ_port, %eax
    btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    movl ipi + EVTCHN_BIND_IPI_port, %eax
    btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    movb $0, UPCALL_MASK
    call during_updates
    call after_send
    call after_block
    jmp already_due

# A timer goes off while a long list is being done.
    .type during_updates, @function
during_updates:
    movl start_info, %ecx
    movl START_INFO_mfn_list(%ecx), %ecx
    movl (%ecx), %eax
    shll $12, %eax
    orl $MMU_MACHPHYS_UPDATE, %eax
    movl $updates, %edi
    movl $UPDATES, %ecx
1:  movl %eax, MMU_UPDATE_ptr(%edi)
    addl $MMU_UPDATE_sizeof, %edi
    loop 1b
    movl $SOON, %eax
    call set_timer
    movl $updates, %ebx
    movl $UPDATES, %ecx
    movl $done, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmu_update
    MUST mmu_update
    SHOW done, "done: "
    SHOW upcalls, "upcalls: "
    cmpl $0, seen_done
    je 2f
    cmpl $UPDATES, seen_done
    jae 2f
    PRINT "between two portions\n"
2:  cmpl $hypercall_page + __HYPERVISOR_mmu_update * 32 + 5, seen_eip
    jne 3f
    PRINT "before int $0x82\n"
3:  ret

# An entry sends an event to its own vcpu.
    .type after_send, @function
after_send:
    ENTRY 0, xen_version
    ENTRY 1, event_channel_op, $EVTCHNOP_send, $send
    ENTRY 2, xen_version
    ENTRY 3, xen_version
    jmp show_calls

# An entry sleeps until the timer goes off.
    .type after_block, @function
after_block:
    ENTRY 0, set_timer_op, $LATER
    ENTRY 1, sched_op, $SCHEDOP_block
    ENTRY 2, xen_version
    ENTRY 3, sched_op, $SCHEDOP_yield
    jmp show_calls

# An upcall is pending, and the mask is cleared in memory, which nobody notices before the next entry.
    .type already_due, @function
already_due:
    movb $1, UPCALL_MASK
    movl $EVTCHNOP_send, %ebx
    movl $send, %ecx
    HYPERCALL event_channel_op
    MUST send
    ENTRY 0, xen_version
    ENTRY 1, xen_version
    ENTRY 2, xen_version
    ENTRY 3, xen_version
    movb $0, UPCALL_MASK
# What each entry had answered when the last upcall came: 1 where it had, 0 where it had not.
    .type show_calls, @function
show_calls:
    movl $calls, %ebx
    movl $4, %ecx
    HYPERCALL multicall
    MUST multicall
    SHOW upcalls, "upcalls: "
    xorl %ebx, %ebx
1:  xorl %eax, %eax
    cmpl $99, seen_results(,%ebx,4)
    setne %al
    PRINT_DEC %eax
    incl %ebx
    cmpl $4, %ebx
    jb 1b
    PRINT " then "
    movl $calls, %ebx
2:  xorl %eax, %eax
    cmpl $99, MULTICALL_ENTRY_result(%ebx)
    setne %al
    PRINT_DEC %eax
    addl $MULTICALL_ENTRY_sizeof, %ebx
    cmpl $calls + 4 * MULTICALL_ENTRY_sizeof, %ebx
    jb 2b
    PRINT "\n"
    ret

# EAX = system time at which the timer goes off.
    .type set_timer, @function
set_timer:
    movl %eax, %ebx
    xorl %ecx, %ecx
    HYPERCALL set_timer_op
    MUST set_timer_op
    ret

upcall:
    pushal
    incl upcalls
    movl done, %eax
    movl %eax, seen_done
    movl 32(%esp), %eax             # EIP of the frame, after the eight registers
    movl %eax, seen_eip
    xorl %ecx, %ecx
    movl $calls, %edx
1:  movl MULTICALL_ENTRY_result(%edx), %eax
    movl %eax, seen_results(,%ecx,4)
    addl $MULTICALL_ENTRY_sizeof, %edx
    incl %ecx
    cmpl $4, %ecx
    jb 1b
    movb $0, shared_info + VCPU_INFO_evtchn_upcall_pending
    movl $0, shared_info + VCPU_INFO_evtchn_pending_sel
    movl $0, shared_info + SHARED_INFO_evtchn_pending
    popal
    movb $0, UPCALL_MASK
    iret

    .data
    .balign 4
timer:                              # struct evtchn_bind_virq
    .long VIRQ_TIMER, 0, 0
ipi:                                # struct evtchn_bind_ipi
    .long 0, 0
send:                               # struct evtchn_send
    .long 0
