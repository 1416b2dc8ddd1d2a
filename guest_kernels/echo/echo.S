# What is typed comes back, on the console that every domain has and on one beside it.
#
# Observe: both are a page of two rings and an event channel, but one is there from the start, in start_info, and the
# other is a device, whose page the kernel grants and whose channel it offers. Whoever finds a ring empty, or full,
# sleeps until an event says that the other side has moved an index. Enter (CR) comes back as CR LF; Ctrl-D ends.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "ports.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "consfront.inc"

    XEN_NOTES echo

.equ CTRL_D, 4

# A console: its page, its port, its number, and how many bytes were typed there.
.equ CONSOLE_ring, 0
.equ CONSOLE_port, 4
.equ CONSOLE_number, 8
.equ CONSOLE_typed, 12
.equ CONSOLE_sizeof, 16

    .bss
    .balign 8
poll:                               # struct sched_poll
    .skip SCHED_POLL_sizeof
ports:                              # of the consoles, for that
    .skip 8
consoles:
    .skip 2 * CONSOLE_sizeof
consoles_end:                       # the end of those there are
    .skip 4

    .section .rodata
console_1:
    .asciz "device/console/1"
greeting:
    .ascii "console 1: what is typed comes back, Ctrl-D ends\r\n"
greeting_end:

    .text
    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    call store_init
    call grants_init
    movl $consoles, %ebx
    movl console_ring, %eax
    movl %eax, CONSOLE_ring(%ebx)
    movl console_port, %eax
    movl %eax, CONSOLE_port(%ebx)
    movl %eax, ports
    PRINT "console 0: what is typed comes back, Ctrl-D ends\n"
    addl $CONSOLE_sizeof, %ebx
    movl $1, poll + SCHED_POLL_nr_ports
    movl $console_1, %eax
    call device_open
    testl %eax, %eax
    jz 1f
    call consfront_connect
    movl $consfront_page, CONSOLE_ring(%ebx)
    movl consfront_port, %eax
    movl %eax, CONSOLE_port(%ebx)
    movl %eax, ports + 4
    incl CONSOLE_number(%ebx)
    incl poll + SCHED_POLL_nr_ports
    PRINT "console 1 is there as well\n"
    movl $greeting, %eax
    movl $greeting_end - greeting, %edx
    call write
    addl $CONSOLE_sizeof, %ebx
1:  movl %ebx, consoles_end
    movl $ports, poll + SCHED_POLL_ports

# Whatever was typed anywhere, until there is nothing; then sleep.
2:  movl $consoles, %ebx
3:  call echo
    testl %eax, %eax
    jnz 4f
    addl $CONSOLE_sizeof, %ebx
    cmpl consoles_end, %ebx
    jne 3b
    call sleep
    jmp 2b

4:  PRINT "ended on console "
    PRINT_DEC CONSOLE_number(%ebx)
    PRINT ", after "
    PRINT_DEC consoles + CONSOLE_typed
    PRINT " and "
    PRINT_DEC consoles + CONSOLE_sizeof + CONSOLE_typed
    PRINT " bytes\n"
    ret

# EBX = console: sends back what was typed on it. Gives 1 after Ctrl-D, else 0.
    .type echo, @function
echo:
    pushl %esi
    movl CONSOLE_ring(%ebx), %esi
    movl XENCONS_INTERFACE_in_cons(%esi), %edx
    cmpl XENCONS_INTERFACE_in_prod(%esi), %edx
    je 4f
1:  andl $XENCONS_IN_SIZE - 1, %edx
    movzbl XENCONS_INTERFACE_in(%esi,%edx), %eax
    incl XENCONS_INTERFACE_in_cons(%esi)
    incl CONSOLE_typed(%ebx)
    cmpb $CTRL_D, %al
    je 3f
    pushl %eax
    call put
    popl %eax
    cmpb $'\r', %al
    jne 2f
    movb $'\n', %al
    call put
2:  movl XENCONS_INTERFACE_in_cons(%esi), %edx
    cmpl XENCONS_INTERFACE_in_prod(%esi), %edx
    jne 1b
    call notify                     # of both: what was typed is taken, and comes back
    jmp 4f
3:  call notify
    movl $1, %eax
    popl %esi
    ret
4:  xorl %eax, %eax
    popl %esi
    ret

# EBX = console, EAX = bytes, EDX = how many.
    .type write, @function
write:
    pushl %esi
    pushl %edi
    movl %eax, %esi
    leal (%eax,%edx), %edi
1:  lodsb
    call put
    cmpl %edi, %esi
    jne 1b
    call notify
    popl %edi
    popl %esi
    ret

# EBX = console, AL = byte: into its ring, sleeping while that is full. The index that is stored publishes the byte
# before it: x86 keeps stores in order.
    .type put, @function
put:
    pushl %esi
    movl CONSOLE_ring(%ebx), %esi
1:  movl XENCONS_INTERFACE_out_prod(%esi), %edx
    movl %edx, %ecx
    subl XENCONS_INTERFACE_out_cons(%esi), %ecx
    cmpl $XENCONS_OUT_SIZE, %ecx
    jb 2f
    pushl %eax
    call notify
    movl XENCONS_INTERFACE_out_prod(%esi), %edx
    subl XENCONS_INTERFACE_out_cons(%esi), %edx
    cmpl $XENCONS_OUT_SIZE, %edx
    jb 3f
    call sleep
3:  popl %eax
    jmp 1b
2:  andl $XENCONS_OUT_SIZE - 1, %edx
    movb %al, XENCONS_INTERFACE_out(%esi,%edx)
    incl XENCONS_INTERFACE_out_prod(%esi)
    popl %esi
    ret

# EBX = console: tells the other side that an index has moved.
    .type notify, @function
notify:
    movl CONSOLE_port(%ebx), %eax
    jmp send_event

# Sleeps until a console has an event. The bits are cleared before the rings are looked at again, or one that comes in
# between would be lost.
    .type sleep, @function
sleep:
    pushl %ebx
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    movl ports, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    movl ports + 4, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    popl %ebx
    ret
