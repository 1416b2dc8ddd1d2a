# Two domains and one event channel: each sends the ball back when it comes.
#
# Observe: the end that binds finds an event waiting, which serves as the throw-in. Neither side ever waits by looking:
# they sleep, and the other's event wakes them. The command line says who is who: `ping peer=2` offers a port to domain
# 2, `pong peer=1` binds to it; `balls=N` is how often the ball comes back, `fifo` chooses that ABI. Without any of this
# the kernel plays both sides, over a loop of its own.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "peer.inc"
    .include "cmdline.inc"

    XEN_NOTES pingpong

.equ BALLS, 1000

    .bss
    .balign 4
balls:
    .skip 4
peer:
    .skip 4
ping_port:
    .skip 4
pong_port:
    .skip 4
began:                              # time-stamp counter, when the throw-in came
    .skip 8
took:
    .skip 8

    .data
balls_word:
    .asciz "balls="
peer_word:
    .asciz "peer="
ping_word:
    .asciz "ping"
pong_word:
    .asciz "pong"
fifo_word:
    .asciz "fifo"

    .text
    .type main, @function
main:
    call events_init
    movl $fifo_word, %eax
    call cmdline_word
    testl %eax, %eax
    jz 1f
    call use_fifo
    MUST use_fifo
1:  movl $balls_word, %eax
    movl $BALLS, %edx
    call cmdline_number
    movl %eax, balls
    movl $peer_word, %eax
    movl $DOMID_SELF, %edx
    call cmdline_number
    movl %eax, peer
    movl $ping_word, %eax
    call cmdline_word
    testl %eax, %eax
    jnz ping
    movl $pong_word, %eax
    call cmdline_word
    testl %eax, %eax
    jnz pong
    call offer
    call bind
    jmp play_ping

ping:
    call offer
play_ping:
    movl ping_port, %eax
    call play
    PRINT_DEC balls
    PRINT " balls came back, after "
    movl took, %eax
    movl took + 4, %edx
    divl balls
    call print_dec
    PRINT " ticks each\n"
    ret

pong:
    call bind
    movl pong_port, %eax
    call play
    PRINT_DEC balls
    PRINT " balls sent back\n"
    ret

# A port that the other side may bind to.
    .type offer, @function
offer:
    movl peer, %eax
    call alloc_unbound
    movl %eax, ping_port
    movl $came_back, %edx
    call set_handler
    movl ping_port, %eax
    jmp unmask_port

# The other side's.
    .type bind, @function
bind:
    movl peer, %eax
    call bind_to_peer
    movl %eax, pong_port
    movl $send_event, %edx
    call set_handler                # whatever comes goes back
    movl pong_port, %eax
    jmp unmask_port

# A handler, EAX = port: the throw-in starts the clock, the last ball stops it.
    .type came_back, @function
came_back:
    pushl %ebx
    movl %eax, %ebx
    rdtsc
    cmpl $1, event_counts(,%ebx,4)
    jne 1f
    movl %eax, began
    movl %edx, began + 4
1:  movl balls, %ecx
    cmpl %ecx, event_counts(,%ebx,4)
    ja 2f
    movl %ebx, %eax
    call send_event
    popl %ebx
    ret
2:  subl began, %eax
    sbbl began + 4, %edx
    movl %eax, took
    movl %edx, took + 4
    popl %ebx
    ret

# EAX = port: sleeps until the throw-in and every ball have come to it.
    .type play, @function
play:
    pushl %ebx
    movl %eax, %ebx
1:  movb $1, UPCALL_MASK            # nothing may come between the look and the sleep
    movl balls, %eax
    cmpl %eax, event_counts(,%ebx,4)
    ja 2f
    call block
    jmp 1b
2:  popl %ebx
    ret
