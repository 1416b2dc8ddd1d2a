# Exceptions and software interrupts, and the frames they push, from ring 1 and from ring 3.
#
# Observe: only some exceptions have an error code, and none has one when it is raised by `int n`; faults report
# their own instruction, with RF set, traps the next one; a frame has five or six words when it comes from ring 3,
# and then it is on the kernel's stack; the upper half of the CS word holds the upcall mask as it was, and IF in
# EFLAGS is its complement; a gate with TI_IF masks upcalls; `int n` needs a gate whose DPL allows the ring, else
# it is #GP with the vector in its error code.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "user.inc"
    .include "probe.inc"

    XEN_NOTES traps

.equ SYS_DONE, 1                    # ring 3, EAX: nothing more to do
.equ SYS_TASK_SWITCH, 2             # ring 3, EAX: let the next FPU instruction trap
.equ ABSENT_3, 8 | 3                # selectors of our GDT: segments that are not present,
.equ ABSENT_1, 16 | 1
.equ BEYOND, 512 * 8                # and one after its end
.equ TI_IF, 4
.equ NT, 0x4000                     # EFLAGS

    .data
    .balign 4
trap_table:
    .irp vector, 0, 1, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19
    TRAP_GATE \vector, 0, trap_\vector
    .endr
    TRAP_GATE 0x80, 3, system_call
    TRAP_GATE PROBE_QUIET, 3, probe_quiet
    TRAP_GATE 0x90, 3, trap_0x90
    TRAP_GATE 0x91, 1, trap_0x91
    TRAP_GATE 0x92, 3 | TI_IF, trap_0x92
    TRAP_TABLE_END
open_gates:                         # exceptions that an instruction may raise
    TRAP_GATE 10, 3, trap_10
    TRAP_GATE 17, 3, trap_17
    TRAP_GATE 19, 3, trap_19
    TRAP_TABLE_END
gdt_frames:
    .long 0

    .balign PAGE_SIZE
gdt:
    .long 0, 0
    .long 0x0000FFFF, 0x00CF7200    # data, DPL 3, not present
    .long 0x0000FFFF, 0x00CF3200    # data, DPL 1, not present
    .balign PAGE_SIZE
user_data:
bounds:
    .long 0, 9
unmasked:
    .word 0x0360                    # x87 control word: division by zero is not masked
    .balign PAGE_SIZE
read_only:
    .long 0
    .balign PAGE_SIZE
user_data_end:

    .bss
    .balign PAGE_SIZE
user_stack:
    .skip PAGE_SIZE
user_stack_top:

# The probes that both rings share. The handlers go on after each of them.
.macro FAULTS stack
    xorl %edx, %edx
    xorl %ecx, %ecx
    PROBE divl %ecx
    PROBE into
    movl $10, %eax
    PROBE boundl %eax, bounds
    PROBE ud2
    PROBE fninit
    movl $ABSENT_3, %eax
    PROBE movl %eax, %fs
    movl $\stack, %eax
    PROBE movl %eax, %ss
    movl $BEYOND, %eax
    PROBE movl %eax, %es
    PROBE hlt
    call nested_task
    PROBE movl 0xD0000000, %eax
    PROBE movl %eax, read_only
    PROBE movl %eax, 0xF5800000
    fninit
    fldcw unmasked
    fld1
    fldz
    fdivrp
    PROBE fwait
    fninit
.endm

# Software interrupts: exceptions raised so have no error code.
.macro INTERRUPTS
    PROBE int3
    PROBE int $3
    PROBE int $4
    PROBE int $10
    PROBE int $17
    PROBE int $19
    PROBE int $13
    PROBE int $0x90
    PROBE int $0x91
    PROBE int $0x92
    PROBE int $0x93
.endm

    .text
    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    # exercise traps: tell the hypervisor where our handlers are: `trap_table`, then `open_gates`
    movl $trap_table, %eax
    call set_trap_table
    movl $open_gates, %eax
    call set_trap_table
    # exercise end
    call install_gdt
    movl $read_only, %eax
    call make_read_only
    MUST make_read_only
    movl $user_data, %eax
    movl $user_data_end, %edx
    call open_to_user
    movl $user_stack, %eax
    movl $user_stack_top, %edx
    call open_to_user
    movl $user_text, %eax
    movl $user_text_end, %edx
    call open_to_user
    movl $probe, %eax
    movl $probe_end, %edx
    call open_to_user
    PRINT "ring 1, upcalls masked\n"
    PROBE ud2
    PROBE int $0x90
    movb $0, UPCALL_MASK
    PRINT "ring 1\n"
    movl $1, %ebx
    HYPERCALL fpu_taskswitch
    call ring1_probes
    PRINT "ring 3\n"
    movl $user_main, %eax
    movl $user_stack_top, %edx
    jmp enter_user

    .type ring1_probes, @function
ring1_probes:
    FAULTS ABSENT_1
    call overflow
    call single_step
    INTERRUPTS
    ret

# Makes entry 1 of the GDT ours.
    .type install_gdt, @function
install_gdt:
    movl $gdt, %eax
    call make_read_only
    MUST make_read_only
    movl $gdt, %eax
    call va_to_mfn
    movl %eax, gdt_frames
    movl $gdt_frames, %ebx
    movl $512, %ecx
    HYPERCALL set_gdt
    MUST set_gdt
    ret

# From ring 3, EAX = service.
    .type system_call, @function
system_call:
    cmpl $SYS_DONE, %eax
    je leave_user
    movl $1, %ebx
    HYPERCALL fpu_taskswitch
    iret

    HANDLERS 0, 1, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19, 0x90, 0x91, 0x92

# What ring 3 runs, and ring 1 where it calls it.
    .balign PAGE_SIZE
user_text:
    .type user_main, @function
user_main:
    movl $SYS_TASK_SWITCH, %eax
    int $0x80
    FAULTS ABSENT_3
    call overflow
    call single_step
    INTERRUPTS
    PROBE int $0x82
    PROBE movl start_info, %eax
    PROBE cli
    movl $SYS_DONE, %eax
    int $0x80

    .type overflow, @function
overflow:
    movb $0x7F, %al
    addb $1, %al
    PROBE into
    ret

# NT asks `iret` to go back to another task.
    .type nested_task, @function
nested_task:
    pushfl
    orl $NT, (%esp)
    popfl
    PROBE iret
    pushfl
    andl $~NT, (%esp)
    popfl
    ret

# TF traps after the instruction that follows popf.
    .type single_step, @function
single_step:
    PROBE_BEGIN "pushfl; orl $0x100, (%esp); popfl; nop"
    pushfl
    orl $EFLAGS_TF, (%esp)
    popfl
    nop
    PROBE_END
    ret
    .balign PAGE_SIZE
user_text_end:
