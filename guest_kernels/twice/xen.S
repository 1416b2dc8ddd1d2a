# The machine as Xen offers it to a paravirtualised kernel: ring 1, hypercalls, event channels.

    .ifndef BARE
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "ports.inc"
    .include "systime.inc"
    .include "twice.inc"

    XEN_NOTES twice

.equ PERIOD, 10000000               # nanoseconds
.equ BATCH, 512
.equ UPCALL_PENDING, shared_info + SHARED_INFO_vcpu_info_evtchn_upcall_pending

    .bss
    .balign 16
batch:                              # struct mmu_update
    .skip BATCH * MMU_UPDATE_sizeof
batched:
    .skip 4
    .globl kernel_table
kernel_table:
    .skip 4
timer_port:
    .skip 4
    .balign 8
next_tick:                          # system time; 0: no timer
    .skip 8

    .data
    .balign 8
switch_calls:                       # struct multicall_entry
    .long __HYPERVISOR_stack_switch, 0, FLAT_KERNEL_SS, 0, 0, 0, 0, 0
    .long __HYPERVISOR_mmuext_op, 0, switch_op, 1, 0, DOMID_SELF, 0, 0
switch_op:                          # struct mmuext_op
    .long MMUEXT_NEW_BASEPTR, 0, 0

# Upcalls are masked from a trap to its return, as interrupts are on a PC.
trap_table:
    .irp vector, 0, 1, 5, 6, 7, 9, 10, 11, 12, 13, 14, 16, 17, 19
    TRAP_GATE \vector, TI_IF, trap_\vector
    .endr
    TRAP_GATE 3, TI_IF | 3, trap_3
    TRAP_GATE 4, TI_IF | 3, trap_4
    TRAP_GATE 0x80, TI_IF | 3, system_call_entry
    TRAP_TABLE_END

    .text
FUNCTION machine_init
    pushl %ebx
    pushl %esi
    movl $trap_table, %eax
    call set_trap_table
    call map_shared_info
    call mask_all_events
    call kernel_l2
    movl %eax, kernel_table
    movl $VCPUOP_stop_periodic_timer, %ebx
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
    MUST stop_periodic_timer
    movl $VIRQ_TIMER, %eax
    xorl %edx, %edx
    call bind_virq
    movl %eax, timer_port
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    movl $FLAT_KERNEL_CS, %ebx
    movl $interrupt_entry, %ecx
    movl $FLAT_KERNEL_CS, %edx
    movl $failsafe, %esi
    HYPERCALL set_callbacks
    MUST set_callbacks
    popl %esi
    popl %ebx
    ret

failsafe:
    PANIC "a return to ring 3 failed"

FUNCTION fault_address
    movl SHARED_CR2, %eax
    ret

FUNCTION machine_address
    call va_to_mfn
    movl %eax, %edx
    shll $12, %eax
    shrl $20, %edx
    ret

FUNCTION entry_page
    call pte_to_mfn
    jmp mfn_to_va

# The entry's address is one of a table's, not a page's.
FUNCTION entry_set
    pushl %ebx
    pushl %ecx
    pushl %edx
    movl %eax, %ebx
    call machine_address
    andl $PAGE - 1, %ebx
    orl %ebx, %eax
    movl %edx, %ecx
    movl %eax, %edx
    cmpl $BATCH, batched
    jb 1f
    pushl %ecx
    pushl %edx
    call entries_flush
    popl %edx
    popl %ecx
1:  movl batched, %eax
    incl batched
    shll $4, %eax
    addl $batch, %eax
    movl %edx, MMU_UPDATE_ptr(%eax)
    movl %ecx, MMU_UPDATE_ptr + 4(%eax)
    popl MMU_UPDATE_val(%eax)
    popl MMU_UPDATE_val + 4(%eax)
    popl %ebx
    ret

# A refusal would be a mistake of this kernel's.
FUNCTION entries_flush
    cmpl $0, batched
    je 1f
    pushl %ebx
    movl $batch, %ebx
    movl batched, %ecx
    movl $0, batched
    call mmu_update
    MUST mmu_update
    popl %ebx
1:  ret

FUNCTION entry_install
    call write_pte
    MUST update_va_mapping
    ret

FUNCTION space_flush
    MMUEXT TLB_FLUSH_LOCAL
    MUST tlb_flush
    ret

# A page that is to be a table may be written by nobody but Xen.
FUNCTION table_make
    movl $PTE_KERNEL, %edx
    jmp map_page

FUNCTION table_unmake
    movl $PTE_KERNEL | PTE_W, %edx

# EAX = page of the kernel's, EDX = flags of its mapping from now on.
map_page:
    pushl %ebx
    pushl %edx
    movl %eax, %ebx
    shrl $21, %eax
    andl $511, %eax
    movl kernel_table, %edx
    leal (%edx,%eax,8), %eax
    call entry_target
    movl %ebx, %edx
    shrl $12, %edx
    andl $511, %edx
    leal (%eax,%edx,8), %eax
    xchgl %eax, %ebx
    call machine_address
    movl %edx, %ecx
    popl %edx
    orl %eax, %edx
    movl %ebx, %eax
    popl %ebx
    jmp entry_set

FUNCTION space_pin
    call va_to_mfn
    MMUEXT PIN_L3_TABLE, %eax
    MUST pin
    ret

FUNCTION space_unpin
    call va_to_mfn
    MMUEXT UNPIN_TABLE, %eax
    MUST unpin
    ret

FUNCTION space_load
    call va_to_mfn
    MMUEXT NEW_BASEPTR, %eax
    MUST new_baseptr
    ret

FUNCTION machine_switch
    pushl %ebx
    # exercise twice: give stack (EAX) and table (EDX; va_to_mfn takes EAX) to switch_calls, make both in 1 hypercall
    movl %eax, switch_calls + MULTICALL_ENTRY_args + 4
    movl %edx, %eax
    call va_to_mfn
    movl %eax, switch_op + MMUEXT_OP_arg1_mfn
    movl $switch_calls, %ebx
    movl $2, %ecx
    HYPERCALL multicall
    orl switch_calls + MULTICALL_ENTRY_result, %eax
    orl switch_calls + MULTICALL_ENTRY_sizeof + MULTICALL_ENTRY_result, %eax
    MUST switch
    # exercise end
    popl %ebx
    ret

# Upcalls become as they were before the trap: the frame says it, above the code segment. One that comes between that
# and iret finds ring 1, and returns here.
FUNCTION machine_return
    movl %ebp, %esp
    cmpb $0, FRAME_cs + 2(%ebp)
    jne 1f
    movb $0, UPCALL_MASK
    cmpb $0, UPCALL_PENDING
    jne 2f
1:  popal
    addl $8, %esp
    iret
2:  movb $1, UPCALL_MASK            # it came while upcalls were masked
    call interrupt
    jmp trap_done

FUNCTION machine_idle
    pushl %ebx
    movl $SCHEDOP_block, %ebx
    xorl %ecx, %ecx
    HYPERCALL sched_op
    movb $1, UPCALL_MASK
    popl %ebx
    ret

FUNCTION timer_start
    call system_time
    movl %eax, next_tick
    movl %edx, next_tick + 4

# The next one is a period after the last.
arm:
    pushl %ebx
    addl $PERIOD, next_tick
    adcl $0, next_tick + 4
    movl next_tick, %ebx
    movl next_tick + 4, %ecx
    HYPERCALL set_timer_op
    MUST set_timer_op
    popl %ebx
    ret

FUNCTION timer_stop
    pushl %ebx
    xorl %ebx, %ebx
    xorl %ecx, %ecx
    movl %ebx, next_tick
    movl %ebx, next_tick + 4
    HYPERCALL set_timer_op
    MUST set_timer_op
    popl %ebx
    ret

# That there are events is forgotten before looking which.
FUNCTION interrupt
    movb $0, UPCALL_PENDING
    xorl %eax, %eax
    xchgl %eax, shared_info + SHARED_INFO_vcpu_info_evtchn_pending_sel
    movl timer_port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    jnc 1f
    movl next_tick, %eax
    orl next_tick + 4, %eax
    jz 1f
    call arm
    jmp tick
1:  ret
    .endif
