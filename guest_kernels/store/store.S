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
    .include "xenstore.inc"

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
poll:                               # struct sched_poll
    .skip SCHED_POLL_sizeof
transaction:                        # its number, 0 outside of one
    .skip 4
asked:                              # payload of the last request
    .skip 4
request:                            # struct xsd_sockmsg
    .skip XSD_SOCKMSG_sizeof
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
    call store_init
    movl $sleep, store_waiting
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
    movl $store_reply, %edx               # its number in decimal
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
    movl $store_reply, %esi
    movl store_header + XSD_SOCKMSG_len, %ebx
    testl %ebx, %ebx
    jz 3f
    cmpb $0, store_reply - 1(%ebx)        # the last zero byte says nothing
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

# EAX = XS_ type, EDX = payload, ECX = its bytes: sends a request and sleeps until its answer is in store_reply. Prints
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
    call store_put
    movl asked, %eax
    movl request + XSD_SOCKMSG_len, %edx
    call store_put
    call store_notify
1:  movl $store_header, %eax
    movl $XSD_SOCKMSG_sizeof, %edx
    call store_get
    movl $store_reply, %eax
    movl store_header + XSD_SOCKMSG_len, %edx
    cmpl $XENSTORE_PAYLOAD_MAX, %edx
    jbe 2f
    PANIC "a message is longer than any can be"
2:  movb $0, store_reply(%edx)
    call store_get
    cmpl $XS_WATCH_EVENT, store_header + XSD_SOCKMSG_type
    jne 3f
    PRINT "  event: "
    call print_reply
    jmp 1b
3:  movl request + XSD_SOCKMSG_req_id, %eax
    cmpl store_header + XSD_SOCKMSG_req_id, %eax
    je 4f
    PANIC "an answer to another request"
4:  ret

# Sleeps until xenstore sends an event. Its bit is cleared before the ring is looked at again, or one that comes in
# between would be lost.
    .type sleep, @function
sleep:
    pushl %ebx
    movl $store_port, poll + SCHED_POLL_ports
    movl $1, poll + SCHED_POLL_nr_ports
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    movl store_port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    popl %ebx
    ret
