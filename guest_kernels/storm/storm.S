# A storm of events: one domain sends as fast as it can, a neighbour goes on with its work and counts what came.
#
# Observe: an event that finds its port pending is no second interrupt, so a storm costs its victim one upcall for each
# time it runs, however much is sent. The command line says who is who: `storm peer=1` sends to domain 1 (`count=N`
# times, 0: for ever), `neighbour peer=2` offers domain 2 a port and works through `work=N` loops. Without a peer the
# kernel storms at itself, where each event is handled before the next is sent.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "peer.inc"
    .include "cmdline.inc"

    XEN_NOTES storm

.equ COUNT, 1000
.equ WORK, 10000000

    .bss
    .balign 4
port:
    .skip 4
peer:
    .skip 4

    .data
count_word:
    .asciz "count="
work_word:
    .asciz "work="
peer_word:
    .asciz "peer="
neighbour_word:
    .asciz "neighbour"

    .text
    .type main, @function
main:
    call events_init
    movb $0, UPCALL_MASK
    movl $peer_word, %eax
    movl $DOMID_SELF, %edx
    call cmdline_number
    movl %eax, peer
    movl $neighbour_word, %eax
    call cmdline_word
    testl %eax, %eax
    jnz neighbour
    cmpl $DOMID_SELF, peer
    jne storm
    xorl %eax, %eax
    call bind_ipi
    movl %eax, port
    call unmask_port
    call send_all
    PRINT_DEC %ebx
    PRINT " sent, "
    movl port, %eax
    PRINT_DEC event_counts(,%eax,4)
    PRINT " handled\n"
    ret

storm:
    movl peer, %eax
    call bind_to_peer
    movl %eax, port
    call send_all
    PRINT_DEC %ebx
    PRINT " sent\n"
    ret

# Sends through `port`; gives in EBX how often.
    .type send_all, @function
send_all:
    movl $count_word, %eax
    movl $COUNT, %edx
    call cmdline_number
    movl %eax, %esi
    xorl %ebx, %ebx
1:  movl port, %eax
    call send_event
    MUST send
    incl %ebx
    cmpl %esi, %ebx
    jne 1b                          # 0 is never reached: for ever
    ret

    .type neighbour, @function
neighbour:
    movl peer, %eax
    call alloc_unbound
    movl %eax, port
    call unmask_port
1:  movl port, %eax                 # the storm has come
    cmpl $0, event_counts(,%eax,4)
    jne 2f
    call block
    jmp 1b
2:  movl $work_word, %eax
    movl $WORK, %edx
    call cmdline_number
    movl %eax, %ecx
3:  decl %ecx
    jnz 3b
    PRINT "work done, "
    movl port, %eax
    PRINT_DEC event_counts(,%eax,4)
    PRINT " events beside it\n"
    ret
