# A worker that sleeps while there is no work, and a wake-up that it may lose.
#
# Observe: vcpu 0 looks whether there is work, and blocks if there is none. When work and its event come between the
# look and the sleep, the upcall has taken the event, nothing is pending any more, and vcpu 0 sleeps for ever. Where
# turns are long that never happens; `paravane explore lostwakeup` finds a schedule on which it does. With -D MENDED
# vcpu 0 masks upcalls before it looks: SCHEDOP_block unmasks them and sleeps in one step, and does not sleep when an
# event is pending.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "vcpus.inc"

    XEN_NOTES lostwakeup

.equ ITEMS, 3

    .bss
    .balign 16
    .skip PAGE_SIZE
giver_stack:
work:                               # an item, or 0; the giver sets it, the worker clears it
    .skip 4
work_port:                          # wakes vcpu 0
    .skip 4
done_port:                          # wakes vcpu 1
    .skip 4

    .text
    .type main, @function
main:
    call events_init
    xorl %eax, %eax
    call bind_ipi
    movl %eax, work_port
    call unmask_port
    MUST unmask_port
    movl $1, %eax
    call bind_ipi                   # stays masked: vcpu 1 polls it
    movl %eax, done_port
    movl $1, %eax
    movl $giver, %edx
    movl $giver_stack, %ecx
    call start_vcpu
    cmpl $-ENOENT, %eax
    jne 1f
    PANIC "this kernel needs a domain of 2 vcpus"
1:  MUST start_vcpu
    movb $0, UPCALL_MASK
    movl $ITEMS, %ebx
2:  call wait_for_work
    movl $0, work
    movl done_port, %eax
    call send_event
    MUST send
    decl %ebx
    jnz 2b
    PRINT_DEC $ITEMS
    PRINT " items of work are done\n"
    ret

# Until there is work. The event itself is taken by the upcall, which has nothing else to do.
    .type wait_for_work, @function
wait_for_work:
.ifdef MENDED
    movb $1, UPCALL_MASK
.endif
    cmpl $0, work
    jne 1f
    call block                      # here it may be too late
    jmp wait_for_work
1:
.ifdef MENDED
    movb $0, UPCALL_MASK            # what is pending still comes with the next return from a hypercall
.endif
    ret

# vcpu 1: gives one item after the other.
giver:
    movl $1, work
    movl work_port, %eax
    call send_event
    MUST send
1:  movl done_port, %eax
    call wait_event
    cmpl $0, work
    jne 1b
    jmp giver
