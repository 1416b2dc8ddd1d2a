# A guest that is asked by its control nodes: control/shutdown (poweroff, reboot, suspend) and control/sysrq. It says what
# it was asked for, and empties the node before it does it. With `e` on its command line it names an event channel by
# which it is to be suspended, and forgets control/shutdown. With `d` it takes no request: it never looks at them.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "xenstore.inc"
    .include "watch.inc"
    .include "xenbus.inc"

    XEN_NOTES asked

    .bss
    .balign 4
channel:                            # port by which it is to be suspended
    .skip 4
poll:                               # struct sched_poll
    .skip SCHED_POLL_sizeof
request:                            # what it was asked for last
    .skip XENSTORE_PAYLOAD_MAX + 1
    .balign 4
reason:                             # struct sched_shutdown
    .skip 4

    .section .rodata
shutdown_node:
    .asciz "control/shutdown"
sysrq_node:
    .asciz "control/sysrq"
suspend_folder:
    .asciz "device/suspend"
channel_node:
    .asciz "event-channel"
nothing:
    .asciz ""

    .text
    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    call store_init
    movl start_info, %ebx
    cmpb $'e', START_INFO_cmd_line(%ebx)
    je by_channel
    PRINT "ready\n"
    cmpb $'d', START_INFO_cmd_line(%ebx)
    je deaf
    movl $shutdown_node, %eax
    call store_watch
    movl $sysrq_node, %eax
    call store_watch
wait:
    call store_wait
    movl $sysrq_node, %eax
    call take
    testl %eax, %eax
    jz 1f
    PRINT "sysrq: "
    movl $request, %eax
    call print_string
    PRINT "\n"
1:  movl $shutdown_node, %eax
    call take
    testl %eax, %eax
    jz wait
    PRINT "asked: "
    movl $request, %eax
    call print_string
    PRINT "\n"
    movb request, %al
    cmpb $'p', %al
    je exit
    cmpb $'s', %al
    jne 2f
    call suspend
    jmp wait
2:  call console_flush
    movl $SHUTDOWN_reboot, %eax
    jmp shutdown

# EAX = node: empties it. Gives 0 if it was empty, else its value is in `request`.
    .type take, @function
take:
    pushl %ebx
    movl %eax, %ebx
    call store_read
    testl %eax, %eax
    jz 1f
    leal 1(%edx), %ecx              # with its zero byte
    movl %edx, %eax
    testl %eax, %eax
    jz 1f
    movl $store_reply, %edx
    movl $request, %eax
    call memory_copy
    movl %ebx, %eax
    movl $nothing, %edx
    call store_write
    movl $1, %eax
1:  popl %ebx
    ret

# The third argument of the hypercall is where start_info is: whoever restores the domain looks there.
    .type suspend, @function
suspend:
    pushl %ebx
    call console_flush
    movl start_info, %eax
    call va_to_mfn
    movl %eax, %edx
    movl $SHUTDOWN_suspend, reason
    movl $SCHEDOP_shutdown, %ebx
    movl $reason, %ecx
    HYPERCALL sched_op
    movl %eax, %ebx
    PRINT "goes on: "
    PRINT_DEC %ebx
    PRINT "\n"
    popl %ebx
    ret

by_channel:
    xorl %eax, %eax
    call alloc_unbound
    movl %eax, channel
    movl $suspend_folder, %eax
    call device_open                # there is no backend: just where the nodes are
    movl $channel_node, %eax
    movl channel, %edx
    call front_write_number
    PRINT "ready\n"
1:  movl channel, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    jc 2f
    movl $channel, poll + SCHED_POLL_ports
    movl $1, poll + SCHED_POLL_nr_ports
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    jmp 1b
2:  PRINT "rung\n"
    call suspend
    jmp 1b

deaf:
    movl $0, poll + SCHED_POLL_nr_ports
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    jmp deaf
