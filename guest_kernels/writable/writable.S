# Writable page tables: plain stores to a page table, which the hypervisor carries out as checked updates.
#
# Observe: page tables are mapped read-only, so a store to one is a page fault. With the assist the kernel never
# sees it: the entry becomes what mmu_update would have made of it, whatever instruction stores it. Without the
# assist, or for an entry that the rules forbid, the fault is the kernel's.

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES writable

.equ TABLE_VA, 0xD0000000           # what the table maps
.equ L2_INDEX, (TABLE_VA >> L2_SHIFT) & (ENTRIES - 1)

    .data
    .balign 4
trap_table:
    TRAP_GATE 14, 0, page_fault
    TRAP_TABLE_END

    .bss
    .balign PAGE_SIZE
table:                              # the level 1 table for TABLE_VA
    .skip PAGE_SIZE
data:                               # the page its entries map
    .skip PAGE_SIZE
source:                             # entries for movs
    .skip 4 * ENTRY_SIZE
    .balign 4
table_mfn:
    .skip 4
entry:                              # the entry for `data`: low word, high word
    .skip 8
wanted:                             # table entry 0 as mmu_update makes it
    .skip 8
fault_resume:
    .skip 4
fault_error:
    .skip 4
fault_address:
    .skip 4

# Names a way to store, and forgets what the last one left: entry 0 is clear by mmu_update.
.macro WAY name
    .pushsection .rodata
.Lway\@:
    .asciz "\name"
    .popsection
    movl $.Lway\@, %eax
    call begin_way
.endm

# Runs one instruction; a page fault in it is noted in fault_error, and execution goes on after it.
.macro TRY instruction:vararg
    movl $-1, fault_error
    movl $.Lresume\@, fault_resume
    \instruction
.Lresume\@:
.endm

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    call install_table
    call show_reference
    call show_without
    movl $VMASST_CMD_enable, %eax
    call assist
    call plain_stores
    call logic_stores
    call exchanges
    call shifts
    call stack_stores
    call string_stores
.ifndef TWO_LEVEL
    call two_halves
.endif
    call forbidden_stores
    movl $VMASST_CMD_disable, %eax
    call assist
    jmp show_without

    .type install_table, @function
install_table:
    movl $table, %eax
    call make_read_only
    MUST make_read_only
    movl $table, %eax
    call va_to_mfn
    movl %eax, table_mfn
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, $L2_INDEX, table_mfn, $PTE_TABLE
    MUST mmu_update
    movl $data, %eax
    call va_to_mfn
    movl $PTE_DATA, %edx
    call make_entry
    movl %eax, entry
    movl %edx, entry + 4
    movl $0x600DCAFE, data
    ret

# EAX = VMASST_CMD_enable or _disable.
    .type assist, @function
assist:
    pushl %ebx
    movl %eax, %ebx
    movl $VMASST_TYPE_writable_pagetables, %ecx
    HYPERCALL vm_assist
    popl %ebx
    MUST vm_assist
    ret

# What every way is compared with.
    .type show_reference, @function
show_reference:
    PRINT "mmu_update: "
    movl $data, %eax
    call va_to_mfn
    UPDATE_ENTRY table_mfn, $0, %eax, $PTE_DATA
    call print_errno
    movl $table, %eax
    xorl %edx, %edx
    call read_entry
    movl %eax, wanted
    movl %edx, wanted + 4
    PRINT "\n"
    ret

# Clears entry 0 and prints the name in EAX.
    .type begin_way, @function
begin_way:
    pushl %eax
    UPDATE_ENTRY table_mfn, $0, $0, $0
    MUST mmu_update
    popl %eax
    jmp print_string

# Says whether entry 0 is what mmu_update makes of it, and whether it works.
    .type end_way, @function
end_way:
    pushl %esi
    movl $table, %eax
    xorl %edx, %edx
    call read_entry
    movl $text_differs, %esi
    cmpl %eax, wanted
    jne 1f
    cmpl %edx, wanted + 4
    jne 1f
    movl $text_unmapped, %esi
    TRY cmpl $0x600DCAFE, TABLE_VA
    jne 1f
    cmpl $-1, fault_error
    jne 1f
    movl $text_same, %esi
1:  movl %esi, %eax
    popl %esi
    jmp print_string

    .type show_without, @function
show_without:
    WAY "without the assist, movl: "
    movl entry, %eax
    TRY movl %eax, table
    jmp show_fault

    .type show_fault, @function
show_fault:
    cmpl $-1, fault_error
    jne 1f
    PRINT "no fault\n"
    ret
1:  PRINT "#PF, error code "
    PRINT_HEX fault_error
    cmpl $table, fault_address
    jne 2f
    PRINT ", CR2 on the table\n"
    ret
2:  PRINT ", CR2 elsewhere\n"
    ret

# The upper half of an entry first, while it is not present; then the lower half.
.macro STORE_HIGH
.ifndef TWO_LEVEL
    movl entry + 4, %eax
    movl %eax, table + 4
.endif
.endm

    .type plain_stores, @function
plain_stores:
    WAY "movl: "
    STORE_HIGH
    movl entry, %eax
    movl %eax, table
    call end_way
    WAY "movl and two movb, present last: "
    STORE_HIGH
    movl entry, %eax
    andl $~PTE_PRESENT, %eax
    movl %eax, table
    movl entry, %eax
    movb %ah, table + 1
    movb %al, table
    jmp end_way

    .type logic_stores, @function
logic_stores:
    WAY "orl: "
    STORE_HIGH
    movl entry, %eax
    orl %eax, table
    call end_way
    WAY "orl, andl: "
    STORE_HIGH
    movl entry, %eax
    orl $PTE_USER, %eax
    orl %eax, table
    andl $~PTE_USER, table
    call end_way
    WAY "addl, incl: "
    STORE_HIGH
    movl entry, %eax
    decl %eax
    addl %eax, table
    incl table
    call end_way
    WAY "btsl, btrl: "
    STORE_HIGH
    movl entry, %eax
    andl $~PTE_RW, %eax
    orl $PTE_USER, %eax
    movl %eax, table
    btsl $1, table
    movl $2, %eax
    lock btrl %eax, table
    jmp end_way

    .type exchanges, @function
exchanges:
    WAY "xchgl: "
    STORE_HIGH
    movl entry, %eax
    xchgl %eax, table
    call end_way
    WAY "cmpxchgl: "
    STORE_HIGH
    xorl %eax, %eax
    movl entry, %ecx
    lock cmpxchgl %ecx, table
    call end_way
    WAY "cmpxchgl that compares unequal, xaddl: "
    STORE_HIGH
    movl $0xFFFF, %eax
    movl entry, %ecx
    cmpxchgl %ecx, table
    movl entry, %ecx
    lock xaddl %ecx, table
.ifdef TWO_LEVEL
    jmp end_way
.else
    call end_way
    WAY "cmpxchg8b: "
    xorl %eax, %eax
    xorl %edx, %edx
    movl entry, %ebx
    movl entry + 4, %ecx
    lock cmpxchg8b table
    jmp end_way
.endif

# Values that are rotated or shifted into place. Before that they are not present.
    .type shifts, @function
shifts:
    WAY "roll: "
    STORE_HIGH
    movl entry, %eax
    rorl $3, %eax                   # bit 3 of the entry, which is clear, becomes bit 0
    movl %eax, table
    roll $3, table
    call end_way
    WAY "sete, shll, orl: "
    STORE_HIGH
    movl entry, %eax
    shrl $8, %eax
    andl $~0xFF, %eax
    movl %eax, table
    cmpl $1, %eax                   # ZF is clear: the low byte becomes 0
    sete table
    movl entry, %eax
    movb $0, %al
    shrl $4, %eax
    movl %eax, table
    shll $4, table
    movzbl entry, %eax
    orl %eax, table
    jmp end_way

# With ESP in the table: what a push or a call stores there is an entry too.
    .type stack_stores, @function
stack_stores:
    WAY "pushl: "
    STORE_HIGH
    movl %esp, %ecx
    movl $table + 4, %esp
    pushl entry
    movl %ecx, %esp
    call end_way
    WAY "call, its return address replaced by popl: "
    STORE_HIGH
    movl %esp, %ecx
    movl $table + 4, %esp
    .balign 16, 0x90
    .fill 11, 1, 0x90
    call 1f                         # five bytes: its return address is even, and so not present
1:  movl $entry, %esp
    popl table
    movl %ecx, %esp
    jmp end_way

    .type string_stores, @function
string_stores:
    pushl %esi
    pushl %edi
    WAY "rep movsl of four entries: "
    movl $source, %edi
    movl $4, %edx
1:  movl entry, %eax
    stosl
.ifndef TWO_LEVEL
    movl entry + 4, %eax
    stosl
.endif
    decl %edx
    jnz 1b
    movl $source, %esi
    movl $table, %edi
    movl $4 * ENTRY_SIZE / 4, %ecx
    rep movsl
    call end_way
    WAY "rep stosl to clear them, stosl: "
    movl $table, %edi
    movl $4 * ENTRY_SIZE / 4, %ecx
    xorl %eax, %eax
    rep stosl
    STORE_HIGH
    movl $table, %edi
    movl entry, %eax
    stosl
    call end_way
    popl %edi
    popl %esi
    ret

# Goes on after the store.
    .type page_fault, @function
page_fault:
    pushl %eax
    movl %cr2, %eax                 # privileged: the hypervisor gives what it keeps for the kernel
    movl %eax, fault_address
    popl %eax
    popl fault_error
    pushl fault_resume
    popl (%esp)
    iret

    .include "limits.inc"

    .section .rodata
text_same:
    .asciz "the same entry\n"
text_differs:
    .asciz "another entry\n"
text_unmapped:
    .asciz "the same entry, but the page is not there\n"
text_present:
    .asciz "still present\n"
text_cleared:
    .asciz "no longer present\n"
