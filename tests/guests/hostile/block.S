# The frontend of a disk that scribbles on its own ring: entries, indices, segments, lists of segments, grants that end
# or change under way, nodes that say nonsense. At its end it behaves, and its disk has to as well.
#
# With `rewriter` on the command line a second processor changes entries, pages and grants while the first one shows
# them.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "cmdline.inc"
    .include "events.inc"
    .include "vcpus.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "blkfront.inc"
    .include "hostile.inc"

    XEN_NOTES hostile_block

.equ ENTRY_WORDS, BLKIF_RING_ENTRY_SIZE / 4
.equ ENTRIES_AT, disk_ring + SRING_sizeof
.equ READABLE_PAGE, 1               # the number of one that is granted for reading only

    .bss
    .balign 4
batch_segments:                     # requests of this batch have fewer than that
    .skip 4

    .text
    .type main, @function
main:
    call events_init
    call store_init
    call grants_init
    call hostile_init
    movl $xvda, %eax
    call device_open
    testl %eax, %eax
    jnz 1f
    PANIC "this domain has no xvda"
1:  call blkfront_connect
    call start_rewriter
2:  call batch
    movl requests_made, %eax
    cmpl requests_wanted, %eax
    jb 2b
    call tell_counts
    call behave
    call mend_grants
    call blkfront_close
    call blkfront_connect
    movl $BLKIF_OP_WRITE, %eax
    call one_sector
    movl $0, disk_pages
    movl $BLKIF_OP_READ, %eax
    call one_sector
    cmpl $0x600DD15C, disk_pages
    jne 3f
    PRINT "the disk still serves\n"
    ret
3:  PANIC "what was read is not what was written"

# EAX = operation on the page that is 0x600DD15C.
one_sector:
    movl $0x600DD15C, %edx
    cmpl $BLKIF_OP_WRITE, %eax
    jne 1f
    movl %edx, disk_pages
1:  xorl %edx, %edx
    movl $1 << 16, %ecx
    call transfer
    call finish
    MUST transfer
    ret

# Up to a ring of requests, shown in a way that may be wrong; then whatever comes of it.
    .type batch, @function
batch:
    pushl %ebx
    PICK segment_limits
    movl %eax, batch_segments
    movl $RING_ENTRIES, %eax
    call chance_below
    leal 1(%eax), %ebx
    addl %ebx, requests_made
1:  call hostile_entry
    decl %ebx
    jnz 1b
    movl $disk_ring, %eax
    call begin_to_wait
    UNLESS_CHANCE 16, 2f
    call scribble_grant
2:  movl requested, %eax
    movl %eax, disk_ring + SRING_req_prod
    UNLESS_CHANCE 12, 3f
    PICK indices
    movl %eax, %ebx
    PICK jumps
    addl %eax, (%ebx)
3:  movl disk_port, %eax
    call send_event
    UNLESS_CHANCE 4, 4f
    call rewrite                    # whatever the backend has not taken yet
4:  movl requested, %eax
    call wait_a_while
    je 5f
    call after_trouble
5:  popl %ebx
    ret

# Not everything was answered: the device has closed, an index was put elsewhere, or the backend is slow.
    .type after_trouble, @function
after_trouble:
    call note_state
    call behave
    call reconnect
    jmp misbehave

# As everybody does, or not at the first time.
    .type reconnect, @function
reconnect:
    call mend_grants
    call blkfront_close
    UNLESS_CHANCE 2, blkfront_connect
    UNLESS_CHANCE 2, 2f
    movl $node_names, %eax
    movl $hostile_values, %edx
    call scribble_node
2:  call chance_next                # any state, in any order
    andl $7, %eax
    movl $XenbusStateConnected, %edx
    call provoke
    call note_state
    call forget_nodes
    call blkfront_close
    jmp blkfront_connect

# What blkfront_connect does not write itself.
forget_nodes:
    movl $ring_page_order_word, %eax
    movl $zero_word, %edx
    call front_write
    movl $ring_ref0_word, %eax
    jmp forget_node

# The next entry: chance alone, or nearly right.
    .type hostile_entry, @function
hostile_entry:
    pushl %ebx
    pushl %esi
    pushl %edi
    call next_entry
    movl %eax, %edi
    UNLESS_CHANCE 16, 1f
    movl %edi, %eax
    movl $ENTRY_WORDS, %edx
    call chance_fill
    jmp 9f
1:  PICK operations
    movb %al, BLKIF_REQUEST_operation(%edi)
    cmpl $BLKIF_OP_INDIRECT, %eax
    je 5f
    cmpl $BLKIF_OP_DISCARD, %eax
    je 7f
    PICK sectors
    movl %eax, BLKIF_REQUEST_sector_number(%edi)
    UNLESS_CHANCE 64, 2f
    movl %eax, BLKIF_REQUEST_sector_number + 4(%edi)
2:  movl batch_segments, %eax
    call chance_below
    movb %al, BLKIF_REQUEST_nr_segments(%edi)
    movl %eax, %ebx
    cmpl $BLKIF_MAX_SEGMENTS_PER_REQUEST, %ebx
    jbe 3f
    movl $BLKIF_MAX_SEGMENTS_PER_REQUEST, %ebx
3:  testl %ebx, %ebx
    jz 9f
    leal BLKIF_REQUEST_seg(%edi), %edi
4:  call hostile_segment
    decl %ebx
    jnz 4b
    jmp 9f
5:  PICK operations
    movb %al, BLKIF_REQUEST_INDIRECT_indirect_op(%edi)
    PICK sectors
    movl %eax, BLKIF_REQUEST_INDIRECT_sector_number(%edi)
    PICK counts
    movw %ax, BLKIF_REQUEST_INDIRECT_nr_segments(%edi)
    movl segments_ref, %eax
    movl %eax, BLKIF_REQUEST_INDIRECT_indirect_grefs(%edi)
    UNLESS_CHANCE 4, 6f
    call some_ref
    movl %eax, BLKIF_REQUEST_INDIRECT_indirect_grefs(%edi)
6:  movl $PAGE_SIZE / BLKIF_REQUEST_SEGMENT_sizeof, %eax
    call chance_below
    leal segments(,%eax,8), %edi    # its list, or one that another request of this batch has
    call hostile_segment
    jmp 9f
7:  PICK sectors
    movl %eax, BLKIF_REQUEST_DISCARD_sector_number(%edi)
    PICK counts
    movl %eax, BLKIF_REQUEST_DISCARD_nr_sectors(%edi)
    call chance_next
    movb %al, BLKIF_REQUEST_DISCARD_flag(%edi)
9:  popl %edi
    popl %esi
    popl %ebx
    ret

# A segment at EDI, which is moved past it.
hostile_segment:
    call some_ref
    movl %eax, BLKIF_REQUEST_SEGMENT_gref(%edi)
    PICK extents
    movw %ax, BLKIF_REQUEST_SEGMENT_first_sect(%edi)    # and the last one
    addl $BLKIF_REQUEST_SEGMENT_sizeof, %edi
    ret

# A reference, most of the time one that is granted.
some_ref:
    movl $DISK_PAGES + 1, %eax
    call chance_below
    cmpl $DISK_PAGES, %eax
    jae 1f
    movl disk_refs(,%eax,4), %eax
    ret
1:  PICK odd_refs
    ret

# One grant, of a page, of the ring itself or of the list, ends or becomes another one, in use or not.
    .type scribble_grant, @function
scribble_grant:
    movl $DISK_PAGES + 2, %eax
    call chance_below
    addl $GNTTAB_NR_RESERVED_ENTRIES, %eax
    jmp rewrite_grant

# All grants as blkfront_connect made them, but that one page is only for reading.
    .type mend_grants, @function
mend_grants:
    pushl %ebx
    xorl %ebx, %ebx
1:  movl %ebx, %eax
    shll $PAGE_SHIFT, %eax
    addl $disk_pages, %eax
    movl $GTF_permit_access, %edx
    movl disk_refs(,%ebx,4), %ecx
    call renew_grant
    incl %ebx
    cmpl $DISK_PAGES, %ebx
    jb 1b
    movl disk_refs + READABLE_PAGE * 4, %ecx
    movl $GTF_permit_access | GTF_readonly, grant_table + GRANT_ENTRY_V1_flags(,%ecx,8)
    movl $disk_ring, %eax
    movl $GTF_permit_access, %edx
    movl ring_ref, %ecx
    call renew_grant
    movl $segments, %eax
    movl $GTF_permit_access, %edx
    movl segments_ref, %ecx
    popl %ebx
    jmp renew_grant

# A word somewhere in the entries, in the list of segments or in a page of data.
    .type rewrite, @function
rewrite:
    PICK rewritten
    pushl %eax
    movl $PAGE_SIZE / 4, %eax
    call chance_below
    pushl %eax
    call chance_next
    popl %edx
    popl %ecx
    cmpl $ENTRIES_AT, %ecx
    jne 1f
    cmpl $(PAGE_SIZE - SRING_sizeof) / 4, %edx
    jae 2f
1:  movl %eax, (%ecx,%edx,4)
2:  ret

    .section .rodata
    .balign 4
operations:
    TABLE
    .long BLKIF_OP_READ, BLKIF_OP_READ, BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_OP_WRITE, BLKIF_OP_WRITE_BARRIER
    .long BLKIF_OP_FLUSH_DISKCACHE, 4, BLKIF_OP_DISCARD, BLKIF_OP_INDIRECT, 7, 255
    END_TABLE
sectors:                            # of a disk of 8192
    TABLE
    .long 0, 1, 8, 50, 77, 100, 128, 200, 8184, 8191, 8192, 0x7FFFFFFF, 0xFFFFFFFF
    END_TABLE
counts:
    TABLE
    .long 0, 1, 2, 8, 64, 256, 257, 512, 0xFFFF, 0xFFFFFFFF
    END_TABLE
extents:                            # first sector of a segment | last << 8
    TABLE
    .long 0x700, 0x700, 0x700, 0x700, 0x700, 0x700, 0x000, 0x303, 0x703, 0x707
    .long 0x007, 0x800, 0x707, 0xFF00, 0xFFFF
    END_TABLE
segment_limits:
    TABLE
    .long 3, 3, 3, 3, 4, 4, 13, 256
    END_TABLE
indices:
    TABLE
    .long disk_ring + SRING_req_prod, disk_ring + SRING_rsp_prod, disk_ring + SRING_req_event
    .long disk_ring + SRING_rsp_event
    END_TABLE
jumps:                              # of an index
    TABLE
    .long 1, 2, RING_ENTRIES - 1, RING_ENTRIES, RING_ENTRIES + 1, -1, -RING_ENTRIES, 0x7FFFFFFF, 0x80000000
    END_TABLE
rewritten:
    TABLE
    .long ENTRIES_AT, ENTRIES_AT, segments, disk_pages
    END_TABLE
node_names:
    TABLE
    .long ring_ref_word, ring_ref0_word, ring_page_order_word, event_channel_word, protocol_word
    END_TABLE
ring_ref0_word:
    .asciz "ring-ref0"
ring_page_order_word:
    .asciz "ring-page-order"
zero_word:
    .asciz "0"
xvda:
    .asciz "device/vbd/51712"
    .text
