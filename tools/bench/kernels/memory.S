# Page-table work, one kind a row (see memory.py beside this folder).

    .include "rows.inc"

.equ TABLE_VA, 0xD0000000           # what the table of the rows maps
.equ MOST, 512                      # requests in a list

    .bss
    .balign PAGE_SIZE
table:                              # a level 1 table in use, every entry of which maps `data`
    .skip PAGE_SIZE
empty:                              # one that is in no use
    .skip PAGE_SIZE
data:
    .skip PAGE_SIZE
code:                               # may be executed, though nothing ever is
    .skip PAGE_SIZE
mappings:                           # requests for mmu_update: each entry of the table as it is
    .skip MOST * MMU_UPDATE_sizeof
clearings:                          # and each of them empty
    .skip MOST * MMU_UPDATE_sizeof
entry:                              # of the table
    .skip 8

    .data
    .balign 8
new_baseptr:                        # struct mmuext_op
    .long MMUEXT_NEW_BASEPTR, 0, 0
pin:
    .long MMUEXT_PIN_L1_TABLE, 0, 0
unpin:
    .long MMUEXT_UNPIN_TABLE, 0, 0
flush:
    .long MMUEXT_TLB_FLUSH_LOCAL, 0, 0
flush_page:
    .long MMUEXT_INVLPG_LOCAL, TABLE_VA, 0

    .text
    .type set_up, @function
set_up:
    movl $VMASST_CMD_enable, %ebx
    movl $VMASST_TYPE_writable_pagetables, %ecx
    HYPERCALL vm_assist
    MUST vm_assist
    movl $code, %eax
    call make_writable              # without NX
    MUST make_writable
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    movl %eax, new_baseptr + MMUEXT_OP_arg1
    movl $empty, %eax
    call make_read_only
    MUST make_read_only
    movl $empty, %eax
    call va_to_mfn
    movl %eax, pin + MMUEXT_OP_arg1
    movl %eax, unpin + MMUEXT_OP_arg1
    call list_requests
    movl $table, %eax
    call make_read_only
    MUST make_read_only
    movl $table, %eax
    call va_to_mfn
    movl %eax, %ebp
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, $(TABLE_VA >> L2_SHIFT) & (ENTRIES - 1), %ebp, $PTE_TABLE
    MUST "mapping the table"
    movl $mappings, %ebx
    movl $MOST, %ecx
    call mmu_update
    MUST mmu_update
    ret

# Both lists, and `entry`.
    .type list_requests, @function
list_requests:
    movl $data, %eax
    call va_to_mfn
    movl $PTE_DATA, %edx
    call make_entry
    movl %eax, entry
    movl %edx, entry + 4
    movl $table, %eax
    call va_to_mfn
    movl %eax, %edx                 # EDX:EAX = machine address of the table
    shll $12, %eax
    shrl $20, %edx
    xorl %edi, %edi
1:  movl %eax, mappings + MMU_UPDATE_ptr(%edi)
    movl %edx, mappings + MMU_UPDATE_ptr + 4(%edi)
    movl %eax, clearings + MMU_UPDATE_ptr(%edi)
    movl %edx, clearings + MMU_UPDATE_ptr + 4(%edi)
    movl entry, %ecx
    movl %ecx, mappings + MMU_UPDATE_val(%edi)
    movl entry + 4, %ecx
    movl %ecx, mappings + MMU_UPDATE_val + 4(%edi)
    addl $ENTRY_SIZE, %eax
    addl $MMU_UPDATE_sizeof, %edi
    cmpl $MOST * MMU_UPDATE_sizeof, %edi
    jb 1b
    ret

.macro UPDATES list:req, count:req
    movl $\list, %ebx
    movl $\count, %ecx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmu_update
    MUST mmu_update
.endm

# Entries that stay what they are; and entries that are cleared and set again, a call for each.
.macro UPDATE_ROWS count:req
ROW unchanged_\count
1:  UPDATES mappings, \count
    AGAIN

ROW changed_\count
1:  UPDATES clearings, \count
    UPDATES mappings, \count
    AGAIN
.endm

    UPDATE_ROWS 1
    UPDATE_ROWS 16
    UPDATE_ROWS 128
    UPDATE_ROWS 512

# Unmaps a page and maps it again.
ROW va_mapping
1:  xorl %ecx, %ecx
    xorl %edx, %edx
    call update_va
    movl entry, %ecx
    movl entry + 4, %edx
    call update_va
    AGAIN

update_va:
    movl $TABLE_VA, %ebx
    movl $UVMF_INVLPG | UVMF_LOCAL, %esi
    HYPERCALL update_va_mapping
    MUST update_va_mapping
    ret

# The same by plain stores, each of which faults and is carried out by the hypervisor.
ROW stores
1:  movl $0, table
    movl entry, %eax
    movl %eax, table
    AGAIN

.macro EXTENDED request:req
    movl $\request, %ebx
    movl $1, %ecx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmuext_op
    MUST \request
.endm

.macro EXTENDED_ROW name:req, requests:vararg
ROW \name
1:  .irp request, \requests
    EXTENDED \request
    .endr
    AGAIN
.endm

    EXTENDED_ROW base_pointer, new_baseptr
    EXTENDED_ROW pins, pin, unpin
    EXTENDED_ROW flushes, flush
    EXTENDED_ROW page_flushes, flush_page

# Stores: a thousand a turn, and the hypercall by which the turn is counted in time.
.macro STORE_ROWS where:req
ROW stores_to_\where
1:  movl $1000, %ecx
2:  movl %ecx, \where
    decl %ecx
    jnz 2b
    xorl %ebx, %ebx
    HYPERCALL xen_version
    AGAIN

ROW strings_to_\where
1:  movl $\where, %edi
    movl $1000, %ecx
    rep stosl
    xorl %ebx, %ebx
    HYPERCALL xen_version
    AGAIN
.endm

    STORE_ROWS code
    STORE_ROWS plain_page
