# Debugging: single steps, breakpoint instructions, and breakpoints in the debug registers.
#
# Observe: with TF set every instruction is a #DB after it, those that the hypervisor emulates too; an execution
# breakpoint is a #DB before its instruction, and the handler has to set RF to get past it, a data breakpoint one
# after it; DR6 says which it was and keeps saying so until the kernel clears it; debug registers work by hypercall and by `mov`, in both rings, and
# what would reach the hypervisor is refused.

    .include "runtime.inc"
    .include "paging.inc"
    .include "user.inc"

    XEN_NOTES debug

.equ SYS_DONE, 1                    # ring 3, EAX: nothing more to do
.equ EFLAGS_TF, 0x100
.equ EFLAGS_RF, 0x10000
.equ DR6_STEP, 0x4000
.equ DR7_ENABLE_0, 0x1              # local enable bits
.equ DR7_ENABLE_1, 0x4
.equ DR7_WRITE_2, 0x0D000010        # breakpoint 2: four bytes are written
.equ DR7_ACCESS_2, 0x0F000010       # breakpoint 2: four bytes are read or written
.equ DR7_GENERAL_DETECT, 0x2000

    .data
    .balign 4
trap_table:
    TRAP_GATE 1, 0, debug_exception
    TRAP_GATE 3, 0, breakpoint
    TRAP_GATE 6, 0, unexpected
    TRAP_GATE 13, 0, unexpected
    TRAP_GATE 0x80, 3, system_call
    TRAP_TABLE_END

    .bss
    .balign PAGE_SIZE
user_stack:
start:                              # address that EIP is reported against
    .skip 4
last:                               # address where stepping ends
    .skip 4
watched:                            # what the data breakpoints are for
    .skip 4
    .skip PAGE_SIZE - 12
user_stack_top:

# Reports are relative to the label 70 that follows; steps end at the label 79 after it.
.macro WATCH
    movl $70f, start
    movl $79f, last
.endm

# Sets TF: the first #DB comes after the first instruction that follows.
.macro STEP
    pushfl
    orl $EFLAGS_TF, (%esp)
    popfl
.endm

# What both rings do. ECX = 1 in the loop: enough for a branch that is not taken.
.macro STEPS
    WATCH
    movl $2, %ecx
    STEP
70: nop
71: decl %ecx
    jnz 71b
    pushl $start
    popl %eax
    xorl %eax, %eax
79: nop
.endm

.macro BREAKPOINTS
    WATCH
70: int3
    .byte 0xF1                      # ICEBP
    nop
79:
.endm

# A read and a write of what may be watched.
.macro ACCESSES
    WATCH
70: movl watched, %eax
    movl %eax, watched
    nop
79:
.endm

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    movl $user_stack, %eax
    movl $user_stack_top, %edx
    call open_to_user
    movl $user_text, %eax
    movl $user_text_end, %edx
    call open_to_user
    call show_registers
    PRINT "ring 1\n"
    STEPS
    call step_emulated
    BREAKPOINTS
    call kernel_breakpoint
    call data_breakpoints
    PRINT "ring 3\n"
    call user_breakpoint
    movl $user_main, %eax
    movl $user_stack_top, %edx
    call enter_user
    PRINT "at the end\n"
    jmp print_registers

# EBX = register, ECX = value; gives 0 or a negative errno.
    .type set_debugreg, @function
set_debugreg:
    HYPERCALL set_debugreg
    ret

    .type show_registers, @function
show_registers:
    PRINT "at the start\n"
    call print_registers
    PRINT "set_debugreg 7, general detect: "
    movl $7, %ebx
    movl $DR7_GENERAL_DETECT, %ecx
    call set_debugreg
    call print_errno
    PRINT "\nset_debugreg 7, an I/O breakpoint without CR4.DE: "
    movl $7, %ebx
    movl $0x20001, %ecx
    call set_debugreg
    call print_errno
    PRINT "\nset_debugreg 4 (an alias of 6): "
    movl $4, %ebx
    movl $0, %ecx
    call set_debugreg
    call print_errno
    PRINT "\nset_debugreg 8: "
    movl $8, %ebx
    movl $0, %ecx
    call set_debugreg
    cmpl $-19, %eax                 # ENODEV
    jne 1f
    PRINT "ENODEV\n"
    ret
1:  call print_errno
    PRINT "\n"
    ret

    .type print_registers, @function
print_registers:
    PRINT "  DR6 "
    movl %dr6, %eax
    call print_hex32
    PRINT ", DR7 "
    movl $7, %ebx
    HYPERCALL get_debugreg
    call print_hex32
    PRINT "\n"
    ret

# Instructions that never execute: their steps come all the same.
    .type step_emulated, @function
step_emulated:
    PRINT "over emulated instructions\n"
    WATCH
    STEP
70: movl %cr0, %eax
    clts
    nop
79: nop
    ret

# An execution breakpoint, set by hypercall: passed twice, disabled, passed once more.
    .type kernel_breakpoint, @function
kernel_breakpoint:
    PRINT "execution breakpoint 0\n"
    movl $kernel_target, start
    xorl %ebx, %ebx
    movl $kernel_target, %ecx
    call set_debugreg
    MUST set_debugreg
    movl $7, %ebx
    movl $DR7_ENABLE_0, %ecx
    call set_debugreg
    MUST set_debugreg
    call kernel_target
    call kernel_target
    movl $7, %ebx
    xorl %ecx, %ecx
    call set_debugreg
    MUST set_debugreg
kernel_target:
    ret

# Breakpoint 2 on a word: each is reported after its instruction.
    .type data_breakpoints, @function
data_breakpoints:
    movl $2, %ebx
    movl $watched, %ecx
    call set_debugreg
    MUST set_debugreg
    PRINT "data breakpoint 2, nothing enabled\n"
    ACCESSES
    PRINT "data breakpoint 2, writes\n"
    movl $DR7_WRITE_2, %eax
    movl %eax, %dr7
    ACCESSES
    PRINT "data breakpoint 2, reads and writes\n"
    movl $DR7_ACCESS_2, %eax
    movl %eax, %dr7
    ACCESSES
    ret

# An execution breakpoint for ring 3 and the data breakpoint, set with moves.
    .type user_breakpoint, @function
user_breakpoint:
    movl $user_target, %eax
    movl %eax, %dr1
    movl $DR7_WRITE_2 | DR7_ENABLE_1, %eax
    movl %eax, %dr7
    ret

# #DB: where, and why as DR6 says. Steps go on until `last`; an execution breakpoint is passed with RF.
    .type debug_exception, @function
debug_exception:
    pushal
    leal 32(%esp), %ebx
    PRINT "  #DB at "
    call print_place
    movl %dr6, %esi
    testl $DR6_STEP, %esi
    jz 1f
    PRINT ", single step"
1:  testl $15, %esi
    jz 2f
    PRINT ", breakpoints "
    movl %esi, %eax
    andl $15, %eax
    call print_dec
    orl $EFLAGS_RF, 8(%ebx)
2:  testl $DR6_STEP | 15, %esi
    jnz 3f
    PRINT ", no cause"
3:  xorl %eax, %eax
    movl %eax, %dr6
    PRINT "\n"
    movl (%ebx), %eax
    cmpl last, %eax
    jne 4f
    andl $~EFLAGS_TF, 8(%ebx)
4:  popal
    iret

    .type breakpoint, @function
breakpoint:
    pushal
    leal 32(%esp), %ebx
    PRINT "  #BP at "
    call print_place
    PRINT "\n"
    popal
    iret

# EBX = frame without error code: its EIP relative to `start`, and its ring.
    .type print_place, @function
print_place:
    PRINT "+"
    movl (%ebx), %eax
    subl start, %eax
    call print_dec
    PRINT " in ring "
    movl 4(%ebx), %eax
    andl $3, %eax
    call print_dec
    testl $EFLAGS_RF, 8(%ebx)
    jz 1f
    PRINT ", RF"
1:  ret

    .type unexpected, @function
unexpected:
    PANIC "an exception nobody asked for"

    .type system_call, @function
system_call:
    jmp leave_user

    .balign PAGE_SIZE
user_text:
    .type user_main, @function
user_main:
    STEPS
    BREAKPOINTS
    WATCH
    nop
70:
user_target:
    nop
79: ACCESSES
    movl $SYS_DONE, %eax
    int $0x80
    .balign PAGE_SIZE
user_text_end:
