# Who runs: switching, sleeping, waking, waiting for the world. The kernel is never interrupted; a process runs
# until it sleeps, yields or ends, or until its time is over.

    .include "unix.inc"

.equ POLL_CHANNEL, 1                # a sleeper that any wake-up concerns

    .bss
    .balign 4096
gdt:                                # read-only once Xen has it
    .skip 4096
    .globl current, loaded_l3, fpu_owner
current:                            # the process that runs
    .skip 4
loaded_l3:                          # level 3 table in use, 0: the builder's
    .skip 4
fpu_owner:                          # whose FPU and SSE registers the processor holds, or 0
    .skip 4
fpu_trap:                           # the task-switched flag as Xen has it
    .skip 4
calls:                              # struct multicall_entry: stack, base, FPU, TLS descriptors
    .skip (3 + NR_TLS) * MULTICALL_ENTRY_sizeof
call_count:
    .skip 4
base_op:                            # struct mmuext_op
    .skip MMUEXT_OP_sizeof
poll_op:                            # struct sched_poll
    .skip SCHED_POLL_sizeof
gdt_frame:
    .skip 4

    .text
# The GDT goes to Xen, with room for the descriptors of set_thread_area; lazy FPU switching starts.
FUNCTION sched_init
    pushl %ebx
    movl $gdt, %eax
    xorl %edx, %edx
    call map_page
    call mmu_flush
    movl $gdt, %eax
    call machine_address
    shrdl $12, %edx, %eax
    movl %eax, gdt_frame
    movl $gdt_frame, %ebx
    movl $512, %ecx
    HYPERCALL set_gdt
    testl %eax, %eax
    jnz 1f
    call fpu_forget
    popl %ebx
    ret
1:  PANIC "set_gdt refused"

# The current process's next FPU or SSE instruction traps, and finds a state of its own.
FUNCTION fpu_forget
    pushl %ebx
    movl $0, fpu_owner
    movl $1, fpu_trap
    movl $1, %ebx
    HYPERCALL fpu_taskswitch
    popl %ebx
    ret

# The current process uses the FPU while the processor holds somebody else's state. Xen has cleared TS already.
FUNCTION fpu_switch
    movl $0, fpu_trap
    movl fpu_owner, %eax
    testl %eax, %eax
    jz 1f
    fxsave PROC_fpu(%eax)
1:  movl current, %eax
    movl %eax, fpu_owner
    fxrstor PROC_fpu(%eax)
    ret

# Gives the processor to the next runnable process; comes back when it is this one's turn again.
FUNCTION schedule
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    movl current, %ebx
    movl %esp, PROC_esp(%ebx)
    movl %gs, %eax
    movw %ax, PROC_gs(%ebx)
    movl %fs, %eax
    movw %ax, PROC_fs(%ebx)
1:  call tty_poll
    call wake_expired
    movl %ebx, %esi
    movl $NR_PROCS, %ecx
2:  addl $PROC_sizeof, %esi         # the next of the table, itself last
    cmpl $proc_table_end, %esi
    jb 3f
    movl $proc_table, %esi
3:  cmpl $STATE_RUNNABLE, PROC_state(%esi)
    je 4f
    decl %ecx
    jnz 2b
    call idle
    jmp 1b
4:  cmpl %ebx, %esi
    je 5f
    call switch_to
5:  call start_slice
    movl PROC_esp(%esi), %esp
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

# EAX = hypercall; gives in EAX an entry of the multicall to fill.
add_call:
    movl call_count, %edx
    incl call_count
    shll $5, %edx
    movl %eax, calls + MULTICALL_ENTRY_op(%edx)
    leal calls(%edx), %eax
    ret

# ESI = process: stack, address space, FPU trap and TLS descriptors become its own, in one call to Xen. Its
# selectors are loaded after its descriptors.
FUNCTION switch_to
    pushl %ebx
    movl %esi, current
    movl $0, call_count
    movl $__HYPERVISOR_stack_switch, %eax
    call add_call
    movl $FLAT_KERNEL_SS, MULTICALL_ENTRY_args(%eax)
    movl PROC_stack_top(%esi), %edx
    movl %edx, MULTICALL_ENTRY_args+4(%eax)
    movl PROC_l3(%esi), %eax
    cmpl loaded_l3, %eax
    je 1f
    movl %eax, loaded_l3
    movl $MMUEXT_NEW_BASEPTR, base_op + MMUEXT_OP_cmd
    call machine_address
    shrdl $12, %edx, %eax
    movl %eax, base_op + MMUEXT_OP_arg1_mfn
    movl $__HYPERVISOR_mmuext_op, %eax
    call add_call
    movl $base_op, MULTICALL_ENTRY_args(%eax)
    movl $1, MULTICALL_ENTRY_args+4(%eax)
    movl $0, MULTICALL_ENTRY_args+8(%eax)
    movl $DOMID_SELF, MULTICALL_ENTRY_args+12(%eax)
1:  xorl %ebx, %ebx
    cmpl fpu_owner, %esi
    setne %bl
    cmpl fpu_trap, %ebx
    je 2f
    movl %ebx, fpu_trap
    movl $__HYPERVISOR_fpu_taskswitch, %eax
    call add_call
    movl %ebx, MULTICALL_ENTRY_args(%eax)
2:  call add_descriptors
    call send_calls
    xorl %eax, %eax
    movw PROC_gs(%esi), %ax
load_gs:
    movl %eax, %gs
    movw PROC_fs(%esi), %ax
load_fs:
    movl %eax, %fs
    popl %ebx
    ret

# ESI = process: its TLS descriptors, as far as the GDT holds others.
FUNCTION add_descriptors
    pushl %ebx
    xorl %ebx, %ebx
1:  movl PROC_tls(%esi,%ebx,8), %ecx
    movl PROC_tls+4(%esi,%ebx,8), %edx
    cmpl gdt + 8*FIRST_TLS_ENTRY(,%ebx,8), %ecx
    jne 2f
    cmpl gdt + 8*FIRST_TLS_ENTRY + 4(,%ebx,8), %edx
    je 3f
2:  pushl %edx
    pushl %ecx
    leal gdt + 8*FIRST_TLS_ENTRY(,%ebx,8), %eax
    call machine_address
    pushl %edx
    pushl %eax
    movl $__HYPERVISOR_update_descriptor, %eax
    call add_call
    popl MULTICALL_ENTRY_args(%eax)
    popl MULTICALL_ENTRY_args+4(%eax)
    popl MULTICALL_ENTRY_args+8(%eax)
    popl MULTICALL_ENTRY_args+12(%eax)
3:  incl %ebx
    cmpl $NR_TLS, %ebx
    jne 1b
    popl %ebx
    ret

# Hands the calls to Xen. None may fail: all arguments are the kernel's own.
send_calls:
    pushl %ebx
    movl $calls, %ebx
    movl call_count, %ecx
    HYPERCALL multicall
    movl call_count, %ecx
    movl $calls, %ebx
1:  orl MULTICALL_ENTRY_result(%ebx), %eax
    addl $MULTICALL_ENTRY_sizeof, %ebx
    loop 1b
    testl %eax, %eax
    jnz 2f
    popl %ebx
    ret
2:  PANIC "context switch refused"

# The current process's descriptors have changed: tells Xen. The selectors stay as they are.
FUNCTION load_descriptors
    pushl %esi
    movl $0, call_count
    movl current, %esi
    call add_descriptors
    cmpl $0, call_count
    je 1f
    call send_calls
1:  popl %esi
    ret

# A selector that a process left behind may name a descriptor that is gone by now.
    .section .rodata
    .balign 4
    .globl fixups, fixups_end
fixups:                             # address that may fault, address to go on at
    .long load_gs, drop_gs
    .long load_fs, drop_fs
fixups_end:
    .text
drop_gs:
    xorl %eax, %eax
    jmp load_gs
drop_fs:
    xorl %eax, %eax
    jmp load_fs

# EAX = channel: sleeps until it is woken, whatever happens. Callers check in a loop what they wait for.
FUNCTION block
    movl current, %edx
    movl %eax, PROC_channel(%edx)
    movl $STATE_SLEEPING, PROC_state(%edx)
    jmp schedule

# EAX = channel: the same, but a signal ends it too. Gives 0, or 1 for a signal.
FUNCTION sleep
    pushl %eax
    call signal_pending
    popl %edx
    testl %eax, %eax
    jnz 1f
    movl %edx, %eax
    call block
    call signal_pending
1:  ret

# Sleeps until anything happens, or until PROC_deadline. Gives 1 for a signal.
FUNCTION sleep_poll
    movl $POLL_CHANNEL, %eax
    jmp sleep

# EAX = channel: wakes all who sleep on it.
FUNCTION wake
    movl $proc_table, %edx
1:  cmpl $STATE_SLEEPING, PROC_state(%edx)
    jne 3f
    cmpl %eax, PROC_channel(%edx)
    je 2f
    cmpl $POLL_CHANNEL, PROC_channel(%edx)
    jne 3f
2:  movl $STATE_RUNNABLE, PROC_state(%edx)
3:  addl $PROC_sizeof, %edx
    cmpl $proc_table_end, %edx
    jb 1b
    ret

# Gives in EDX:EAX the earliest deadline of a sleeper, 0 if none has one.
earliest_deadline:
    pushl %ebx
    pushl %esi
    pushl %edi
    xorl %esi, %esi                 # EDI:ESI: the earliest so far
    xorl %edi, %edi
    movl $proc_table, %ecx
1:  cmpl $STATE_SLEEPING, PROC_state(%ecx)
    jne 3f
    movl PROC_deadline(%ecx), %eax
    movl PROC_deadline+4(%ecx), %edx
    movl %eax, %ebx
    orl %edx, %ebx
    jz 3f
    movl %esi, %ebx
    orl %edi, %ebx
    jz 2f
    cmpl %esi, %eax
    movl %edx, %ebx
    sbbl %edi, %ebx
    jae 3f
2:  movl %eax, %esi
    movl %edx, %edi
3:  addl $PROC_sizeof, %ecx
    cmpl $proc_table_end, %ecx
    jb 1b
    movl %esi, %eax
    movl %edi, %edx
    popl %edi
    popl %esi
    popl %ebx
    ret

# Wakes the sleepers whose time has come.
wake_expired:
    call earliest_deadline
    orl %eax, %edx
    jz 3f
    call system_time
    movl $proc_table, %ecx
1:  cmpl $STATE_SLEEPING, PROC_state(%ecx)
    jne 2f
    pushl %eax
    movl PROC_deadline(%ecx), %eax
    orl PROC_deadline+4(%ecx), %eax
    popl %eax
    jz 2f
    pushl %edx
    cmpl PROC_deadline(%ecx), %eax
    sbbl PROC_deadline+4(%ecx), %edx
    popl %edx
    jb 2f
    movl $STATE_RUNNABLE, PROC_state(%ecx)
2:  addl $PROC_sizeof, %ecx
    cmpl $proc_table_end, %ecx
    jb 1b
3:  ret

# Nobody can run: lets the machine rest until the console has input or a sleeper's time comes. Clearing the
# pending bit before looking at the ring closes the window in which input would be missed.
idle:
    pushl %ebx
    call console_notify
    movl console_port, %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    call tty_waiting
    testl %eax, %eax
    jnz 1f
    movl $console_port, poll_op + SCHED_POLL_ports
    movl $1, poll_op + SCHED_POLL_nr_ports
    call earliest_deadline
    movl %eax, poll_op + SCHED_POLL_timeout
    movl %edx, poll_op + SCHED_POLL_timeout + 4
    movl $SCHEDOP_poll, %ebx
    movl $poll_op, %ecx
    HYPERCALL sched_op
    call take_events
1:  popl %ebx
    ret

FUNCTION sys_sched_yield
    call schedule
    xorl %eax, %eax
    ret
