# Two domains on one network: who has that address, are you there, and a datagram that comes back.
#
# Observe: the frontend posts pages for what comes and grants them to the backend, one by one; a frame that it sends is
# read where it lies. It leaves the checksums of its datagrams blank, and whoever needs them right (a wire, a capture,
# a neighbour that cannot) gets them right. The command line says who is who: `serve` answers until somebody says bye;
# otherwise `peer=` is asked for its Ethernet address, pinged `pings=` times and sent a datagram. `ip=` is its own
# address, `port=` the server's, `patience=` how long an answer may take, in milliseconds. With `flip` the pages that it
# posts are exchanged for others, which have the frames in them.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "systime.inc"
    .include "events.inc"
    .include "cmdline.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "flip.inc"
    .include "netfront.inc"
    .include "packets.inc"

    XEN_NOTES net

.equ PORT, 7                        # echo
.equ OUR_PORT, 1024
.equ TRIES, 20
.equ PATIENCE, 100
.equ PINGS, 3

    .text
    .type main, @function
main:
    call events_init
    call store_init
    call grants_init
    call read_command_line
    movl $device_name, %eax
    call device_open
    testl %eax, %eax
    jnz 1f
    PRINT "this domain has no network interface\n"
    ret
1:  call netfront_connect
    movl $own_mac, %eax
    call print_mac
    PRINT " is "
    movl $own_ip, %eax
    call print_ip
    PRINT "\n"
    movl $serve_word, %eax
    call cmdline_word
    testl %eax, %eax
    jnz 2f
    call ask
    jmp 3f
2:  call serve
3:  movl $XenbusStateClosed, %eax
    jmp front_switch

    .type read_command_line, @function
read_command_line:
    movl $ip_word, %eax
    call cmdline_word
    movl $own_ip, %edx
    call read_ip
    movl $peer_word, %eax
    call cmdline_word
    movl $peer_ip, %edx
    call read_ip
    movl $port_word, %eax
    movl $PORT, %edx
    call cmdline_number
    movw %ax, server_port
    movl $pings_word, %eax
    movl $PINGS, %edx
    call cmdline_number
    movl %eax, pings
    movl $patience_word, %eax
    movl $PATIENCE, %edx
    call cmdline_number
    movl %eax, patience
    ret

# EAX = a text like 10.0.0.1 or 0, EDX = four bytes, which stay as they are without a text.
    .type read_ip, @function
read_ip:
    testl %eax, %eax
    jz 2f
    pushl %esi
    pushl %edi
    movl %edx, %esi
    leal 4(%edx), %edi
1:  call parse_number
    movb %al, (%esi)
    leal 1(%edx), %eax              # past the dot
    incl %esi
    cmpl %edi, %esi
    jne 1b
    popl %edi
    popl %esi
2:  ret

# The side that asks.
    .type ask, @function
ask:
    call find_peer
    testl %eax, %eax
    jz 1f
    call ping
    movl $hello, %eax
    movl $hello_end - hello, %edx
    call exchange
    movl $bye, %eax
    movl $bye_end - bye, %edx
    movw $OUR_PORT, %cx
    call send_datagram
1:  ret

# Asks everybody who has the peer's address, until it answers. Gives 0 if it never does.
    .type find_peer, @function
find_peer:
    pushl %ebx
    movl $TRIES, %ebx
1:  call send_arp_request
    movl $wanted_arp, %eax
    movl patience, %edx
    call wait_for
    testl %eax, %eax
    jnz 2f
    decl %ebx
    jnz 1b
    PRINT "nobody is "
    movl $peer_ip, %eax
    call print_ip
    PRINT "\n"
    xorl %eax, %eax
    popl %ebx
    ret
2:  leal ARP_SENDER(%eax), %edx
    movl $peer_mac, %eax
    movl $6, %ecx
    call memory_copy
    movl $peer_mac, %eax
    call print_mac
    PRINT " is "
    movl $peer_ip, %eax
    call print_ip
    PRINT "\n"
    movl $1, %eax
    popl %ebx
    ret

    .type ping, @function
ping:
    pushl %ebx
    xorl %ebx, %ebx
1:  incl %ebx
    cmpl pings, %ebx
    ja 4f
    movl %ebx, sequence
    movl %ebx, %eax
    call send_echo_request
    PRINT "echo "
    PRINT_DEC %ebx
    movl $wanted_echo, %eax
    imull $TRIES, patience, %edx
    call wait_for
    testl %eax, %eax
    jz 2f
    PRINT " came back\n"
    jmp 1b
2:  PRINT " is lost\n"
    jmp 1b
4:  popl %ebx
    ret

# EAX = text, EDX = its length: sent to the server, which sends it back.
    .type exchange, @function
exchange:
    movw $OUR_PORT, %cx
    call send_datagram
    movl $wanted_datagram, %eax
    imull $TRIES, patience, %edx
    call wait_for
    testl %eax, %eax
    jz 1f
    pushl %eax
    PRINT "the server says: "
    popl %eax
    jmp print_datagram
1:  PRINT "the server says nothing\n"
    ret

# EAX = function, EDX = milliseconds: answers what others ask until the function, called with EAX = frame and EDX = its
# length, wants a frame. Gives that, EDX = its length, or 0 when the time is over.
    .type wait_for, @function
wait_for:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl %edx, %eax
    call set_patience
1:  call next_frame
    testl %eax, %eax
    jz 2f
    movl %eax, %esi
    movl %edx, %edi
    call answer
    movl %esi, %eax
    movl %edi, %edx
    call *%ebx
    testl %eax, %eax
    jz 1b
    movl %esi, %eax
    movl %edi, %edx
2:  popl %edi
    popl %esi
    popl %ebx
    ret

# What is waited for: EAX = frame, EDX = its length; EAX = 0 for any other.
    .type wanted_arp, @function
wanted_arp:
    cmpl $ARP_END, %edx
    jb unwanted
    cmpw $ETHERTYPE_ARP, ETH_TYPE(%eax)
    jne unwanted
    cmpw $ARP_REPLY, ARP_OPERATION(%eax)
    jne unwanted
    movl ARP_SENDER_IP(%eax), %ecx
    cmpl peer_ip, %ecx
    jne unwanted
    ret

    .type wanted_echo, @function
wanted_echo:
    movb $IP_ICMP, %cl
    call is_ip_for_us
    testl %eax, %eax
    jz unwanted
    cmpw $ICMP_ECHO_REPLY, ICMP_TYPE(%eax)
    jne unwanted
    movb sequence, %cl
    cmpb %cl, ICMP_SEQUENCE + 1(%eax)
    jne unwanted
    ret

    .type wanted_datagram, @function
wanted_datagram:
    movb $IP_UDP, %cl
    call is_ip_for_us
    testl %eax, %eax
    jz unwanted
    movw server_port, %cx
    rolw $8, %cx
    cmpw %cx, UDP_SOURCE(%eax)
    jne unwanted
    ret
unwanted:
    xorl %eax, %eax
    ret

# The side that serves: answers whatever comes, and sends datagrams to its port back until one of them says bye.
    .type serve, @function
serve:
    pushl %ebx
    pushl %esi
    pushl %edi
1:  xorl %eax, %eax
    call set_patience               # for ever
    call next_frame
    movl %eax, %esi
    movl %edx, %edi
    call answer
    movl %esi, %eax
    movl %edi, %edx
    movb $IP_UDP, %cl
    call is_ip_for_us
    testl %eax, %eax
    jz 1b
    movw server_port, %cx
    rolw $8, %cx
    cmpw %cx, UDP_DESTINATION(%esi)
    jne 1b
    leal IP_SOURCE(%esi), %eax
    call print_ip
    PRINT " says: "
    movl %esi, %eax
    movl %edi, %edx
    call print_datagram
    movl UDP_DATA(%esi), %ecx
    andl $0xFFFFFF, %ecx
    cmpl $BYE, %ecx
    je 2f
    movl %esi, %eax
    movl %edi, %edx
    call send_back
    jmp 1b
2:  popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = frame, EDX = its length: prints what the datagram in it says, as a line.
    .type print_datagram, @function
print_datagram:
    leal -UDP_DATA(%edx), %ecx
    movzwl UDP_LENGTH(%eax), %edx
    rolw $8, %dx
    subl $UDP_DATA - UDP_SOURCE, %edx
    cmpl %ecx, %edx                 # no more than there is
    cmoval %ecx, %edx
    addl $UDP_DATA, %eax
    call console_write
    PRINT "\n"
    ret

    .section .rodata
device_name:
    .asciz "device/vif/0"
serve_word:
    .asciz "serve"
ip_word:
    .asciz "ip="
peer_word:
    .asciz "peer="
patience_word:
    .asciz "patience="
pings_word:
    .asciz "pings="
port_word:
    .asciz "port="
hello:
    .ascii "hello from another domain"
hello_end:
bye:
    .ascii "bye"
bye_end:
.equ BYE, 'b' | 'y' << 8 | 'e' << 16

    .data
own_ip:
    .byte 10, 0, 0, 1
peer_ip:
    .byte 10, 0, 0, 2

    .bss
    .balign 4
sequence:
    .skip 4
patience:
    .skip 4
pings:
    .skip 4
