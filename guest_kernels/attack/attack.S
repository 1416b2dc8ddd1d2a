# A kernel that tries to break out: every way of getting at a page table, a descriptor table, or memory that is
# not its own.
#
# Observe: whatever is asked for, the answer is an errno, a fault, or a harmless correction; and afterwards the
# machine is as it was. `paravane boot attack --explain` tells for each refusal which rule it met.

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES attack

.equ LIVE_VA, 0xD0000000            # what live_l1 maps
.equ SPARE_VA, 0xE0000000           # no level 1 table there: for tables under attack
.equ LIVE_INDEX, (LIVE_VA >> L2_SHIFT) & (ENTRIES - 1)
.equ SPARE_INDEX, (SPARE_VA >> L2_SHIFT) & (ENTRIES - 1)
.equ KERNEL_SLOTS, ENTRIES - ((0x100000000 - HOLE_START) >> L2_SHIFT)   # level 2 entries that are ours
.equ MARK, 0x600DCAFE               # in data_page
.equ XEN_CS, 0xE008                 # a selector of the hypervisor's own part of the GDT
.equ XEN_DS, 0xE010

# ATTACK "name": announces the next attack.
.macro ATTACK name:vararg
    .pushsection .rodata
.Lattack\@:
    .asciz \name
    .popsection
    movl $.Lattack\@, %eax
    call begin_attack
.endm

# REFUSED: EAX must be a negative errno.
.macro REFUSED
    call judge_errno
.endm

# FAULTS instruction: it must end in an exception. The stack is then as it was before.
.macro FAULTS instruction:vararg
    movl $0, fault_name
    movl $.Lresume\@, fault_resume
    movl %esp, fault_esp
    \instruction
.Lresume\@:
    call judge_fault
.endm

# HARMLESS "why": it was allowed, and ZF must say that nothing came of it.
.macro HARMLESS why:vararg
    .pushsection .rodata
.Lharmless\@:
    .asciz \why
    .popsection
    movl $.Lharmless\@, %edx
    call judge_harmless
.endm

# MFN page: EAX = the mfn of one of our pages.
.macro MFN page
    movl \page, %eax
    call va_to_mfn
.endm

# PUT page, index, frame, flags: an entry in a page that is no page table yet, by plain stores.
.macro PUT page, index, frame, flags
    movl \frame, %eax
    movl \flags, %edx
    call make_entry
    movl $\page + (\index) * ENTRY_SIZE, %ecx
    call store_entry
.endm

# PUT_PAGE page, index, target, flags: the same for the frame of a page of ours.
.macro PUT_PAGE page, index, target, flags
    MFN $\target
    PUT \page, \index, %eax, \flags
.endm

.macro TRAP_STUB name
trap_\name:
    movl $name_\name, fault_name
    jmp resume
    .pushsection .rodata
name_\name:
    .asciz "#\name"
    .popsection
.endm

    .data
    .balign 4
trap_table:
    TRAP_GATE 10, 0, trap_TS
    TRAP_GATE 11, 0, trap_NP
    TRAP_GATE 12, 0, trap_SS
    TRAP_GATE 13, 0, trap_GP
    TRAP_GATE 14, 0, trap_PF
    TRAP_TABLE_END

    .bss
    .balign PAGE_SIZE
live_l1:                            # a level 1 table in use; its entry 0 maps data_page
    .skip PAGE_SIZE
data_page:
    .skip PAGE_SIZE
page_a:                             # what is under attack
    .skip PAGE_SIZE
page_b:
    .skip PAGE_SIZE
doomed_page:                        # what is given away
    .skip PAGE_SIZE
root_va:                            # our root table, and the level 2 table that maps the kernel
    .skip 4
root_mfn:
    .skip 4
l2_va:
    .skip 4
l2_mfn:
    .skip 4
live_mfn:
    .skip 4
m2p_mfn:                            # a frame of the machine-to-phys table
    .skip 4
free_mfn:                           # a frame that nobody has
    .skip 4
end_mfn:                            # the first one past the machine's memory
    .skip 4
breaches:                           # attacks that were not refused
    .skip 4
fault_name:
    .skip 4
fault_resume:
    .skip 4
fault_esp:
    .skip 4

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    call find_targets
    call attack_mappings
    call attack_frames
    call attack_stores
    call attack_tables
    call attack_descriptors
    call attack_rings
    call attack_ownership
    call attack_pointers
    call attack_neighbour
    call check_ourselves
    cmpl $0, breaches
    jne 1f
    PRINT "all attacks refused\n"
    ret
1:  PRINT_DEC breaches
    PRINT " attacks succeeded\n"
    ret

# Our own tables, and frames that are none of our business.
    .type find_targets, @function
find_targets:
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    movl %eax, root_va
    call va_to_mfn
    movl %eax, root_mfn
    call kernel_l2
    movl %eax, l2_va
    call va_to_mfn
    movl %eax, l2_mfn
    movl $MARK, data_page
    PUT_PAGE live_l1, 0, data_page, $PTE_DATA
    movl $live_l1, %eax
    call make_read_only
    MUST make_read_only
    MFN $live_l1
    movl %eax, live_mfn
    UPDATE_ENTRY l2_mfn, $LIVE_INDEX, live_mfn, $PTE_TABLE
    MUST mmu_update
    movl $m2p_list, %ecx
    movl $XENMEM_machphys_mfn_list, %ebx
    HYPERCALL memory_op
    MUST machphys_mfn_list
    movl $XENMEM_maximum_ram_page, %ebx
    xorl %ecx, %ecx
    HYPERCALL memory_op
    movl %eax, end_mfn
    call find_grant_frame
    movl end_mfn, %eax
    movl start_info, %edx
    movl START_INFO_shared_info(%edx), %edx
    shrl $12, %edx
1:  decl %eax                       # from the end of memory down to a frame without a page
    cmpl $-1, M2P_START(,%eax,4)
    jne 1b
    cmpl %edx, %eax                 # those that the hypervisor shares with us have none either
    je 1b
    cmpl grant_frame, %eax
    je 1b
    movl %eax, free_mfn
    ret

    .data
    .balign 4
m2p_list:                           # struct xen_machphys_mfn_list
    .long 1, m2p_mfn, 0
    .text

# EAX = name.
    .type begin_attack, @function
begin_attack:
    call print_string
    PRINT ": "
    ret

# EAX = result of a hypercall.
    .type judge_errno, @function
judge_errno:
    testl %eax, %eax
    jns breach
    pushl %eax
    PRINT "refused "
    popl %eax
    call print_errno
    jmp print_newline

    .type judge_fault, @function
judge_fault:
    cmpl $0, fault_name
    je breach
    PRINT "refused "
    movl fault_name, %eax
    call print_string
    jmp print_newline

# EDX = why it is harmless, ZF: it is.
    .type judge_harmless, @function
judge_harmless:
    jne breach
    pushl %edx
    PRINT "harmless ("
    popl %eax
    call print_string
    PRINT ")\n"
    ret

    .type breach, @function
breach:
    incl breaches
    PRINT "NOT REFUSED"
print_newline:
    PRINT "\n"
    ret

# EDX:EAX = entry, ECX = its address, in a page that is no page table.
    .type store_entry, @function
store_entry:
    movl %eax, (%ecx)
.ifndef TWO_LEVEL
    movl %edx, 4(%ecx)
.endif
    ret

# EAX = page: all zero, and writable.
    .type clean_page, @function
clean_page:
    pushl %ebx
    movl %eax, %ebx
    call make_writable
    MUST make_writable
    movl %ebx, %eax
    xorl %edx, %edx
    movl $PAGE_SIZE, %ecx
    call memory_set
    popl %ebx
    ret

# EAX = page, which becomes read-only. Stops if it cannot.
    .type close_page, @function
close_page:
    call make_read_only
    MUST make_read_only
    ret

    TRAP_STUB TS
    TRAP_STUB NP
    TRAP_STUB SS
    TRAP_STUB GP
    TRAP_STUB PF

# Goes on after the attack, on its stack, in our segments.
resume:
    pushl %eax
    movl $FLAT_KERNEL_SS, %eax
    movl %eax, %ds
    movl %eax, %es
    popl %eax
    movl fault_esp, %esp
    jmp *fault_resume

    .include "mappings.inc"
    .include "stores.inc"
    .include "tables.inc"
    .include "descriptors.inc"
    .include "ownership.inc"
    .include "pointers.inc"
    .include "neighbour.inc"
    .include "selfcheck.inc"
