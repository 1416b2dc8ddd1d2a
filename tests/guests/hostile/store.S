# Requests to xenstore that are hardly ones: any type, any transaction, paths and arguments of others, too many nodes,
# watches and transactions. At the end the indices of the ring are scribbled on, and xenstore has to give this guest up.

    .include "runtime.inc"
    .include "paging.inc"
    .include "cmdline.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "counts.inc"

    XEN_NOTES hostile_store

.equ BATCH, 16                      # requests that are told of by one event
.equ MOST_WORDS, 4                  # of a payload

    .bss
    .balign 4
request:                            # struct xsd_sockmsg
    .skip XSD_SOCKMSG_sizeof
payload:
    .skip 3 * PAGE_SIZE
transaction:                        # the last one that was started
    .skip 4

    .text
    .type main, @function
main:
    call hostile_init
    call store_init
    movl $pump, store_waiting
1:  movl $BATCH, %ebx
2:  call hostile_request
    decl %ebx
    jnz 2b
    addl $BATCH, requests_made
    call store_notify
    call pump
    movl requests_made, %eax
    cmpl requests_wanted, %eax
    jb 1b
    movl $8, %ebx                   # the last answers
3:  call pump
    decl %ebx
    jnz 3b
    movl store_ring, %esi
    cmpl $0, XENSTORE_DOMAIN_INTERFACE_error(%esi)
    je 4f
    PANIC "xenstore has given up a guest whose ring was right"
4:  PICK indices
    leal (%esi,%eax), %ebx
    call chance_next
    movl %eax, (%ebx)
    call store_notify
    call yield
    cmpl $0, XENSTORE_DOMAIN_INTERFACE_error(%esi)
    je 4b
    incl times_closed
    jmp tell_counts

    .type hostile_request, @function
hostile_request:
    pushl %ebx
    pushl %edi
    PICK types
    movl %eax, request + XSD_SOCKMSG_type
    call chance_next
    movl %eax, request + XSD_SOCKMSG_req_id
    movl $0, request + XSD_SOCKMSG_tx_id
    UNLESS_CHANCE 4, 2f
    movl transaction, %eax
    movl %eax, request + XSD_SOCKMSG_tx_id
    UNLESS_CHANCE 16, 2f
    call chance_next
    movl %eax, request + XSD_SOCKMSG_tx_id
2:  movl $payload, %edi
    movl $MOST_WORDS, %eax
    call chance_below
    movl %eax, %ebx
    CHANCE 128
    movl $long_path, %eax
    jz 3f
    PICK paths
3:  movl %edi, %edx
    call copy_string
    leal 1(%eax), %edi              # with its zero byte
    decl %ebx
    js 4f
    PICK arguments
    jmp 3b
4:  UNLESS_CHANCE 8, 5f
    decl %edi                       # without
5:  UNLESS_CHANCE 16, 6f
    movl %edi, %eax
    subl $payload - 1, %eax
    call chance_below
    pushl %eax
    call chance_next
    popl %edx
    movb %al, payload(%edx)
6:  UNLESS_CHANCE 512, 7f
    leal payload + XENSTORE_PAYLOAD_MAX, %edi   # as long as it may be, of whatever was there
7:  subl $payload, %edi
    cmpl $XENSTORE_PAYLOAD_MAX, %edi
    jbe 8f
    movl $XENSTORE_PAYLOAD_MAX, %edi
8:  movl %edi, request + XSD_SOCKMSG_len
    leal XSD_SOCKMSG_sizeof(%edi), %edx
    call hurl
    popl %edi
    popl %ebx
    ret

# EDX = length of the request with its payload: into the ring, at once where it fits in one piece.
    .type hurl, @function
hurl:
    pushl %esi
    pushl %edi
    movl store_ring, %edi
    movl XENSTORE_DOMAIN_INTERFACE_req_prod(%edi), %ecx
    movl %ecx, %eax
    subl XENSTORE_DOMAIN_INTERFACE_req_cons(%edi), %eax
    addl %edx, %eax
    cmpl $XENSTORE_RING_SIZE, %eax
    ja 1f
    andl $XENSTORE_RING_SIZE - 1, %ecx
    leal (%ecx,%edx), %eax
    cmpl $XENSTORE_RING_SIZE, %eax
    ja 1f
    leal XENSTORE_DOMAIN_INTERFACE_req(%edi,%ecx), %edi
    movl $request, %esi
    movl %edx, %ecx
    rep movsb
    movl store_ring, %edi
    addl %edx, XENSTORE_DOMAIN_INTERFACE_req_prod(%edi)
    jmp 2f
1:  movl $request, %eax
    call store_put
2:  popl %edi
    popl %esi
    ret

# Takes what has come, and lets xenstore go on.
    .type pump, @function
pump:
    pushl %ebx
    movl $yield, store_waiting
1:  movl store_ring, %ebx
    movl XENSTORE_DOMAIN_INTERFACE_rsp_prod(%ebx), %eax
    subl XENSTORE_DOMAIN_INTERFACE_rsp_cons(%ebx), %eax
    cmpl $XSD_SOCKMSG_sizeof, %eax
    jb 3f
    call pass_over
    jz 1b
    movl $store_header, %eax
    movl $XSD_SOCKMSG_sizeof, %edx
    call store_get
    movl $store_reply, %eax
    movl store_header + XSD_SOCKMSG_len, %edx
    cmpl $XENSTORE_PAYLOAD_MAX, %edx
    ja 4f
    movb $0, store_reply(%edx)
    call store_get
    movl store_header + XSD_SOCKMSG_type, %eax
    cmpl $XS_WATCH_EVENT, %eax
    je 1b
    incl requests_answered
    cmpl $XS_TRANSACTION_START, %eax
    jne 1b
    movl $store_reply, %eax
    call parse_number
    movl %eax, transaction
    jmp 1b
3:  movl $pump, store_waiting
    call store_notify
    popl %ebx
    jmp yield
4:  PANIC "a message is longer than any can be"

# EAX = bytes that have come, a header at least: passes over a message that is all there in one piece and says nothing
# that matters. ZF if it did.
    .type pass_over, @function
pass_over:
    movl store_ring, %edx
    movl XENSTORE_DOMAIN_INTERFACE_rsp_cons(%edx), %ecx
    andl $XENSTORE_RING_SIZE - 1, %ecx
    cmpl $XENSTORE_RING_SIZE - XSD_SOCKMSG_sizeof, %ecx
    ja 2f
    leal XENSTORE_DOMAIN_INTERFACE_rsp(%edx,%ecx), %ecx
    cmpl $XS_TRANSACTION_START, XSD_SOCKMSG_type(%ecx)
    je 1f
    subl $XSD_SOCKMSG_sizeof, %eax
    cmpl XSD_SOCKMSG_len(%ecx), %eax
    jb 2f
    movl XSD_SOCKMSG_len(%ecx), %eax
    addl $XSD_SOCKMSG_sizeof, %eax
    addl %eax, XENSTORE_DOMAIN_INTERFACE_rsp_cons(%edx)
    cmpl $XS_WATCH_EVENT, XSD_SOCKMSG_type(%ecx)
    je 2f                           # an event, no answer
    incl requests_answered
    cmpl %eax, %eax                 # sets ZF
    ret
1:  testl %edx, %edx                # clears ZF
2:  ret

    .section .rodata
    .balign 4
types:
    TABLE
    .long XS_DIRECTORY, XS_READ, XS_READ, XS_GET_PERMS, XS_WATCH, XS_UNWATCH, XS_TRANSACTION_START
    .long XS_TRANSACTION_END, XS_INTRODUCE, XS_RELEASE, XS_GET_DOMAIN_PATH, XS_WRITE, XS_WRITE, XS_WRITE, XS_MKDIR
    .long XS_RM, XS_SET_PERMS, XS_WATCH_EVENT, XS_ERROR, XS_IS_DOMAIN_INTRODUCED, XS_RESUME, XS_SET_TARGET
    .long XS_RESET_WATCHES, XS_DIRECTORY_PART, XS_CONTROL, 99, 0x80000000
    END_TABLE
paths:
    TABLE
    .long own, own_deep, own_box, own_name, other, other_home, root, empty, slashes, special, released
    .long device, dots
    END_TABLE
arguments:
    TABLE
    .long empty, yes, no, token, permission, permissions, own, own_deep, other, number, big_number
    END_TABLE
indices:
    TABLE
    .long XENSTORE_DOMAIN_INTERFACE_req_cons, XENSTORE_DOMAIN_INTERFACE_req_prod
    .long XENSTORE_DOMAIN_INTERFACE_rsp_cons, XENSTORE_DOMAIN_INTERFACE_rsp_prod
    END_TABLE
own:
    .asciz "data"
own_deep:
    .asciz "data/a/b/c"
own_box:
    .asciz "data/box"
own_name:
    .asciz "name"
other:
    .asciz "/local/domain/1/data/a"
other_home:
    .asciz "/local/domain/1"
root:
    .asciz "/"
empty:
    .asciz ""
slashes:
    .asciz "//data//"
special:
    .asciz "@introduceDomain"
released:
    .asciz "@releaseDomain"
device:
    .asciz "device/vbd/1/state"
dots:
    .asciz "../../1/data"
yes:
    .asciz "T"
no:
    .asciz "F"
token:
    .asciz "token"
permission:
    .asciz "b1"
permissions:
    .asciz "n2"
number:
    .asciz "1"
big_number:
    .asciz "99999999999999999999"
long_path:
    .rept 200
    .ascii "0123456789"
    .endr
    .asciz ""
    .text
