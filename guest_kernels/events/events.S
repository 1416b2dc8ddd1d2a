# Event channels: interrupts to itself, over a loop, by virtual interrupt; masked in both ways, counted and in order.
#
# Observe: an event is handled before the hypercall that sends it returns, unless its port or all upcalls are masked;
# masked, it waits, however often it was sent. The end that binds last finds an event waiting, for those that were sent
# while there was no other end. Built with -D FIFO=1 the same kernel asks for the FIFO ABI: what waits comes out in the
# order it was sent, and by priority, where two levels know only the order of the ports.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"

    XEN_NOTES events

.equ LOOP, 4                        # its two ends, by the order in which ports are given
.equ OTHER, 5

# EAX = the result so far, 0 or a port: prints `text`, and that or the errno's name.
.macro RESULT text:vararg
    pushl %eax
    PRINT \text
    popl %eax
    call print_result
.endm

# Prints `text` and the ports whose events were handled since the last time.
.macro HANDLED text:vararg
    PRINT \text
    call print_handled
.endm

.macro SEND port:req
    movl $\port, %eax
    call send_event
    MUST send
.endm

    .bss
    .balign 4
ipi:
    .skip 4
timer:
    .skip 4
handled:                            # ports, in the order their events were handled
    .skip 64 * 4
nr_handled:
    .skip 4

    .text
    .type main, @function
main:
    call events_init
    movl $3, %eax
    movl $EVTCHN_FIFO_PRIORITY_MAX, %edx
    call set_priority
    RESULT "a priority by two levels: "
    EVTCHN expand_array, page
    RESULT "event words without a control block: "
.ifdef FIFO
    call use_fifo
    RESULT "the FIFO ABI: "
.endif
    movb $0, UPCALL_MASK
    call to_itself
    call over_a_loop
    call masked_port
    call masked_upcalls
.ifdef FIFO
    call by_priority
.endif
    call virtual_interrupt
    call show_ports
    call other_end_closes
    call old_form
    jmp refusals

    .type to_itself, @function
to_itself:
    xorl %eax, %eax
    call bind_ipi
    movl %eax, ipi
    RESULT "an interrupt to itself: port "
    movl ipi, %eax
    call listen
    movl ipi, %eax
    call send_event
    HANDLED "sent once: "
    ret

    .type over_a_loop, @function
over_a_loop:
    movl $DOMID_SELF, %eax
    call alloc_unbound
    RESULT "one end of a loop: port "
    movl $DOMID_SELF, %eax
    movl $LOOP, %edx
    call bind_interdomain
    RESULT "the other end: port "
    movl $LOOP, %eax
    call listen
    movl $OTHER, %eax
    call listen
    HANDLED "binding it sent: "
    SEND LOOP
    HANDLED "sent through one: "
    SEND OTHER
    HANDLED "sent through the other: "
    ret

    .type masked_port, @function
masked_port:
    movl $LOOP, %eax
    call mask_port
    SEND OTHER
    SEND OTHER
    SEND OTHER
    HANDLED "three times to a masked port: "
    movl $LOOP, %eax
    call unmask_port
    HANDLED "unmasked: "
    ret

    .type masked_upcalls, @function
masked_upcalls:
    movb $1, UPCALL_MASK
    SEND OTHER
    SEND LOOP
    movl ipi, %eax
    call send_event
    SEND OTHER
    HANDLED "with upcalls masked: "
    movb $0, UPCALL_MASK
    call yield                      # a return to the kernel: what waits comes now
    HANDLED "in order: "
    ret

.ifdef FIFO
    .type by_priority, @function
by_priority:
    movl $OTHER, %eax
    movl $EVTCHN_FIFO_PRIORITY_MAX, %edx
    call set_priority
    RESULT "the other end is urgent: "
    movl $LOOP, %eax
    movl $EVTCHN_FIFO_PRIORITY_MIN, %edx
    call set_priority
    RESULT "the first one is not: "
    movl $LOOP, %eax
    movl $EVTCHN_FIFO_PRIORITY_MIN + 1, %edx
    call set_priority
    RESULT "less than that: "
    movb $1, UPCALL_MASK
    SEND OTHER
    movl ipi, %eax
    call send_event
    SEND LOOP
    movb $0, UPCALL_MASK
    call yield
    HANDLED "in order: "
    ret
.endif

    .type virtual_interrupt, @function
virtual_interrupt:
    pushl %ebx
    movl $VCPUOP_stop_periodic_timer, %ebx      # the one that every kernel finds running
    xorl %ecx, %ecx
    xorl %edx, %edx
    HYPERCALL vcpu_op
    movl $VIRQ_TIMER, %eax
    xorl %edx, %edx
    call bind_virq
    movl %eax, timer
    RESULT "the timer: port "
    movl timer, %eax
    call listen
    movb $1, UPCALL_MASK
    movl $1, %ebx                   # a time that is over
    xorl %ecx, %ecx
    HYPERCALL set_timer_op
    call block
    HANDLED "a sleep ends: "
    popl %ebx
    ret

# A status for each port up to the last one in use and one more.
    .type show_ports, @function
show_ports:
    pushl %ebx
    movl $0, %ebx
1:  PRINT "port "
    PRINT_DEC %ebx
    PRINT ": "
    movl %ebx, status + EVTCHN_STATUS_port
    EVTCHN status, status
    MUST status
    movl status + EVTCHN_STATUS_status, %eax
    movl states(,%eax,4), %eax
    call print_string
    cmpl $EVTCHNSTAT_interdomain, status + EVTCHN_STATUS_status
    jne 3f
    cmpw $0, status + EVTCHN_STATUS_u_interdomain_dom
    jne 2f
    PRINT " to the control domain"
    jmp 3f
2:  PRINT " to port "
    PRINT_DEC status + EVTCHN_STATUS_u_interdomain_port
3:  PRINT "\n"
    incl %ebx
    cmpl $8, %ebx
    jne 1b
    popl %ebx
    ret

    .type other_end_closes, @function
other_end_closes:
    movl $OTHER, %eax
    call close_port
    RESULT "close the other end: "
    movl $LOOP, %eax
    call send_event
    RESULT "send through the one that is left: "
    HANDLED "and nobody hears: "
    movl $DOMID_SELF, %eax
    movl $LOOP, %edx
    call bind_interdomain
    RESULT "bind to it again: port "
    HANDLED "by which it fires: "
    ret

# The call of the first kernels: the command is in the struct.
    .type old_form, @function
old_form:
    pushl %ebx
    movl $old, %ebx
    HYPERCALL event_channel_op_compat
    RESULT "the old call sends: "
    movl $EVTCHNOP_reset, old
    movl $old, %ebx
    HYPERCALL event_channel_op_compat
    RESULT "and knows no reset: "
    HANDLED "it sent: "
    popl %ebx
    ret

    .type refusals, @function
refusals:
    movl $100, %eax
    call send_event
    RESULT "send through a port that never was: "
    movl timer, %eax
    call send_event
    RESULT "send through the timer's: "
    xorl %eax, %eax
    call close_port
    RESULT "close port 0: "
    movl $VIRQ_TIMER, %eax
    xorl %edx, %edx
    call bind_virq
    RESULT "bind the timer twice: "
    movl $VIRQ_CONSOLE, %eax
    movl $1, %edx
    call bind_virq
    RESULT "a global one on vcpu 1: "
    movl $VIRQ_DEBUG, %eax
    movl $1000, %edx
    call bind_virq
    RESULT "one of vcpu 1000: "
    movl $NR_VIRQS, %eax
    xorl %edx, %edx
    call bind_virq
    RESULT "one too many: "
    movl $LOOP, %edx
    movl $DOMID_SELF, %eax
    call bind_interdomain
    RESULT "bind to a port that has its other end: "
    movl $1000, %eax
    movl $LOOP, %edx
    call bind_interdomain
    RESULT "bind to a domain that is not there: "
    EVTCHN bind_pirq, pirq
    RESULT "a physical interrupt: "
    EVTCHN bind_vcpu, vcpu
    RESULT "move the timer to another vcpu: "
    EVTCHN alloc_unbound, foreign
    RESULT "a port of the control domain: "
    EVTCHN reset, foreign
    RESULT "reset the control domain: "
    EVTCHN unmask, VIRT_BASE-4
    RESULT "a struct that is not there: "
    ret

# EAX = port: unmasks it and notes its events.
    .type listen, @function
listen:
    movl $note, %edx
    pushl %eax
    call set_handler
    popl %eax
    # exercise events: let its events through: `unmask_port`, which takes the port in EAX
    # instead: ret
    jmp unmask_port
    # exercise end

# A handler: EAX = port.
    .type note, @function
note:
    movl nr_handled, %edx
    movl %eax, handled(,%edx,4)
    incl nr_handled
    ret

    .type print_handled, @function
print_handled:
    pushl %ebx
    xorl %ebx, %ebx
    cmpl %ebx, nr_handled
    jne 1f
    PRINT "nothing"
1:  cmpl nr_handled, %ebx
    je 3f
    testl %ebx, %ebx
    jz 2f
    PRINT ", "
2:  PRINT_DEC handled(,%ebx,4)
    incl %ebx
    jmp 1b
3:  movl $0, nr_handled
    PRINT "\n"
    popl %ebx
    ret

# EAX = 0, a negative errno or a port: prints a line.
    .type print_result, @function
print_result:
    testl %eax, %eax
    jg 1f
    call print_errno
    jmp 2f
1:  call print_dec
2:  PRINT "\n"
    ret

    .data
    .balign 4
page:                               # struct evtchn_expand_array
    .long 0, 0
status:                             # struct evtchn_status
    .word DOMID_SELF, 0
    .long 0, 0, 0, 0, 0
old:                                # struct evtchn_op
    .long EVTCHNOP_send, LOOP, 0, 0, 0, 0, 0
pirq:                               # struct evtchn_bind_pirq
    .long 9, 0, 0
vcpu:                               # struct evtchn_bind_vcpu
    .long 6, 0
foreign:                            # struct evtchn_alloc_unbound
    .word 0, DOMID_SELF
    .long 0
states:
    .long closed, unbound, interdomain, 0, virq, own
closed:
    .asciz "closed"
unbound:
    .asciz "unbound"
interdomain:
    .asciz "connected"
virq:
    .asciz "a virtual interrupt"
own:
    .asciz "an interrupt to itself"
