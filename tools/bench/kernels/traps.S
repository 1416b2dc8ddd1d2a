# Entries into the hypervisor and returns from it, one kind a row (see traps.py beside this folder).

    .include "rows.inc"

.equ CALLS_AT_ONCE, 32

    .data
    .balign 4
trap_table:
    TRAP_GATE 0, 0, divide_error_handler
    TRAP_GATE 14, 0, page_fault_handler
    TRAP_GATE 0x80, 3, system_call  # the hypervisor's direct gate
    TRAP_GATE 0x81, 3, system_call  # by its #GP, as all other vectors
    TRAP_GATE 0x83, 3, system_call_by_hypercall
    TRAP_TABLE_END
iopl:
    .long 1                         # struct physdev_set_iopl
send:
    .long 0                         # struct evtchn_send
calls:                              # struct multicall_entry
    .rept CALLS_AT_ONCE
    .long __HYPERVISOR_xen_version, 0
    .skip MULTICALL_ENTRY_sizeof - MULTICALL_ENTRY_args     # XENVER_version is 0
    .endr

    .text
    .type set_up, @function
set_up:
    movl $trap_table, %eax
    call set_trap_table
    movl $user_text, %eax
    movl $user_text_end, %edx
    call open_to_user
    movl $open_page, %eax
    movl $open_page_end, %edx
    jmp open_to_user

# Handlers do nothing, but skip what faulted.
    .type divide_error_handler, @function
divide_error_handler:
    addl $2, (%esp)                 # divl %ecx
    iret

    .type page_fault_handler, @function
page_fault_handler:
    addl $4, %esp                   # the error code
    addl $5, (%esp)                 # movl NOWHERE, %eax
    iret

    .type system_call, @function
system_call:
    iret

    .type system_call_by_hypercall, @function
system_call_by_hypercall:
    jmp hypercall_page + __HYPERVISOR_iret * 32

.equ NOWHERE, 0x1000

ROW hypercall
1:  movl $XENVER_version, %ebx
    HYPERCALL xen_version
    AGAIN

ROW multicall
1:  movl $calls, %ebx
    movl $CALLS_AT_ONCE, %ecx
    HYPERCALL multicall
    MUST multicall
    AGAIN

ROW yields
1:  movl $SCHEDOP_yield, %ebx
    xorl %ecx, %ecx
    HYPERCALL sched_op
    AGAIN

# To itself: the hypercall, the upcall, its handler, and HYPERVISOR_iret.
ROW event
    xorl %eax, %eax
    call bind_ipi
    movl %eax, send
    call unmask_port
    movb $0, UPCALL_MASK
1:  movl $EVTCHNOP_send, %ebx
    movl $send, %ecx
    HYPERCALL event_channel_op
    MUST send
    AGAIN

ROW divide_error
    xorl %ecx, %ecx
1:  divl %ecx
    AGAIN

ROW page_fault
1:  movl NOWHERE, %eax
    AGAIN

ROW read_cr0
1:  movl %cr0, %eax
    AGAIN

ROW read_tsc
1:  rdtsc
    AGAIN

ROW forced_cpuid
    xorl %eax, %eax
1:  ud2
    .ascii "xen"
    cpuid
    xorl %eax, %eax
    AGAIN

ROW port_read
    movl $PHYSDEVOP_set_iopl, %ebx
    movl $iopl, %ecx
    HYPERCALL physdev_op
    MUST set_iopl
    movl $0x80, %edx
1:  inb %dx, %al
    AGAIN

# Sets TS, and clears it again.
ROW taskswitch
1:  movl $1, %ebx
    HYPERCALL fpu_taskswitch
    xorl %ebx, %ebx
    HYPERCALL fpu_taskswitch
    AGAIN

.macro USER_ROW name:req, instruction:vararg
ROW \name
    movl $.Luser\@, %eax
    movl $user_stack_top, %edx
    jmp enter_user
    .pushsection .text.user, "ax"
.Luser\@:
1:  \instruction
    AGAIN
    .popsection
.endm

    .section .text.user, "ax"
    .balign PAGE_SIZE
user_text:
    .text
    USER_ROW direct, int $0x80
    USER_ROW bounced, int $0x81
    USER_ROW hypercall_iret, int $0x83
    USER_ROW user_page_fault, movl NOWHERE, %eax
    .section .text.user, "ax"
    .balign PAGE_SIZE
user_text_end:
