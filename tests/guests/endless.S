# One hypercall that asks for as much as its registers can say: which one, the symbol it is built with tells.
#
# The list it points to is one page, mapped over and over from ALIAS on: 600 MiB of valid requests in 8 MiB.

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES endless

.equ ALIAS, 0xD0000000
.equ ALIAS_SLOT, (ALIAS >> L2_SHIFT) & (ENTRIES - 1)
.equ LAST_SLOT, (HOLE_START >> L2_SHIFT) & (ENTRIES - 1)
.equ INT_MAX, 0x7FFFFFFF

# The list starts with these words, which repeat.
.macro LIST words:vararg
    .pushsection .rodata
    .balign 4
pattern:
    .long \words
pattern_end:
    .popsection
.endm

# As many requests as there is room for below the hypervisor's area: an array that reaches into it is -EFAULT.
.macro GRANT command, size
    movl $GNTTABOP_\command, %ebx
    movl $ALIAS, %ecx
    movl $(HOLE_START - ALIAS) / \size, %edx
    HYPERCALL grant_table_op
.endm

    .bss
    .balign PAGE_SIZE
table:                              # level 1 table: every entry maps `page`
    .skip PAGE_SIZE
page:
    .skip PAGE_SIZE

    .text
    .type main, @function
main:
    call fill_page
    call map_aliases
    PRINT "asking\n"
    call ask
    PRINT "answered "
    call print_hex32
    PRINT "\n"
    ret

    .type fill_page, @function
fill_page:
    movl $page, %edi
1:  movl $pattern, %esi
    movl $pattern_end - pattern, %ecx
    rep movsb
    cmpl $page + PAGE_SIZE - (pattern_end - pattern), %edi
    jbe 1b
    movl $page, %eax
    call va_to_mfn
.ifdef DECREASE
    movl $page, %edi
    movl $PAGE_SIZE / 4, %ecx
    rep stosl
.endif
.ifdef MMU_UPDATE
    shll $12, %eax
    orl $MMU_MACHPHYS_UPDATE, %eax
    movl $page, %edi
2:  movl %eax, MMU_UPDATE_ptr(%edi)
    addl $MMU_UPDATE_sizeof, %edi
    cmpl $page + PAGE_SIZE, %edi
    jb 2b
.endif
    ret

    .type map_aliases, @function
map_aliases:
    movl $page, %eax
    call va_to_mfn
    movl $PTE_DATA, %edx
    call make_entry
    movl $table, %edi
1:  movl %eax, (%edi)
    movl %edx, 4(%edi)
    addl $ENTRY_SIZE, %edi
    cmpl $table + PAGE_SIZE, %edi
    jb 1b
    movl $table, %eax
    call make_read_only
    MUST make_read_only
    movl $table, %eax
    call va_to_mfn
    movl %eax, %ebp
    call kernel_l2
    call va_to_mfn
    movl %eax, %edi
    movl $ALIAS_SLOT, %esi
2:  UPDATE_ENTRY %edi, %esi, %ebp, $PTE_TABLE
    MUST mmu_update
    incl %esi
    cmpl $LAST_SLOT, %esi
    jb 2b
    ret

    .type ask, @function
ask:
.ifdef MMU_UPDATE
    LIST 0, 0, 0, 0
    movl $ALIAS, %ebx
    movl $INT_MAX, %ecx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmu_update
.endif
.ifdef MMUEXT_OP
    LIST MMUEXT_TLB_FLUSH_LOCAL
    movl $ALIAS, %ebx
    movl $INT_MAX, %ecx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmuext_op
.endif
.ifdef DECREASE
    LIST 0
    movl $XENMEM_decrease_reservation, %ebx
    movl $reservation, %ecx
    HYPERCALL memory_op
.endif
.ifdef MULTICALL
    LIST __HYPERVISOR_xen_version, 0, XENVER_version, 0, 0, 0, 0, 0
    movl $ALIAS, %ebx
    movl $-1, %ecx
    HYPERCALL multicall
.endif
.ifdef CONSOLE_IO
    LIST 0x78787878
    movl $CONSOLEIO_write, %ebx
    movl $INT_MAX, %ecx
    movl $ALIAS, %edx
    HYPERCALL console_io
.endif
.ifdef SET_TRAP_TABLE
    LIST 6 | FLAT_KERNEL_CS << 16, main
    movl $ALIAS, %ebx
    HYPERCALL set_trap_table
.endif
.ifdef COPY
    LIST 0
    GRANT copy, GNTTAB_COPY_sizeof
.endif
.ifdef SWAP_GRANT_REF
    LIST 0
    GRANT swap_grant_ref, GNTTAB_SWAP_GRANT_REF_sizeof
.endif
.ifdef MAP_GRANT_REF
    LIST 0
    GRANT map_grant_ref, GNTTAB_MAP_GRANT_REF_sizeof
.endif
.ifdef UNMAP_GRANT_REF
    LIST 0
    GRANT unmap_grant_ref, GNTTAB_UNMAP_GRANT_REF_sizeof
.endif
.ifdef CACHE_FLUSH
    LIST 0
    GRANT cache_flush, GNTTAB_CACHE_FLUSH_sizeof
.endif
.ifdef XENSTORE
    .pushsection .rodata
    .balign 4
pattern:                            # struct multicall_entry: fill the ring, say so
    .long __HYPERVISOR_grant_table_op, 0, GNTTABOP_copy, copy, 1, 0, 0, 0
    .long __HYPERVISOR_event_channel_op, 0, EVTCHNOP_send, send, 0, 0, 0, 0
pattern_end:
    .popsection
    call prepare_requests
    movl $ALIAS, %ebx
    movl $-1, %ecx
    HYPERCALL multicall
.endif
    ret

.ifdef XENSTORE
# A xenstore ring page that is full of requests without a path. Copied over the real one, it is full again,
# and its answers are taken.
    .type prepare_requests, @function
prepare_requests:
    movl $requests, %edi
1:  movl $XS_READ, XSD_SOCKMSG_type(%edi)
    addl $XSD_SOCKMSG_sizeof, %edi
    cmpl $requests + XENSTORE_RING_SIZE, %edi
    jb 1b
    movl $XENSTORE_RING_SIZE, requests + XENSTORE_DOMAIN_INTERFACE_req_prod
    movl $requests, %eax
    call va_to_mfn
    movl %eax, copy + GNTTAB_COPY_source_u_gmfn
    movl start_info, %edx
    movl START_INFO_store_mfn(%edx), %eax
    movl %eax, copy + GNTTAB_COPY_dest_u_gmfn
    movl START_INFO_store_evtchn(%edx), %eax
    movl %eax, send
    ret

    .bss
    .balign PAGE_SIZE
requests:
    .skip PAGE_SIZE

    .data
    .balign 4
send:                               # struct evtchn_send
    .long 0
copy:                               # struct gnttab_copy: a whole page, no grants
    .long 0
    .word DOMID_SELF, 0
    .long 0
    .word DOMID_SELF, 0, PAGE_SIZE, 0, 0, 0
.endif

    .data
    .balign 4
reservation:                        # struct xen_memory_reservation
    .long ALIAS, 0x3FFFFFF, 0, 0
    .word DOMID_SELF
