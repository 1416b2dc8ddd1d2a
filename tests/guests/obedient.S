# A guest that does what its administrator asks for through xenstore: it watches control/shutdown,
# says each request, and powers off or reboots when it is asked to. Meanwhile it prints what is typed on its console,
# `^` instead of CR and a new line after it. Its command line may begin with a letter:
# `r` reboots at once, `c` crashes at once, `p` powers off at once.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"

    XEN_NOTES obedient

    .bss
    .balign 4
store_ring:                         # address of struct xenstore_domain_interface
    .skip 4
store_port:                         # struct evtchn_send
    .skip 4
header:                             # struct xsd_sockmsg of the message that was read last
    .skip XSD_SOCKMSG_sizeof
payload:
    .skip XENSTORE_PAYLOAD_MAX + 1
ports:                              # of the store and of the console
    .skip 8
poll:                               # struct sched_poll
    .skip SCHED_POLL_sizeof
reason:                             # struct sched_shutdown
    .skip 4

    .data
    .balign 4
watch_message:                      # type, req_id, tx_id, len, payload
    .long XS_WATCH, 1, 0, watch_end - . - 4
    .asciz "control/shutdown", "token"
watch_end:
    .balign 4
read_message:
    .long XS_READ, 2, 0, read_end - . - 4
    .asciz "control/shutdown"
read_end:

    .text
    .type main, @function
main:
    movl start_info, %ebx
    movb START_INFO_cmd_line(%ebx), %al
    cmpb $'r', %al
    je reboot
    cmpb $'c', %al
    je crash
    cmpb $'p', %al
    je power_off
    call map_shared_info
    call mask_all_events
    movl START_INFO_store_evtchn(%ebx), %eax
    movl %eax, store_port
    movl START_INFO_store_mfn(%ebx), %eax
    call mfn_to_va
    movl %eax, store_ring
    PRINT "ready\n"
    movl $watch_message, %eax
    movl $watch_end - watch_message, %edx
    call send
wait:                               # for the next watch event
    call receive
    cmpl $XS_WATCH_EVENT, header + XSD_SOCKMSG_type
    jne wait
    movl $read_message, %eax
    movl $read_end - read_message, %edx
    call send
1:  call receive
    cmpl $XS_READ, header + XSD_SOCKMSG_type
    jne 1b
    movb payload, %al
    cmpb $'p', %al
    je asked_power_off
    cmpb $'r', %al
    jne wait
    PRINT "reboots as it is asked to\n"
reboot:
    movl $SHUTDOWN_reboot, reason
    jmp end
asked_power_off:
    PRINT "powers off as it is asked to\n"
power_off:
    movl $SHUTDOWN_poweroff, reason
end:
    call console_flush
    movl $SCHEDOP_shutdown, %ebx
    movl $reason, %ecx
    HYPERCALL sched_op
crash:
    ud2

# EAX = message, EDX = its bytes: puts it into the ring, which is large enough, and tells the store.
    .type send, @function
send:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %esi
    movl store_ring, %edi
    movl XENSTORE_DOMAIN_INTERFACE_req_prod(%edi), %ecx
1:  movl %ecx, %ebx
    andl $XENSTORE_RING_SIZE - 1, %ebx
    lodsb
    movb %al, XENSTORE_DOMAIN_INTERFACE_req(%edi,%ebx)
    incl %ecx
    decl %edx
    jnz 1b
    movl %ecx, XENSTORE_DOMAIN_INTERFACE_req_prod(%edi)
    call notify
    popl %edi
    popl %esi
    popl %ebx
    ret

    .type notify, @function
notify:
    pushl %ebx
    movl $EVTCHNOP_send, %ebx
    movl $store_port, %ecx
    HYPERCALL event_channel_op
    popl %ebx
    ret

# Reads a message into `header` and `payload`, which it closes by a zero byte.
    .type receive, @function
receive:
    movl $header, %eax
    movl $XSD_SOCKMSG_sizeof, %edx
    call read_bytes
    movl $payload, %eax
    movl header + XSD_SOCKMSG_len, %edx
    movb $0, payload(%edx)
    jmp read_bytes

# EAX = where to, EDX = how many bytes to read from the ring; sleeps while there are none.
    .type read_bytes, @function
read_bytes:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %edi
    movl store_ring, %esi
1:  testl %edx, %edx
    jz 4f
    movl XENSTORE_DOMAIN_INTERFACE_rsp_cons(%esi), %ecx
    cmpl XENSTORE_DOMAIN_INTERFACE_rsp_prod(%esi), %ecx
    je 3f
    movl %ecx, %ebx
    andl $XENSTORE_RING_SIZE - 1, %ebx
    movb XENSTORE_DOMAIN_INTERFACE_rsp(%esi,%ebx), %al
    stosb
    incl XENSTORE_DOMAIN_INTERFACE_rsp_cons(%esi)
    decl %edx
    jmp 1b
3:  pushl %edx
    call sleep
    popl %edx
    jmp 1b
4:  popl %edi
    popl %esi
    popl %ebx
    ret

# Sleeps until the store or the console sends an event. Its bit is cleared before its ring is looked at again.
    .type sleep, @function
sleep:
    pushl %ebx
    movl store_port, %eax
    movl %eax, ports
    movl console_port, %eax
    movl %eax, ports + 4
    movl $ports, poll + SCHED_POLL_ports
    movl $2, poll + SCHED_POLL_nr_ports
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    movl store_port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    movl console_port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    call echo
    popl %ebx
    ret

    .type echo, @function
echo:
    pushl %ebx
    movl console_ring, %ebx
1:  movl XENCONS_INTERFACE_in_cons(%ebx), %ecx
    cmpl XENCONS_INTERFACE_in_prod(%ebx), %ecx
    je 3f
    andl $XENCONS_IN_SIZE - 1, %ecx
    movzbl XENCONS_INTERFACE_in(%ebx,%ecx), %eax
    incl XENCONS_INTERFACE_in_cons(%ebx)
    cmpb $'\r', %al
    jne 2f
    PRINT "^\n"
    jmp 1b
2:  call print_char
    jmp 1b
3:  call console_notify
    popl %ebx
    ret
