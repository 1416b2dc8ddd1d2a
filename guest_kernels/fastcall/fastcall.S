# System calls: vector 0x80 has a gate of its own in the hypervisor, all other vectors are bounced.
#
# Observe: `int $0x80` from ring 3 reaches the kernel directly, whatever DPL its gate has. The same `int` with any
# other vector is a #GP that the hypervisor turns into the interrupt; RF in the saved EFLAGS tells, for only a fault
# sets it. Returning by hypercall instead of `iret` costs another entry into the hypervisor. Times are those of the
# domain's clock: what the virtual clock charges, for traps and for slices that were used up, says nothing of the host;
# `--clock host` measures. A guest cannot tell which it has, so the table names both.

    .include "runtime.inc"
    .include "user.inc"

    XEN_NOTES fastcall

.equ CALLS, 1000                    # system calls of each kind
.equ EFLAGS_RF, 0x10000
.equ RETURN_BY_HYPERCALL, 1         # EDX: the handler leaves by HYPERVISOR_iret

# Offsets in a row of the table
.equ ROW_name, 0
.equ ROW_routine, 4                 # in ring 3: CALLS system calls
.equ ROW_direct, 8                  # calls that came directly
.equ ROW_bounced, 12                # calls that were bounced
.equ ROW_time, 16                   # nanoseconds for all of them
.equ ROW_sizeof, 20

.macro ROW routine, text:vararg
    .pushsection .rodata
.Lrow\@:
    .asciz \text
    .popsection
    .long .Lrow\@, \routine, 0, 0, 0
.endm

    .data
    .balign 4
trap_table:
    # exercise fastcall: a gate for vector 0x80 to `system_call`, of any DPL: the fast one
    TRAP_GATE 0x80, 1, system_call  # its DPL does not matter
    # exercise end
    TRAP_GATE 0x81, 3, system_call
    TRAP_GATE 0x90, 3, row_done
    TRAP_GATE 6, 0, invalid_opcode
    TRAP_TABLE_END
rows:
    ROW call_80, "int $0x80, iret          "
    ROW call_81, "int $0x81, iret          "
    ROW call_80_iret, "int $0x80, HYPERVISOR_iret"
    ROW call_81_iret, "int $0x81, HYPERVISOR_iret"
    ROW call_ud2, "ud2, iret                "
rows_end:
row:                                # the one in progress
    .long 0

    .bss
    .balign PAGE_SIZE
user_stack:
    .skip PAGE_SIZE
user_stack_top:

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    movl $user_text, %eax
    movl $user_text_end, %edx
    call open_to_user
    movl $user_stack, %eax
    movl $user_stack_top, %edx
    call open_to_user
    movl $rows, row
1:  call run_row
    addl $ROW_sizeof, row
    cmpl $rows_end, row
    jne 1b
    jmp print_table

# Runs a row and notes how long it took.
    .type run_row, @function
run_row:
    pushl %ebx
    pushl %esi
    pushl %edi
    rdtsc
    movl %eax, %esi
    movl %edx, %edi
    movl row, %ebx
    movl ROW_routine(%ebx), %eax
    movl $user_stack_top, %edx
    call enter_user
    rdtsc
    subl %esi, %eax
    movl %eax, ROW_time(%ebx)       # the TSC counts nanoseconds; less than four seconds have passed
    popl %edi
    popl %esi
    popl %ebx
    ret

# The kernel's whole work is to count. EDX says how it goes back.
    .type system_call, @function
system_call:
    pushl %ebx
    movl row, %ebx
    testl $EFLAGS_RF, 12(%esp)
    jnz 1f
    incl ROW_direct(%ebx)
    jmp 2f
1:  incl ROW_bounced(%ebx)
2:  popl %ebx
    cmpl $RETURN_BY_HYPERCALL, %edx
    je 3f
    iret
3:  jmp hypercall_page + __HYPERVISOR_iret * 32

# An exception is bounced too; `ud2` is 2 bytes long.
    .type invalid_opcode, @function
invalid_opcode:
    addl $2, (%esp)
    pushl %ebx
    movl row, %ebx
    incl ROW_bounced(%ebx)
    popl %ebx
    iret

# int $0x90: the row is over.
    .type row_done, @function
row_done:
    jmp leave_user

    .type print_table, @function
print_table:
    PRINT "system call                  direct  bounced  ns each\n"
    movl $rows, %ebx
1:  movl ROW_name(%ebx), %eax
    call print_string
    movl ROW_direct(%ebx), %eax
    movl $9, %edx
    call print_column
    movl ROW_bounced(%ebx), %eax
    movl $9, %edx
    call print_column
    movl ROW_time(%ebx), %eax
    xorl %edx, %edx
    movl $CALLS, %ecx
    divl %ecx
    movl $9, %edx
    call print_column
    PRINT "\n"
    addl $ROW_sizeof, %ebx
    cmpl $rows_end, %ebx
    jne 1b
    PRINT "Times are the domain's own: the virtual clock's charges, unless it was booted with --clock host.\n"
    ret

# EAX = number, EDX = width: decimal, to the right of its column.
    .type print_column, @function
print_column:
    pushl %eax
    pushl %edx
    movl $10, %ecx
1:  decl 0(%esp)
    xorl %edx, %edx
    divl %ecx
    testl %eax, %eax
    jnz 1b
2:  cmpl $0, (%esp)
    jle 3f
    PRINT " "
    decl (%esp)
    jmp 2b
3:  popl %edx
    popl %eax
    jmp print_dec

# Ring 3.
.macro CALL_LOOP name, way, instruction:vararg
    .type \name, @function
\name:
    movl $\way, %edx
    movl $CALLS, %ecx
1:  \instruction
    decl %ecx
    jnz 1b
    int $0x90
.endm

    .balign PAGE_SIZE
user_text:
    CALL_LOOP call_80, 0, int $0x80
    CALL_LOOP call_81, 0, int $0x81
    CALL_LOOP call_80_iret, RETURN_BY_HYPERCALL, int $0x80
    CALL_LOOP call_81_iret, RETURN_BY_HYPERCALL, int $0x81
    CALL_LOOP call_ud2, 0, ud2
    .balign PAGE_SIZE
user_text_end:
