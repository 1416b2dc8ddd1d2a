# The frontend of a network interface that scribbles on its two rings: slots and their sizes, offsets and flags, extra
# ones, pages for what comes, indices, grants and nodes. What it sends is frames that are hardly ones.
#
# With `rewriter` on the command line a second processor changes slots, frames and grants while the first one shows
# them.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "systime.inc"
    .include "cmdline.inc"
    .include "events.inc"
    .include "vcpus.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "flip.inc"
    .include "netfront.inc"
    .include "hostile.inc"

    XEN_NOTES hostile_net

.equ MOST_SLOTS, 48                 # of a batch
.equ HEADERS, 64                    # bytes of a frame that are scribbled on, of those that are looked at

.equ SPARES, 64

    .bss
    .balign PAGE_SIZE
spare_pages:                        # whose frames are given back
    .skip SPARES * PAGE_SIZE
spares_used:
    .skip 4
settled:                            # what follows is no attack
    .skip 4
extra_follows:                      # the last slot says so
    .skip 4
tx_produced:
    .skip 4
rx_produced:
    .skip 4

    .text
    .type main, @function
main:
    call events_init
    call store_init
    call grants_init
    call hostile_init
    movl $vif, %eax
    call device_open
    testl %eax, %eax
    jnz 1f
    PANIC "this domain has no network interface"
1:  call netfront_connect
    movl $RX_PAGES, rx_produced
    call start_rewriter
2:  call batch
    movl requests_made, %eax
    cmpl requests_wanted, %eax
    jb 2b
    call tell_counts
    call behave
    movl $1, settled
    call connect_again
    movl own_mac, %eax              # to itself, which no switch sends back
    movl %eax, tx_frame
    movl own_mac + 4, %eax
    movl %eax, tx_frame + 4
    movl $60, %eax
    xorl %edx, %edx
    call transmit
    PRINT "the interface still serves\n"
    ret

# Slots in both rings, shown in a way that may be wrong; then whatever comes of it.
    .type batch, @function
batch:
    pushl %ebx
    UNLESS_CHANCE 4, 1f
    call scribble_frame
1:  movl $MOST_SLOTS, %eax
    call chance_below
    leal 1(%eax), %ebx
    addl %ebx, requests_made
2:  call hostile_slot
    decl %ebx
    jnz 2b
    movl $RX_PAGES, %eax
    call chance_below
    movl %eax, %ebx
    addl %ebx, requests_made
    addl %ebx, requests_answered    # of posted pages nobody says when they are used
3:  decl %ebx
    js 4f
    call hostile_page
    jmp 3b
4:  movl $tx_ring, %eax
    call begin_to_wait
    UNLESS_CHANCE 16, 5f
    call scribble_grant
5:  movl rx_produced, %eax          # no more than fit, most of the time
    subl rx_ring + SRING_rsp_prod, %eax
    cmpl $RX_ENTRIES, %eax
    jbe 6f
    movl rx_ring + SRING_rsp_prod, %eax
    movl %eax, rx_produced
6:  movl rx_produced, %eax
    movl %eax, rx_ring + SRING_req_prod
    movl tx_produced, %eax
    movl %eax, tx_ring + SRING_req_prod
    UNLESS_CHANCE 16, 7f
    PICK indices
    movl %eax, %ebx
    PICK jumps
    addl %eax, (%ebx)
7:  movl net_port, %eax
    call send_event
    UNLESS_CHANCE 4, 8f
    call rewrite
8:  movl tx_produced, %eax
    call wait_a_while
    je 9f
    call after_trouble
9:  popl %ebx
    ret

    .type after_trouble, @function
after_trouble:
    call note_state
    call behave
    UNLESS_CHANCE 2, 2f
    call close_interface
    UNLESS_CHANCE 2, 1f
    movl $node_names, %eax
    movl $hostile_values, %edx
    call scribble_node
1:  call chance_next                # any state, in any order
    andl $7, %eax
    movl $XenbusStateConnected, %edx
    call provoke
    call note_state
2:  call connect_again
    jmp misbehave

    .type close_interface, @function
close_interface:
    movl $XenbusStateClosed, %eax
    movl $XenbusStateClosed, %edx
    jmp provoke

# As everybody does, with the grants that netfront_connect made.
    .type connect_again, @function
connect_again:
    pushl %ebx
    call close_interface
    movl net_port, %eax
    call close_port
    movl $XenbusStateInitialising, %eax
    movl $XenbusStateInitWait, %edx
    call provoke
    movl $dubious_names, %ebx
1:  movl (%ebx), %eax
    call forget_node
    addl $4, %ebx
    cmpl $dubious_names_end, %ebx
    jne 1b
    movl $GNTTAB_NR_RESERVED_ENTRIES, %ebx      # the two rings', tx_frame's, the pages'
    movl $tx_ring, %eax
    movl $tx_ring_node, %edx
    call share_again
    movl $rx_ring, %eax
    movl $rx_ring_node, %edx
    call share_again
    movl $tx_frame, %eax
    movl $GTF_permit_access | GTF_readonly, %edx
    call grant_again
    xorl %eax, %eax
    movl %eax, tx_ring + SRING_req_prod
    movl %eax, tx_ring + SRING_rsp_prod
    movl %eax, rx_ring + SRING_req_prod
    movl %eax, rx_ring + SRING_rsp_prod
    movl %eax, tx_produced
    incl %eax
    movl %eax, tx_ring + SRING_req_event
    movl %eax, tx_ring + SRING_rsp_event
    movl %eax, rx_ring + SRING_req_event
    movl %eax, rx_ring + SRING_rsp_event
    pushl $0
2:  movl (%esp), %eax
    call post_page
    movl (%esp), %eax
    shll $PAGE_SHIFT, %eax
    addl $rx_pages, %eax
    movl $GTF_permit_access, %edx
    call grant_again
    incl (%esp)
    cmpl $RX_PAGES, (%esp)
    jne 2b
    popl rx_produced
    xorl %eax, %eax                 # domain 0
    call alloc_unbound
    movl %eax, net_port
    movl %eax, %edx
    movl $event_channel_node, %eax
    call front_write_number
    movl $rx_copy_node, %eax
    movl $1, %edx
    call front_write_number
    cmpl $0, settled
    jne 3f
    UNLESS_CHANCE 4, 3f
    movl $rx_copy_node, %eax
    xorl %edx, %edx
    call front_write_number
    call offer_frames
3:  call some_features
    movl $XenbusStateConnected, %eax
    call front_switch
    movl $XenbusStateConnected, %eax
    call wait_backend
    popl %ebx
    ret

# EAX = page, EDX = the name of its node, EBX = its grant, which goes on to the next one.
share_again:
    pushl %eax
    movl %edx, %eax
    movl %ebx, %edx
    call front_write_number
    popl %eax
    movl $GTF_permit_access, %edx
# EAX = page, EDX = flags, EBX = as before.
grant_again:
    movl %ebx, %ecx
    incl %ebx
    jmp renew_grant

# Half of the posted pages are to be exchanged: for some of them a frame was given back, as it should be.
offer_frames:
    pushl %ebx
    xorl %eax, %eax
    call flip_start
    movl $RX_PAGES / 2, %ebx
1:  movl spares_used, %eax
    cmpl $SPARES, %eax
    je 2f
    incl spares_used
    shll $PAGE_SHIFT, %eax
    addl $spare_pages, %eax
    movl rx_refs - 4(,%ebx,4), %edx
    call flip_out
    UNLESS_CHANCE 4, 3f
2:  PICK pfns
    movl rx_refs - 4(,%ebx,4), %edx
    movl %eax, grant_table + GRANT_ENTRY_V1_frame(,%edx,8)
    movl $GTF_accept_transfer, grant_table + GRANT_ENTRY_V1_flags(,%edx,8)
3:  decl %ebx
    jnz 1b
    movl $0, flipping
    popl %ebx
    ret

some_features:
    pushl %ebx
    movl $features, %ebx
1:  CHANCE 2
    movl %eax, %edx
    movl (%ebx), %eax
    call front_write_number
    addl $4, %ebx
    cmpl $features_end, %ebx
    jne 1b
    popl %ebx
    ret

# A slot for sending: chance alone, extra information, or nearly right.
    .type hostile_slot, @function
hostile_slot:
    pushl %edi
    movl tx_produced, %eax
    incl tx_produced
    andl $TX_ENTRIES - 1, %eax
    leal (%eax,%eax,2), %eax
    leal tx_ring + SRING_sizeof(,%eax,4), %edi
    UNLESS_CHANCE 512, 1f
    movl %edi, %eax
    movl $NETIF_TX_REQUEST_sizeof / 4, %edx
    call chance_fill
    popl %edi
    ret
1:  cmpl $0, extra_follows
    jne 8f
    UNLESS_CHANCE 1024, 2f
8:  movl $0, extra_follows
    PICK extras
    movl %eax, NETIF_EXTRA_INFO_type(%edi)      # and its flags, and the size of segments
    PICK kinds
    movl %eax, NETIF_EXTRA_INFO_u_gso_type(%edi)
    popl %edi
    ret
2:  call some_ref
    movl %eax, NETIF_TX_REQUEST_gref(%edi)
    movw $0, NETIF_TX_REQUEST_offset(%edi)
    UNLESS_CHANCE 512, 3f
    PICK odd_offsets
    movw %ax, NETIF_TX_REQUEST_offset(%edi)
3:  PICK flags
    movw %ax, NETIF_TX_REQUEST_flags(%edi)
    UNLESS_CHANCE 64, 4f
    PICK odd_flags
    movw %ax, NETIF_TX_REQUEST_flags(%edi)
    andl $NETTXF_extra_info, %eax
    movl %eax, extra_follows
4:  PICK sizes
    movw %ax, NETIF_TX_REQUEST_size(%edi)
    UNLESS_CHANCE 512, 5f
    PICK odd_sizes
    movw %ax, NETIF_TX_REQUEST_size(%edi)
5:  call chance_next
    movw %ax, NETIF_TX_REQUEST_id(%edi)
    popl %edi
    ret

# A page for what comes, or none.
    .type hostile_page, @function
hostile_page:
    call some_ref
    movl rx_produced, %ecx
    incl rx_produced
    andl $RX_ENTRIES - 1, %ecx
    movl %eax, rx_ring + SRING_sizeof + NETIF_RX_REQUEST_gref(,%ecx,8)
    pushl %ecx
    call chance_next
    popl %ecx
    movl %eax, rx_ring + SRING_sizeof + NETIF_RX_REQUEST_id(,%ecx,8)
    ret

# A reference, most of the time one of the pages'.
some_ref:
    movl $RX_PAGES + 1, %eax
    call chance_below
    cmpl $RX_PAGES, %eax
    jae 1f
    movl rx_refs(,%eax,4), %eax
    ret
1:  PICK odd_refs
    ret

# The head of a page becomes one of a frame of some kind, to somebody, from itself or from anybody.
    .type scribble_frame, @function
scribble_frame:
    pushl %edi
    movl $RX_PAGES, %eax
    call chance_below
    shll $PAGE_SHIFT, %eax
    leal rx_pages(%eax), %edi
    movl %edi, %eax
    movl $HEADERS / 4, %edx
    call chance_fill
    UNLESS_CHANCE 2, 1f
    movl $0xFFFFFFFF, (%edi)
    movl $0xFFFFFFFF, 4(%edi)
1:  andb $0xFE, 6(%edi)             # a sender is no group
    PICK types
    movl %eax, 12(%edi)
    popl %edi
    ret

    .type scribble_grant, @function
scribble_grant:
    movl $RX_PAGES + 3, %eax
    call chance_below
    addl $GNTTAB_NR_RESERVED_ENTRIES, %eax
    jmp rewrite_grant

# A word of what the backend reads.
rewrite:
    PICK rewritten
    pushl %eax
    movl $HEADERS, %eax
    call chance_below
    pushl %eax
    call chance_next
    popl %edx
    popl %ecx
    movl %eax, (%ecx,%edx,4)
    ret

    .section .rodata
    .balign 4
pfns:
    TABLE
    .long 0, 1, 300, 1023, 1024, 0x00FFFFFF, 0x7FFFFFFF, 0xFFFFFFFF
    END_TABLE
odd_offsets:
    TABLE
    .long 1, 536, 4082, 4095, 4096, 65535
    END_TABLE
sizes:
    TABLE
    .long 60, 60, 90, 1514, 1514, 4096, 13, 14
    END_TABLE
odd_sizes:
    TABLE
    .long 0, 1, 4097, 9000, 65535
    END_TABLE
flags:                              # most packets have one slot
    TABLE
    .long 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NETTXF_csum_blank, NETTXF_csum_blank | NETTXF_data_validated
    .long NETTXF_data_validated
    END_TABLE
odd_flags:
    TABLE
    .long NETTXF_more_data, NETTXF_more_data, NETTXF_extra_info, NETTXF_extra_info, NETTXF_extra_info | NETTXF_more_data
    .long 16, 0xFFF0
    END_TABLE
extras:                             # type | flags << 8 | size of segments << 16
    TABLE
    .long XEN_NETIF_EXTRA_TYPE_GSO | 536 << 16, XEN_NETIF_EXTRA_TYPE_GSO | 1448 << 16, XEN_NETIF_EXTRA_TYPE_HASH
    .long XEN_NETIF_EXTRA_TYPE_MCAST_ADD | 1 << 16, XEN_NETIF_EXTRA_TYPE_MCAST_ADD, XEN_NETIF_EXTRA_TYPE_MCAST_DEL
    .long XEN_NETIF_EXTRA_TYPE_GSO | XEN_NETIF_EXTRA_FLAG_MORE << 8 | 1 << 16, XEN_NETIF_EXTRA_TYPE_GSO
    .long XEN_NETIF_EXTRA_TYPE_MAX
    END_TABLE
kinds:
    TABLE
    .long XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6, XEN_NETIF_GSO_TYPE_NONE
    END_TABLE
types:                              # what follows the addresses: IPv4, ARP, IPv6, a VLAN, a length
    TABLE
    .long 0x00450008, 0x4F450008, 0x01000608, 0x0060DD86, 0x05000081, 0x2E00
    END_TABLE
indices:
    TABLE
    .long tx_ring + SRING_req_prod, tx_ring + SRING_req_prod, tx_ring + SRING_rsp_prod, tx_ring + SRING_req_event
    .long tx_ring + SRING_rsp_event, rx_ring + SRING_req_prod, rx_ring + SRING_req_prod, rx_ring + SRING_rsp_prod
    .long rx_ring + SRING_req_event, rx_ring + SRING_rsp_event
    END_TABLE
jumps:
    TABLE
    .long 1, 2, TX_ENTRIES - 1, TX_ENTRIES, TX_ENTRIES + 1, -1, -TX_ENTRIES, 0x7FFFFFFF, 0x80000000
    END_TABLE
rewritten:
    TABLE
    .long tx_ring + SRING_sizeof, rx_ring + SRING_sizeof, rx_pages, rx_pages + PAGE_SIZE
    END_TABLE
node_names:
    TABLE
    .long tx_ring_node, rx_ring_node, event_channel_node, event_channel_tx_node, rx_copy_node, queues_node
    END_TABLE
dubious_names:                      # those that make another frontend
    .long event_channel_tx_node, queues_node
dubious_names_end:
features:
    .long sg_node, gso_node, no_checksum_node, multicast_node
features_end:
vif:
    .asciz "device/vif/0"
event_channel_tx_node:
    .asciz "event-channel-tx"
queues_node:
    .asciz "multi-queue-num-queues"
sg_node:
    .asciz "feature-sg"
gso_node:
    .asciz "feature-gso-tcpv4"
no_checksum_node:
    .asciz "feature-no-csum-offload"
multicast_node:
    .asciz "request-multicast-control"
    .text
