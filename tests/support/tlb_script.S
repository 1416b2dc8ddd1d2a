# Does what a test has written: processes as guest_kernels/tlb has them, and steps of loads, stores, switches, changes of
# their pages and hypercalls of all kinds, refused ones too.
#
# Observe: before each step it asks for Xen's version, which is where the test looks at the processor.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "tlb.inc"

    XEN_NOTES script

.equ SPACES, 3
.equ SPARES, 6
.equ PTE_CLEAN, _PAGE_PRESENT | _PAGE_RW | _PAGE_USER

# A step: what it is, and six words for it; then its result, and 32 bytes that the words may point to.
.equ STEP_what, 0
.equ STEP_words, 4
.equ STEP_result, 28
.equ STEP_sizeof, 64

    .globl script, script_end, pool, spares, processes, current

    .data
    .balign 4
trap_table:
    TRAP_GATE 14, 0, page_fault
    TRAP_TABLE_END
whats:
    .long finish, load, store, switch, set_page, want_page, flush, hypercall
step:
    .long script
current:                            # the process whose address space there is
    .long processes

    .bss
    .balign PAGE_SIZE
pool:                               # pages of processes
    .skip SPACES * PAGES * PAGE_SIZE
spares:                             # to become page tables, and to be given back
    .skip SPARES * PAGE_SIZE
script:
    .skip 4 * PAGE_SIZE
script_end:
processes:
    .skip SPACES * PROCESS_sizeof

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    call map_shared_info
    call mask_all_events
    call space_init
    movl $processes, %ebx
    movl $pool, %edi
    xorl %ebp, %ebp
1:  movl %ebp, PROCESS_number(%ebx)
    xorl %esi, %esi
2:  leal PTE_CLEAN(%edi), %eax
    movl %eax, PROCESS_pages(%ebx,%esi,4)
    addl $PAGE_SIZE, %edi
    incl %esi
    cmpl $PAGES, %esi
    jb 2b
    pushl %edi
    pushl %ebp
    call space_make
    popl %ebp
    popl %edi
    addl $PROCESS_sizeof, %ebx
    incl %ebp
    cmpl $SPACES, %ebp
    jb 1b
    movl $processes, %ebx
    call space_load
next:
    movl $XENVER_version, %ebx
    HYPERCALL xen_version
    movl step, %ebp
    movl STEP_what(%ebp), %eax
    movl STEP_words(%ebp), %ebx
    movl STEP_words + 4(%ebp), %ecx
    jmp *whats(,%eax,4)

done:
    movl step, %ebp
    movl %eax, STEP_result(%ebp)
    addl $STEP_sizeof, step
    jmp next

finish:
    ret

load:                               # EBX = address
    movl (%ebx), %eax
    jmp done

store:                              # the same
    movl %ebx, (%ebx)
    jmp done

switch:                             # EBX = process
    movl %ebx, current
    call space_load
    jmp done

set_page:                           # EBX = process, number of a page of it, page of the pool with flags
    call want
    call space_set
    jmp done

want_page:                          # the same of any page, for the next miss of a TLB that we refill
    call want
    jmp done

want:
    movl %ecx, %esi
    movl STEP_words + 8(%ebp), %eax
    movl %eax, PROCESS_pages(%ebx,%esi,4)
    ret

flush:                              # what the present process could do before is forgotten
    movl current, %ebx
    call space_flush
    jmp done

hypercall:                          # its number and five arguments
    movl %ebx, %eax
    shll $5, %eax
    addl $hypercall_page, %eax
    movl STEP_words + 4(%ebp), %ebx
    movl STEP_words + 8(%ebp), %ecx
    movl STEP_words + 12(%ebp), %edx
    movl STEP_words + 16(%ebp), %esi
    movl STEP_words + 20(%ebp), %edi
    call *%eax
    jmp done

# A page that is not there is what the process wants it to be, if the TLB takes that; else the step is over.
    .type page_fault, @function
page_fault:
    pushal
    testl $PFEC_page_present, 32(%esp)
    jnz 1f
    movl SHARED_CR2, %ebp
    movl %ebp, %esi
    subl $USER_VA, %esi
    shrl $12, %esi
    cmpl $PAGES, %esi
    jae 1f
    movl current, %ebx
    movl PROCESS_pages(%ebx,%esi,4), %eax
    movl %eax, %edx
    andl $-PAGE_SIZE, %eax
    andl $PAGE_SIZE - 1, %edx
    pushl %edx
    call va_to_mfn
    popl %edx
    call make_entry
    movl %edx, %esi
    movl %eax, %edx
    movl %ebp, %ecx
    movl $TLBOP_refill, %ebx
    call hypercall_page + TLB_OP * 32
    testl %eax, %eax
    jnz 1f
    popal
    addl $4, %esp                   # the error code
    iret
1:  popal
    addl $4, %esp
    movl $done, (%esp)
    iret
