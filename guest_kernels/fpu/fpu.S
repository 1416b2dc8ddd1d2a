# One floating-point unit for several tasks, switched only when one of them touches it.
#
# Observe: the kernel sets TS as it switches tasks; the first x87 or SSE instruction of a task that does not own the
# unit is #NM, and only then its state is exchanged; TS is clear again when the handler starts. Two tasks that
# switch in the middle of their sums end with the right ones; the third never touches the unit and costs nothing.

    .include "runtime.inc"
    .include "user.inc"

    XEN_NOTES fpu

.equ SYS_YIELD, 1                   # ring 3, EAX: let the next task run
.equ SYS_DONE, 2                    # ring 3, EAX: this task is over
.equ ROUNDS, 10
.equ TASKS, 3
.equ CR0_TS, 8
.equ KERNEL_STACK_SIZE, 512

# Offsets in a task
.equ TASK_esp, 0                    # kernel stack pointer while others run
.equ TASK_stack, 4                  # top of its kernel stack
.equ TASK_alive, 8
.equ TASK_traps, 12                 # how often it met #NM
.equ TASK_switches, 16              # how often it got the processor
.equ TASK_fpu, 20                   # address of its floating-point state
.equ TASK_sizeof, 24

.macro TASK number
    .long 0, kernel_stacks + (\number + 1) * KERNEL_STACK_SIZE, 1, 0, 0, fpu_states + \number * 512
.endm

    .data
    .balign 4
trap_table:
    TRAP_GATE 7, 0, device_not_available
    TRAP_GATE 0x80, 3, system_call
    TRAP_TABLE_END
tasks:
    TASK 0
    TASK 1
    TASK 2
tasks_end:
current:                            # task that runs
    .long tasks
owner:                              # task whose state is in the unit, or 0
    .long 0
ts_in_handler:
    .long 0
main_esp:
    .long 0

    .balign PAGE_SIZE
user_data:
    .balign 16
vector_a:
    .long 1, 2, 3, 4
vector_b:
    .long 10, 20, 30, 40
vector_sum_a:
    .long 0, 0, 0, 0
vector_sum_b:
    .long 0, 0, 0, 0
addend_a:
    .long 3
addend_b:
    .long 500
sum_a:
    .long 0
sum_b:
    .long 0
sum_c:
    .long 0
    .balign PAGE_SIZE
user_data_end:

    .bss
    .balign 16
fpu_states:
    .skip TASKS * 512
kernel_stacks:
    .skip TASKS * KERNEL_STACK_SIZE
    .balign PAGE_SIZE
user_stacks:
    .skip PAGE_SIZE
user_stacks_end:

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    movl $user_text, %eax
    movl $user_text_end, %edx
    call open_to_user
    movl $user_data, %eax
    movl $user_data_end, %edx
    call open_to_user
    movl $user_stacks, %eax
    movl $user_stacks_end, %edx
    call open_to_user
    call show_task_switched
    call prepare_tasks
    call run_tasks
    PRINT "x87 sums: "
    PRINT_DEC sum_a
    PRINT ", "
    PRINT_DEC sum_b
    PRINT "\nSSE sums:"
    movl $vector_sum_a, %ebx
    call print_vector
    PRINT ","
    movl $vector_sum_b, %ebx
    call print_vector
    PRINT "\nsum without the unit: "
    PRINT_DEC sum_c
    PRINT "\n"
    call print_tasks
    PRINT "TS in the handler: "
    PRINT_DEC ts_in_handler
    PRINT "\n"
    ret

# TS by hypercall and by instruction.
    .type show_task_switched, @function
show_task_switched:
    PRINT "TS at the start: "
    call print_ts
    movl $1, %ebx
    HYPERCALL fpu_taskswitch
    PRINT ", set: "
    call print_ts
    xorl %ebx, %ebx
    HYPERCALL fpu_taskswitch
    PRINT ", cleared: "
    call print_ts
    movl %cr0, %eax
    orl $CR0_TS, %eax
    movl %eax, %cr0
    PRINT ", set in CR0: "
    call print_ts
    clts
    PRINT ", after clts: "
    call print_ts
    PRINT "\n"
    ret

    .type print_ts, @function
print_ts:
    movl %cr0, %eax
    shrl $3, %eax
    andl $1, %eax
    jmp print_dec

# Every task starts with a fresh unit, and with a kernel stack from which it can go to ring 3.
    .type prepare_tasks, @function
prepare_tasks:
    fninit
    movl $tasks, %ebx
    movl $user_main_a, %esi
    movl $user_stacks + 1024, %edi
1:  movl TASK_fpu(%ebx), %eax
    fxsave (%eax)
    movl TASK_stack(%ebx), %eax
    subl $52, %eax
    movl %eax, TASK_esp(%ebx)
    movl %esi, 32(%eax)
    movl $FLAT_USER_CS, 36(%eax)
    movl $0x202, 40(%eax)
    movl %edi, 44(%eax)
    movl $FLAT_USER_SS, 48(%eax)
    addl $user_main_b - user_main_a, %esi
    addl $1024, %edi
    addl $TASK_sizeof, %ebx
    cmpl $tasks_end, %ebx
    jne 1b
    ret

    .type run_tasks, @function
run_tasks:
    pushal
    movl %esp, main_esp
    movl $FLAT_USER_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    jmp resume_task

# From ring 3; the registers of the task go onto its kernel stack.
    .type system_call, @function
system_call:
    pushal
    movl current, %ebx
    movl %esp, TASK_esp(%ebx)
    cmpl $SYS_DONE, %eax
    jne next_task
    movl $0, TASK_alive(%ebx)

# The next task that is alive; when there is none, back to the caller of run_tasks.
next_task:
    movl $TASKS, %ecx
1:  addl $TASK_sizeof, %ebx
    cmpl $tasks_end, %ebx
    jne 2f
    movl $tasks, %ebx
2:  cmpl $0, TASK_alive(%ebx)
    jne 3f
    loop 1b
    movl main_esp, %esp
    popal
    ret
3:  movl %ebx, current

resume_task:
    movl current, %ebx
    incl TASK_switches(%ebx)
    movl TASK_stack(%ebx), %eax
    call set_kernel_stack
    movl current, %esi
    xorl %ebx, %ebx
    cmpl owner, %esi
    setne %bl
    HYPERCALL fpu_taskswitch
    movl TASK_esp(%esi), %esp
    popal
    iret

# The running task wants the unit: the owner's state out, its own in.
    .type device_not_available, @function
device_not_available:
    pushal
    movl %cr0, %eax
    andl $CR0_TS, %eax
    orl %eax, ts_in_handler
    clts                            # Xen has done it already; elsewhere it is due
    movl owner, %eax
    testl %eax, %eax
    jz 1f
    movl TASK_fpu(%eax), %eax
    fxsave (%eax)
1:  movl current, %ebx
    movl %ebx, owner
    incl TASK_traps(%ebx)
    movl TASK_fpu(%ebx), %eax
    fxrstor (%eax)
    popal
    iret

# EBX = four numbers.
    .type print_vector, @function
print_vector:
    leal 16(%ebx), %esi
1:  PRINT " "
    PRINT_DEC (%ebx)
    addl $4, %ebx
    cmpl %esi, %ebx
    jne 1b
    ret

    .type print_tasks, @function
print_tasks:
    movl $tasks, %ebx
1:  PRINT "a task: "
    PRINT_DEC TASK_switches(%ebx)
    PRINT " switches, "
    PRINT_DEC TASK_traps(%ebx)
    PRINT " of them with #NM\n"
    addl $TASK_sizeof, %ebx
    cmpl $tasks_end, %ebx
    jne 1b
    ret

# The three tasks: two add with the unit, one without, and all of them yield after each step.
.macro SUMS name, addend, vector, sum, vector_sum
    .balign 128
    .type \name, @function
\name:
    fldz
    pxor %xmm0, %xmm0
    movl $ROUNDS, %esi
1:  fiaddl \addend
    paddd \vector, %xmm0
    movl $SYS_YIELD, %eax
    int $0x80
    decl %esi
    jnz 1b
    fistpl \sum
    movdqa %xmm0, \vector_sum
    movl $SYS_DONE, %eax
    int $0x80
.endm

    .balign PAGE_SIZE
user_text:
    SUMS user_main_a, addend_a, vector_a, sum_a, vector_sum_a
    SUMS user_main_b, addend_b, vector_b, sum_b, vector_sum_b
    .balign 128
    .type user_main_c, @function
user_main_c:
    movl $ROUNDS, %esi
1:  addl $7, sum_c
    movl $SYS_YIELD, %eax
    int $0x80
    decl %esi
    jnz 1b
    movl $SYS_DONE, %eax
    int $0x80
    .balign PAGE_SIZE
user_text_end:
