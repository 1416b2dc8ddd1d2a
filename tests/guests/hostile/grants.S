# Requests about grants with arguments that are nearly right, in lists of several: two domains with this kernel lend each
# other pages, map, copy, give away, end, change versions, in any order. `peer=` is the other one's number.
#
# Observe: what the hypervisor says is mapped can be read at once. Nothing else is counted on.

    .include "runtime.inc"
    .include "paging.inc"
    .include "cmdline.inc"
    .include "grants.inc"
    .include "counts.inc"

    XEN_NOTES hostile_grants

.equ PAGES, 16                      # that are lent, and as many addresses where others' are mapped
.equ SPARES, 64                     # pages that are given away
.equ HANDLES, 32                    # that are remembered; the mappings of others stay until the end
.equ NO_HANDLE, -1
.equ LONGEST, 16                    # requests in a list
.equ LARGEST, GNTTAB_MAP_GRANT_REF_sizeof

    .bss
    .balign PAGE_SIZE
lent_pages:
    .skip PAGES * PAGE_SIZE
windows:
    .skip PAGES * PAGE_SIZE
spare_pages:
    .skip SPARES * PAGE_SIZE
requests:
    .skip LONGEST * LARGEST
frames:                             # where lists of frames are written
    .skip PAGE_SIZE
spare_mfns:
    .skip SPARES * 4
handles:                            # each with the address of its mapping
    .skip HANDLES * 8
reservation:                        # struct xen_memory_reservation
    .skip XEN_MEMORY_RESERVATION_sizeof
peer:
    .skip 4
version:                            # of the table: 1 or 2
    .skip 4
chosen_operation:
    .skip 4

    .text
    .type main, @function
main:
    call grants_init
    call hostile_init
    movl $peer_word, %eax
    movl $1, %edx
    call cmdline_number
    movl %eax, peer
    movl $1, version
    movl $handles, %edi
    movl $2 * HANDLES, %ecx
    movl $NO_HANDLE, %eax
    rep stosl
    xorl %ebx, %ebx
1:  movl %ebx, %eax
    shll $PAGE_SHIFT, %eax
    addl $spare_pages, %eax
    pushl %eax
    call va_to_mfn
    movl %eax, spare_mfns(,%ebx,4)
    popl %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    call write_pte
    MUST unmap_page
    incl %ebx
    cmpl $SPARES, %ebx
    jb 1b
    movl $version_operation, %eax   # later it is refused most of the time: there are mappings
    call request
2:  call rewrite_entry
    PICK operations
    call request
    UNLESS_CHANCE 32, 3f
    call some_window                # as a guest does that just clears an entry
    xorl %edx, %edx
    xorl %ecx, %ecx
    call write_pte
3:  UNLESS_CHANCE 32, 5f
    call fetch_frames
5:  UNLESS_CHANCE 8, 4f
    call yield                      # the other one's turn
4:  movl requests_made, %eax
    cmpl requests_wanted, %eax
    jb 2b
    jmp tell_counts

# Others in the place of frames that were given away, as far as the domain may have them.
    .type fetch_frames, @function
fetch_frames:
    pushl %ebx
    movl $SPARES - 4, %eax
    call chance_below
    leal spare_mfns(,%eax,4), %eax
    movl %eax, reservation + XEN_MEMORY_RESERVATION_extent_start
    movl $4, reservation + XEN_MEMORY_RESERVATION_nr_extents
    movw $DOMID_SELF, reservation + XEN_MEMORY_RESERVATION_domid
    movl $XENMEM_increase_reservation, %ebx
    movl $reservation, %ecx
    HYPERCALL memory_op
    popl %ebx
    ret

# EAX = an operation: a list of such requests.
    .type request, @function
request:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, chosen_operation
    movl MOST(%eax), %eax
    call chance_below
    leal 1(%eax), %ebx
    UNLESS_CHANCE 64, 1f
    movl $LONGEST, %ebx
1:  addl %ebx, requests_made
    movl $requests, %edi
    movl %ebx, %esi
1:  movl chosen_operation, %eax
    call *FILL(%eax)
    movl chosen_operation, %eax
    addl SIZE(%eax), %edi
    decl %esi
    jnz 1b
    pushl %ebx
    movl %ebx, %edx
    movl chosen_operation, %eax
    movl COMMAND(%eax), %ebx
    movl $requests, %ecx
    HYPERCALL grant_table_op
    popl %ebx
    movl %eax, %ecx
    movl $requests, %edi
2:  movl chosen_operation, %eax
    pushl %ecx
    call *TAKE(%eax)
    popl %ecx
    movl chosen_operation, %eax
    addl SIZE(%eax), %edi
    decl %ebx
    jnz 2b
    popl %edi
    popl %esi
    popl %ebx
    ret

# What an operation is: its command, bytes of a request; what fills in the one at EDI; what looks at it afterwards; and
# how many are asked for at once, but for chance.
.equ COMMAND, 0
.equ SIZE, 4
.equ FILL, 8
.equ TAKE, 12
.equ MOST, 16

fill_map:
    call some_window
    movl %eax, GNTTAB_MAP_GRANT_REF_host_addr(%edi)
    movl $0, GNTTAB_MAP_GRANT_REF_host_addr + 4(%edi)
    PICK map_flags
    movl %eax, GNTTAB_MAP_GRANT_REF_flags(%edi)
    testl $GNTMAP_contains_pte, %eax
    jz 1f
    call window_entry
    movl %eax, GNTTAB_MAP_GRANT_REF_host_addr(%edi)
    movl %edx, GNTTAB_MAP_GRANT_REF_host_addr + 4(%edi)
1:  UNLESS_CHANCE 32, 2f
    PICK odd_addresses
    movl %eax, GNTTAB_MAP_GRANT_REF_host_addr(%edi)
    movl $GNTMAP_readonly, GNTTAB_MAP_GRANT_REF_flags(%edi)
2:  call some_ref
    movl %eax, GNTTAB_MAP_GRANT_REF_ref(%edi)
    call some_domain
    movw %ax, GNTTAB_MAP_GRANT_REF_dom(%edi)
    movw $GNTST_general_error, GNTTAB_MAP_GRANT_REF_status(%edi)
    ret

take_map:
    cmpw $GNTST_okay, GNTTAB_MAP_GRANT_REF_status(%edi)
    jne 1f
    incl requests_answered
    movl $HANDLES, %eax
    call chance_below
    movl GNTTAB_MAP_GRANT_REF_handle(%edi), %edx
    movl %edx, handles(,%eax,8)
    movl GNTTAB_MAP_GRANT_REF_host_addr(%edi), %ecx
    movl %ecx, handles + 4(,%eax,8)
    movl GNTTAB_MAP_GRANT_REF_flags(%edi), %eax
    andl $GNTMAP_host_map | GNTMAP_contains_pte, %eax
    cmpl $GNTMAP_host_map, %eax
    jne 1f
    movl (%ecx), %eax               # it is there
1:  ret

fill_unmap:
    call some_handle
    movl %eax, GNTTAB_UNMAP_GRANT_REF_handle(%edi)
    movl %edx, GNTTAB_UNMAP_GRANT_REF_host_addr(%edi)
    xorl %eax, %eax
    movl %eax, GNTTAB_UNMAP_GRANT_REF_host_addr + 4(%edi)
    movl %eax, GNTTAB_UNMAP_GRANT_REF_dev_bus_addr(%edi)
    movl %eax, GNTTAB_UNMAP_GRANT_REF_dev_bus_addr + 4(%edi)
    movw $GNTST_general_error, GNTTAB_UNMAP_GRANT_REF_status(%edi)
    UNLESS_CHANCE 16, 1f
    PICK odd_addresses
    movl %eax, GNTTAB_UNMAP_GRANT_REF_dev_bus_addr(%edi)
1:  ret

take_unmap:
    movw GNTTAB_UNMAP_GRANT_REF_status(%edi), %ax
    jmp count_status

fill_replace:
    call some_handle
    movl %eax, GNTTAB_UNMAP_AND_REPLACE_handle(%edi)
    movl %edx, GNTTAB_UNMAP_AND_REPLACE_host_addr(%edi)
    movl $0, GNTTAB_UNMAP_AND_REPLACE_host_addr + 4(%edi)
    call some_window
    movl %eax, GNTTAB_UNMAP_AND_REPLACE_new_addr(%edi)
    movl $0, GNTTAB_UNMAP_AND_REPLACE_new_addr + 4(%edi)
    movw $GNTST_general_error, GNTTAB_UNMAP_AND_REPLACE_status(%edi)
    ret

take_replace:
    movw GNTTAB_UNMAP_AND_REPLACE_status(%edi), %ax

# AX = status: counts what was done.
count_status:
    cmpw $GNTST_okay, %ax
    jne 1f
    incl requests_answered
1:  ret

fill_copy:
    PICK copy_flags
    movw %ax, GNTTAB_COPY_flags(%edi)
    pushl %eax
    testl $GNTCOPY_source_gref, %eax
    call some_page_or_ref
    movl %eax, GNTTAB_COPY_source_u(%edi)
    movw %dx, GNTTAB_COPY_source_domid(%edi)
    popl %eax
    testl $GNTCOPY_dest_gref, %eax
    call some_page_or_ref
    movl %eax, GNTTAB_COPY_dest_u(%edi)
    movw %dx, GNTTAB_COPY_dest_domid(%edi)
    PICK offsets
    movw %ax, GNTTAB_COPY_source_offset(%edi)
    PICK offsets
    movw %ax, GNTTAB_COPY_dest_offset(%edi)
    PICK lengths
    movw %ax, GNTTAB_COPY_len(%edi)
    movw $GNTST_general_error, GNTTAB_COPY_status(%edi)
    ret

take_copy:
    movw GNTTAB_COPY_status(%edi), %ax
    jmp count_status

fill_transfer:
    movl $SPARES, %eax
    call chance_below
    movl spare_mfns(,%eax,4), %eax
    movl %eax, GNTTAB_TRANSFER_mfn(%edi)
    UNLESS_CHANCE 8, 1f
    call some_page
    movl %eax, GNTTAB_TRANSFER_mfn(%edi)
1:  call some_domain
    movw %ax, GNTTAB_TRANSFER_domid(%edi)
    call some_ref
    movl %eax, GNTTAB_TRANSFER_ref(%edi)
    movw $GNTST_general_error, GNTTAB_TRANSFER_status(%edi)
    ret

take_transfer:
    movw GNTTAB_TRANSFER_status(%edi), %ax
    jmp count_status

fill_setup:
    call some_domain
    movl %eax, GNTTAB_SETUP_TABLE_dom(%edi)
    PICK counts
    movl %eax, GNTTAB_SETUP_TABLE_nr_frames(%edi)
    movl $frames, GNTTAB_SETUP_TABLE_frame_list(%edi)
    UNLESS_CHANCE 8, 1f
    PICK odd_addresses
    movl %eax, GNTTAB_SETUP_TABLE_frame_list(%edi)
1:  movw $GNTST_general_error, GNTTAB_SETUP_TABLE_status(%edi)
    ret

take_setup:
    movw GNTTAB_SETUP_TABLE_status(%edi), %ax
    jmp count_status

fill_status_frames:
    PICK counts
    movl %eax, GNTTAB_GET_STATUS_FRAMES_nr_frames(%edi)
    call some_domain
    movw %ax, GNTTAB_GET_STATUS_FRAMES_dom(%edi)
    movl $frames, GNTTAB_GET_STATUS_FRAMES_frame_list(%edi)
    movl $0, GNTTAB_GET_STATUS_FRAMES_frame_list + 4(%edi)
    movw $GNTST_general_error, GNTTAB_GET_STATUS_FRAMES_status(%edi)
    ret

take_status_frames:
    movw GNTTAB_GET_STATUS_FRAMES_status(%edi), %ax
    jmp count_status

fill_version:
    PICK versions
    movl %eax, GNTTAB_SET_VERSION_version(%edi)
    ret

# The version that is in force after all of them is in the answer to the first.
take_version:
    movl requests + GNTTAB_SET_VERSION_version, %eax
    cmpl $2, %eax
    ja 1f
    testl %eax, %eax
    jz 1f
    movl %eax, version
1:  ret

fill_swap:
    call some_ref
    movl %eax, GNTTAB_SWAP_GRANT_REF_ref_a(%edi)
    call some_ref
    movl %eax, GNTTAB_SWAP_GRANT_REF_ref_b(%edi)
    movw $GNTST_general_error, GNTTAB_SWAP_GRANT_REF_status(%edi)
    ret

take_swap:
    movw GNTTAB_SWAP_GRANT_REF_status(%edi), %ax
    jmp count_status

fill_query:
    call some_domain
    movl %eax, GNTTAB_QUERY_SIZE_dom(%edi)
    ret

take_query:
    movw GNTTAB_QUERY_SIZE_status(%edi), %ax
    jmp count_status

fill_flush:
    movl %edi, %eax
    movl $GNTTAB_CACHE_FLUSH_sizeof / 4, %edx
    call chance_fill
    call some_ref
    movl %eax, GNTTAB_CACHE_FLUSH_a_ref(%edi)
    ret

take_nothing:
    ret

# An entry of the table becomes another one, whether it is in use or not.
    .type rewrite_entry, @function
rewrite_entry:
    pushl %ebx
    pushl %esi
    movl $PAGES, %eax
    call chance_below
    leal GNTTAB_NR_RESERVED_ENTRIES(%eax), %ebx
    PICK entry_flags
    movl %eax, %esi
    call some_domain
    shll $16, %eax
    orl %eax, %esi
    call some_page
    testl $1, %esi
    jnz 1f
    movl $PAGES, %eax               # the pfn of a page that is given away, if it is for a transfer
    call chance_below
    addl $(spare_pages - VIRT_BASE) >> PAGE_SHIFT, %eax
1:  cmpl $2, version
    je 2f
    movl %eax, grant_table + GRANT_ENTRY_V1_frame(,%ebx,8)
    movl %esi, grant_table + GRANT_ENTRY_V1_flags(,%ebx,8)
    jmp 4f
2:  shll $4, %ebx
    movl %eax, grant_table + GRANT_ENTRY_V2_full_page_frame(%ebx)
    movl $0, grant_table + GRANT_ENTRY_V2_full_page_frame + 4(%ebx)
    movl $0x01000000, grant_table + GRANT_ENTRY_V2_sub_page_page_off(%ebx)      # 256 bytes from 0 on
    movl %esi, %eax
    andl $GTF_type_mask, %eax
    cmpl $GTF_transitive, %eax
    jne 3f
    call some_ref
    movl %eax, grant_table + GRANT_ENTRY_V2_transitive_gref(%ebx)
    call some_domain
    movw %ax, grant_table + GRANT_ENTRY_V2_transitive_trans_domid(%ebx)
3:  movl %esi, grant_table + GRANT_ENTRY_V2_full_page_hdr_flags(%ebx)
4:  popl %esi
    popl %ebx
    ret

some_ref:
    movl $PAGES, %eax
    call chance_below
    addl $GNTTAB_NR_RESERVED_ENTRIES, %eax
    pushl %eax
    UNLESS_CHANCE 32, 1f
    PICK odd_refs
    movl %eax, (%esp)
1:  popl %eax
    ret

# Nearly always the other one.
some_domain:
    UNLESS_CHANCE 16, 1f
    PICK odd_domains
    ret
1:  movl peer, %eax
    ret

some_window:
    movl $PAGES, %eax
    call chance_below
    shll $PAGE_SHIFT, %eax
    addl $windows, %eax
    ret

# The machine address of a window's level 1 entry: EDX:EAX.
window_entry:
    call some_window
    pushl %eax
    andl $~((1 << L2_SHIFT) - 1), %eax
    movl %eax, %ecx
    shrl $L2_SHIFT, %ecx
    andl $ENTRIES - 1, %ecx
    pushl %ecx
    call kernel_l2
    popl %edx
    call read_entry
    call pte_to_mfn
    movl %eax, %edx
    shll $PAGE_SHIFT, %eax
    shrl $32 - PAGE_SHIFT, %edx
    popl %ecx
    shrl $PAGE_SHIFT, %ecx
    andl $ENTRIES - 1, %ecx
    leal (%eax,%ecx,ENTRY_SIZE), %eax
    ret

# The mfn of a page that is lent, or of anything.
some_page:
    movl $PAGES, %eax
    call chance_below
    shll $PAGE_SHIFT, %eax
    addl $lent_pages, %eax
    call va_to_mfn
    pushl %eax
    UNLESS_CHANCE 32, 1f
    PICK odd_frames
    movl %eax, (%esp)
1:  popl %eax
    ret

# ZF clear: a reference and the domain that is to have granted it, else one of the own pages' frames and DOMID_SELF.
some_page_or_ref:
    jz 1f
    call some_domain
    pushl %eax
    call some_ref
    popl %edx
    ret
1:  call some_page
    movl $DOMID_SELF, %edx
    ret

# A handle, and the address of its mapping or another one.
some_handle:
    movl $HANDLES, %eax
    call chance_below
    movl $HANDLES, %ecx
1:  cmpl $NO_HANDLE, handles(,%eax,8)
    jne 2f
    incl %eax                       # the next one that there is
    andl $HANDLES - 1, %eax
    loop 1b
2:  pushl handles + 4(,%eax,8)
    pushl handles(,%eax,8)
    movl $NO_HANDLE, handles(,%eax,8)
    UNLESS_CHANCE 16, 3f
    call some_window
    movl %eax, 4(%esp)
3:  UNLESS_CHANCE 16, 4f
    PICK odd_refs
    movl %eax, (%esp)
4:  popl %eax
    popl %edx
    ret

    .section .rodata
    .balign 4
.macro OPERATION name:req, command:req, size:req, most=LONGEST
\name\()_operation:
    .long GNTTABOP_\command, \size\()_sizeof, fill_\name, take_\name, \most
.endm
    OPERATION map, map_grant_ref, GNTTAB_MAP_GRANT_REF
    OPERATION unmap, unmap_grant_ref, GNTTAB_UNMAP_GRANT_REF
    OPERATION replace, unmap_and_replace, GNTTAB_UNMAP_AND_REPLACE
    OPERATION copy, copy, GNTTAB_COPY
    OPERATION transfer, transfer, GNTTAB_TRANSFER
    OPERATION setup, setup_table, GNTTAB_SETUP_TABLE, 1
    OPERATION status_frames, get_status_frames, GNTTAB_GET_STATUS_FRAMES, 1
    OPERATION version, set_version, GNTTAB_SET_VERSION, 1
    OPERATION swap, swap_grant_ref, GNTTAB_SWAP_GRANT_REF
    OPERATION query, query_size, GNTTAB_QUERY_SIZE, 1
flush_operation:
    .long GNTTABOP_cache_flush, GNTTAB_CACHE_FLUSH_sizeof, fill_flush, take_nothing, LONGEST
operations:
    TABLE
    .long map_operation, map_operation, map_operation, map_operation, unmap_operation, unmap_operation
    .long unmap_operation, unmap_operation, unmap_operation, replace_operation, copy_operation, copy_operation
    .long copy_operation, transfer_operation, setup_operation, status_frames_operation, version_operation
    .long swap_operation, query_operation, flush_operation
    END_TABLE
entry_flags:
    TABLE
    .long GTF_permit_access, GTF_permit_access, GTF_permit_access, GTF_permit_access, GTF_permit_access
    .long GTF_permit_access, GTF_permit_access, GTF_permit_access, GTF_permit_access, GTF_permit_access
    .long GTF_permit_access | GTF_readonly, GTF_accept_transfer, GTF_accept_transfer, 0
    .long GTF_permit_access | GTF_sub_page, GTF_transitive, GTF_permit_access | GTF_reading | GTF_writing, 0xFFFF
    END_TABLE
map_flags:
    TABLE
    .long GNTMAP_host_map, GNTMAP_host_map, GNTMAP_host_map, GNTMAP_host_map | GNTMAP_readonly
    .long GNTMAP_host_map | GNTMAP_readonly, GNTMAP_device_map, GNTMAP_host_map | GNTMAP_device_map
    .long GNTMAP_host_map | GNTMAP_application_map, GNTMAP_host_map | GNTMAP_contains_pte, 0, 0xFFFFFFE0
    END_TABLE
copy_flags:
    TABLE
    .long GNTCOPY_source_gref, GNTCOPY_dest_gref, GNTCOPY_source_gref | GNTCOPY_dest_gref, 0, 0xFFFF
    END_TABLE
offsets:
    TABLE
    .long 0, 0, 0, 1, 255, 256, 4095, 4096, 0xFFFF
    END_TABLE
lengths:
    TABLE
    .long 0, 1, 64, 256, 256, 3840, 4096, 4097, 0xFFFF
    END_TABLE
counts:
    TABLE
    .long 0, 1, 1, 2, 3, 8, 64, 65, 0xFFFFFFFF
    END_TABLE
versions:
    TABLE
    .long 2, 2, 2, 2, 1, 1, 0, 3
    END_TABLE
odd_refs:
    TABLE
    .long 0, 1, 7, 24, 511, 512, 4096, 0x7FFFFFFF, 0xFFFFFFFF
    END_TABLE
odd_domains:
    TABLE
    .long 0, 1, 2, 77, DOMID_SELF, DOMID_IO, DOMID_XEN, 0xFFFF
    END_TABLE
odd_frames:
    TABLE
    .long 0, 1, 0xA0, 0x100, 0x200, 0x7FFFFFFF, 0xFFFFFFFF
    END_TABLE
odd_addresses:
    TABLE
    .long 0, 1, 0xC0000001, HOLE_START, 0xFFFFF000, 0xFFFFFFFF
    END_TABLE
peer_word:
    .asciz "peer="
    .text
