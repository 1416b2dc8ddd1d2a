# xenstore over its ring: reads, writes, watches, a transaction.
#
# Observe: a request and its answer are a header and bytes in two rings of one page, and an event channel says that
# something moved. Whatever changes below a watched node is told, first of all the watch itself, and before the answer
# to the request that changed it. A transaction is seen by nobody before its end, and fails when somebody else has
# changed what it has looked at: the kernel does it over. What a domain may not do, or what is not there, is refused by
# name. `asks=N` on the command line has the kernel ask for its name N times instead, and say how long that takes.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "cmdline.inc"

    XEN_NOTES store

# Asks xenstore: the XS_ type, and the payload as for .ascii.
.macro ASK type:req, payload:vararg
    .pushsection .rodata
.Lpayload\@:
    .ascii \payload
.Lpayload_end\@:
    .popsection
    movl $XS_\type, %eax
    movl $.Lpayload\@, %edx
    movl $.Lpayload_end\@ - .Lpayload\@, %ecx
    call ask
.endm

# The same, and prints a line: what is asked, for which node, and the answer; after a bar what is part of a transaction.
.macro TELL type:req, payload:vararg
    ASK \type, \payload
    call print_margin
    PRINT "\type "
    call print_exchange
.endm

    .bss
    .balign 4
ring:                               # address of struct xenstore_domain_interface
    .skip 4
port:                               # struct evtchn_send
    .skip 4
poll:                               # struct sched_poll
    .skip SCHED_POLL_sizeof
transaction:                        # its number, 0 outside of one
    .skip 4
asked:                              # payload of the last request
    .skip 4
request:                            # struct xsd_sockmsg
    .skip XSD_SOCKMSG_sizeof
header:                             # struct xsd_sockmsg of the message that was read last
    .skip XSD_SOCKMSG_sizeof
reply:
    .skip XENSTORE_PAYLOAD_MAX + 1
    .balign 4
asks:
    .skip 4

    .data
asks_word:
    .asciz "asks="

    .text
    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    movl start_info, %ebx
    movl START_INFO_store_evtchn(%ebx), %eax
    movl %eax, port
    movl START_INFO_store_mfn(%ebx), %eax
    call mfn_to_va
    movl %eax, ring
    movl $asks_word, %eax
    xorl %edx, %edx
    call cmdline_number
    testl %eax, %eax
    jnz ask_often

    PRINT "what is there\n"
    TELL READ, "name\0"             # relative paths are those of the domain itself
    TELL GET_PERMS, "name\0"        # whose it is, and who else may what
    TELL READ, "nothing\0"
    TELL WRITE, "name\0mine"
    TELL READ, "/local/domain/0/name\0"

    PRINT "what is written\n"
    TELL WRITE, "data/greeting\0hello"
    TELL READ, "data/greeting\0"
    TELL MKDIR, "data/box/deep\0"
    TELL DIRECTORY, "data\0"
    TELL GET_PERMS, "data/box\0"    # who makes a node owns it

    PRINT "what is watched\n"
    TELL WATCH, "data\0token\0"
    TELL WRITE, "data/box/deep\0full"
    TELL RM, "data/box\0"
    TELL UNWATCH, "data\0token\0"
    TELL WRITE, "data/quiet\0"

    PRINT "a transaction\n"
    call start_transaction
    TELL WRITE, "data/a\0one"
    TELL WRITE, "data/b\0two"
    TELL READ, "data/a\0"
    call outside
    TELL READ, "data/a\0"           # nobody else sees it yet
    call inside
    TELL TRANSACTION_END, "T\0"
    call outside
    TELL READ, "data/a\0"

    PRINT "one that has to be done over\n"
    call start_transaction
    TELL READ, "data/a\0"
    call outside
    TELL WRITE, "data/a\0other"     # as another one could
    call inside
    TELL WRITE, "data/a\0mine"
    TELL TRANSACTION_END, "T\0"
    call start_transaction
    TELL READ, "data/a\0"
    TELL WRITE, "data/a\0mine"
    TELL TRANSACTION_END, "T\0"
    call outside
    TELL READ, "data/a\0"
    ret

# EAX = how often.
    .type ask_often, @function
ask_often:
    movl %eax, asks
    movl %eax, %ebp
    rdtsc
    movl %eax, %esi
    movl %edx, %edi
1:  ASK READ, "name\0"
    decl %ebp
    jnz 1b
    rdtsc
    subl %esi, %eax
    sbbl %edi, %edx
    divl asks
    movl %eax, %esi
    PRINT_DEC asks
    PRINT " answers, after "
    PRINT_DEC %esi
    PRINT " ticks each\n"
    ret

# What is asked from now on is part of a new transaction.
    .type start_transaction, @function
start_transaction:
    movl $0, transaction
    ASK TRANSACTION_START, "\0"
    movl $reply, %edx               # its number in decimal
    xorl %eax, %eax
1:  movzbl (%edx), %ecx
    jecxz 2f
    imull $10, %eax
    leal -'0'(%eax,%ecx), %eax
    incl %edx
    jmp 1b
2:  movl %eax, transaction
    movl %eax, inside_of
    ret

# What is asked from now on is part of no transaction, or of the last one again.
    .type outside, @function
outside:
    movl $0, transaction
    ret
    .type inside, @function
inside:
    movl inside_of, %eax
    movl %eax, transaction
    ret

    .bss
inside_of:
    .skip 4
    .text

    .type print_margin, @function
print_margin:
    cmpl $0, transaction
    jne 1f
    PRINT "  "
    ret
1:  PRINT "| "
    ret

# The first string of what was asked, and the answer. What a message has of several strings, blanks between.
    .type print_exchange, @function
print_exchange:
    movl asked, %eax
    call print_string
    PRINT ": "
print_reply:
    pushl %ebx
    pushl %esi
    movl $reply, %esi
    movl header + XSD_SOCKMSG_len, %ebx
    testl %ebx, %ebx
    jz 3f
    cmpb $0, reply - 1(%ebx)        # the last zero byte says nothing
    jne 1f
    decl %ebx
    jz 3f
1:  lodsb
    testb %al, %al
    jnz 2f
    movb $' ', %al
2:  movzbl %al, %eax
    call print_char
    decl %ebx
    jnz 1b
3:  PRINT "\n"
    popl %esi
    popl %ebx
    ret

# EAX = XS_ type, EDX = payload, ECX = its bytes: sends a request and sleeps until its answer is in `reply`. Prints
# whatever is told of watched nodes meanwhile.
    .type ask, @function
ask:
    movl %eax, request + XSD_SOCKMSG_type
    movl transaction, %eax
    movl %eax, request + XSD_SOCKMSG_tx_id
    movl %ecx, request + XSD_SOCKMSG_len
    incl request + XSD_SOCKMSG_req_id
    movl %edx, asked
    movl $request, %eax
    movl $XSD_SOCKMSG_sizeof, %edx
    call put
    movl asked, %eax
    movl request + XSD_SOCKMSG_len, %edx
    call put
    call notify
1:  movl $header, %eax
    movl $XSD_SOCKMSG_sizeof, %edx
    call get
    movl $reply, %eax
    movl header + XSD_SOCKMSG_len, %edx
    cmpl $XENSTORE_PAYLOAD_MAX, %edx
    jbe 2f
    PANIC "a message is longer than any can be"
2:  movb $0, reply(%edx)
    call get
    cmpl $XS_WATCH_EVENT, header + XSD_SOCKMSG_type
    jne 3f
    PRINT "  event: "
    call print_reply
    jmp 1b
3:  movl request + XSD_SOCKMSG_req_id, %eax
    cmpl header + XSD_SOCKMSG_req_id, %eax
    je 4f
    PANIC "an answer to another request"
4:  ret

# EAX = bytes, EDX = how many: into the ring, sleeping while it is full. The index that is stored publishes the bytes
# before it: x86 keeps stores in order.
    .type put, @function
put:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %esi
    leal (%eax,%edx), %edi
    movl ring, %ebx
1:  cmpl %edi, %esi
    je 3f
    movl XENSTORE_DOMAIN_INTERFACE_req_prod(%ebx), %ecx
    movl %ecx, %eax
    subl XENSTORE_DOMAIN_INTERFACE_req_cons(%ebx), %eax
    cmpl $XENSTORE_RING_SIZE, %eax
    jb 2f
    call notify
    call sleep
    jmp 1b
2:  andl $XENSTORE_RING_SIZE - 1, %ecx
    lodsb
    movb %al, XENSTORE_DOMAIN_INTERFACE_req(%ebx,%ecx)
    incl XENSTORE_DOMAIN_INTERFACE_req_prod(%ebx)
    jmp 1b
3:  popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = where to, EDX = how many bytes: out of the ring, sleeping while there are none. Xenstore is told once the ring
# is empty: it may have had no room for the rest.
    .type get, @function
get:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %edi
    leal (%eax,%edx), %esi
    movl ring, %ebx
1:  cmpl %edi, %esi
    je 3f
    movl XENSTORE_DOMAIN_INTERFACE_rsp_cons(%ebx), %ecx
    cmpl %ecx, XENSTORE_DOMAIN_INTERFACE_rsp_prod(%ebx)
    jne 2f
    call notify
    call sleep
    jmp 1b
2:  andl $XENSTORE_RING_SIZE - 1, %ecx
    movb XENSTORE_DOMAIN_INTERFACE_rsp(%ebx,%ecx), %al
    stosb
    incl XENSTORE_DOMAIN_INTERFACE_rsp_cons(%ebx)
    jmp 1b
3:  popl %edi
    popl %esi
    popl %ebx
    ret

    .type notify, @function
notify:
    pushl %ebx
    movl $EVTCHNOP_send, %ebx
    movl $port, %ecx
    HYPERCALL event_channel_op
    popl %ebx
    ret

# Sleeps until xenstore sends an event. Its bit is cleared before the ring is looked at again, or one that comes in
# between would be lost.
    .type sleep, @function
sleep:
    pushl %ebx
    movl $port, poll + SCHED_POLL_ports
    movl $1, poll + SCHED_POLL_nr_ports
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    movl port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    popl %ebx
    ret
