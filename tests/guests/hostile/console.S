# A guest that scribbles on the pages of its consoles, the one that every domain has and one beside it: bytes, indices
# that jump, the grant, the nodes. At its end it behaves, and both have to as well.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "cmdline.inc"
    .include "ports.inc"
    .include "vcpus.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "consfront.inc"
    .include "hostile.inc"

    XEN_NOTES hostile_console

.equ EXTRA_REF, GNTTAB_NR_RESERVED_ENTRIES  # consfront_connect's

    .text
    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    call store_init
    call grants_init
    call hostile_init
    movl $console_1, %eax
    call device_open
    testl %eax, %eax
    jnz 1f
    PANIC "this domain has no second console"
1:  call consfront_connect
    call start_rewriter
2:  movl console_ring, %eax
    movl console_port, %edx
    call kick
    movl $consfront_page, %eax
    movl consfront_port, %edx
    call kick
    addl $2, requests_made
    UNLESS_CHANCE 16, 3f
    call yield
    call backend_state
    cmpl $XenbusStateConnected, %eax
    je 3f
    call note_state
    call begin_anew
3:  movl requests_made, %eax
    cmpl requests_wanted, %eax
    jb 2b
    call begin_anew
    call behave
    movl $said, %eax                # as a guest does that knows how
    movl $consfront_page + XENCONS_INTERFACE_out, %edx
    call copy_string
    movl $said_end - said, consfront_page + XENCONS_INTERFACE_out_prod
    movl consfront_port, %eax
    call send_event
4:  call yield
    cmpl $said_end - said, consfront_page + XENCONS_INTERFACE_out_cons
    jne 4b
    jmp tell_counts

# EAX = page, EDX = port: bytes in its ring, an index that may be wrong, an event.
    .type kick, @function
kick:
    pushl %ebx
    pushl %esi
    movl %eax, %ebx
    movl %edx, %esi
    movl $XENCONS_OUT_SIZE + 1, %eax
    call chance_below
    addl XENCONS_INTERFACE_out_cons(%ebx), %eax
    movl %eax, XENCONS_INTERFACE_out_prod(%ebx)
    movl XENCONS_INTERFACE_in_prod(%ebx), %eax
    movl %eax, XENCONS_INTERFACE_in_cons(%ebx)
    UNLESS_CHANCE 32, 1f
    PICK indices
    leal (%ebx,%eax), %ecx
    pushl %ecx
    PICK jumps
    popl %ecx
    addl %eax, (%ecx)
1:  movl %esi, %eax
    call send_event
    movl XENCONS_INTERFACE_out_prod(%ebx), %eax
    cmpl XENCONS_INTERFACE_out_cons(%ebx), %eax
    jne 2f
    incl requests_answered
2:  call rewrite
    popl %esi
    popl %ebx
    ret

# Both rings are empty, and the second console is connected again.
    .type begin_anew, @function
begin_anew:
    call behave
    UNLESS_CHANCE 2, 1f
    movl $node_names, %eax
    movl $hostile_values, %edx
    call scribble_node
    call chance_next                # any state, in any order
    andl $7, %eax
    movl $XenbusStateConnected, %edx
    call provoke
    call note_state
1:  movl console_ring, %eax
    call empty_rings
    movl $XenbusStateClosed, %eax
    movl $XenbusStateClosed, %edx
    call provoke
    movl $consfront_page, %eax
    call empty_rings
    movl consfront_port, %eax
    call close_port
    movl $XenbusStateInitialising, %eax
    movl $XenbusStateInitWait, %edx
    call provoke
    movl $EXTRA_REF, next_grant     # the same entry again
    call consfront_connect
    jmp misbehave

# EAX = page.
empty_rings:
    xorl %edx, %edx
    movl %edx, XENCONS_INTERFACE_in_cons(%eax)
    movl %edx, XENCONS_INTERFACE_in_prod(%eax)
    movl %edx, XENCONS_INTERFACE_out_cons(%eax)
    movl %edx, XENCONS_INTERFACE_out_prod(%eax)
    ret

# A word of one of the pages' bytes.
    .type rewrite, @function
rewrite:
    CHANCE 2
    movl console_ring, %ecx
    jz 1f
    movl $consfront_page, %ecx
1:  pushl %ecx
    movl $XENCONS_INTERFACE_in_cons / 4, %eax
    call chance_below
    pushl %eax
    call chance_next
    popl %edx
    popl %ecx
    movl %eax, (%ecx,%edx,4)
    ret

    .type scribble_grant, @function
scribble_grant:
    movl $EXTRA_REF, %eax
    jmp rewrite_grant

    .section .rodata
    .balign 4
indices:
    TABLE
    .long XENCONS_INTERFACE_in_cons, XENCONS_INTERFACE_in_prod, XENCONS_INTERFACE_out_cons
    .long XENCONS_INTERFACE_out_prod
    END_TABLE
jumps:
    TABLE
    .long 1, -1, XENCONS_IN_SIZE, XENCONS_OUT_SIZE, XENCONS_OUT_SIZE + 1, 0x7FFFFFFF, 0x80000000
    END_TABLE
node_names:
    TABLE
    .long ring_ref_node, port_node
    END_TABLE
console_1:
    .asciz "device/console/1"
said:
    .ascii "the console still serves\n"
said_end:
    .byte 0
    .text
