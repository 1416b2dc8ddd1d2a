# Rings 1 and 3: the kernel is not privileged either, and applications are still less so.
#
# Observe: privileged instructions end in #GP in both rings; `int` reaches only gates whose DPL allows the
# caller, else #GP with the vector in the error code (8 * vector + 2); `int $0x82` is a hypercall in ring 1
# alone; the kernel's pages are closed to ring 3 until it opens them.

    .include "runtime.inc"
    .include "user.inc"

    XEN_NOTES rings

.equ SYS_PRINT, 1                   # ring 3: EDX = string
.equ SYS_PRINT_DEC, 2               # ring 3: EDX = number
.equ SYS_DONE, 3

# Runs one instruction that should fault; the handler names it and goes on after it.
.macro TRY instruction:vararg
    .pushsection .rodata
.Ltext\@:
    .asciz "\instruction"
    .popsection
    movl $.Ltext\@, attempt
    movl $.Lresume\@, resume
    \instruction
.Lresume\@:
.endm

    .data
    .balign 4
trap_table:
    TRAP_GATE 13, 0, general_protection
    TRAP_GATE 14, 0, page_fault
    # exercise rings: a gate for vector 0x80 that leads ring 3 to `system_call`
    TRAP_GATE 0x80, 3, system_call
    # exercise end
    TRAP_GATE 0x90, 1, kernel_only
    TRAP_TABLE_END

    .bss
    .balign PAGE_SIZE
user_page:                          # the application's data and stack
attempt:                            # text of the instruction that TRY runs
    .skip 4
resume:                             # address after it
    .skip 4
    .skip PAGE_SIZE - 8
user_stack_top:

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    PRINT "kernel in ring "
    movl %cs, %eax
    andl $3, %eax
    PRINT_DEC %eax
    PRINT "\n"
    TRY cli
    TRY hlt
    TRY ltr %ax
    TRY int $0x91
    int $0x90
    movl $user_main, %eax
    leal PAGE_SIZE(%eax), %edx
    call open_to_user
    movl $user_page, %eax
    movl $user_stack_top, %edx
    call open_to_user
    movl $user_main, %eax
    movl $user_stack_top, %edx
    call enter_user
    PRINT "back in ring "
    movl %cs, %eax
    andl $3, %eax
    PRINT_DEC %eax
    PRINT "\n"
    ret

# int $0x80. From ring 3 only, so the frame is the five-word one; EAX = service, EDX = argument.
    .type system_call, @function
system_call:
    cmpl $SYS_PRINT, %eax
    je 1f
    cmpl $SYS_PRINT_DEC, %eax
    je 2f
    jmp leave_user                  # SYS_DONE
1:  movl %edx, %eax
    call print_string
    iret
2:  movl %edx, %eax
    call print_dec
    iret

# int $0x90, a gate for the kernel's own use.
    .type kernel_only, @function
kernel_only:
    PRINT "  ring 1: int $0x90: reached its handler\n"
    iret

    .type general_protection, @function
general_protection:
    pushal
    movl $name_gp, %esi
    jmp report

    .type page_fault, @function
page_fault:
    pushal
    movl $name_pf, %esi

# Says who did what and how it ended (ESI), and goes on at `resume`.
report:
    leal 32(%esp), %ebx             # the frame, above the eight registers of pushal
    PRINT "  ring "
    movl TRAP_FRAME_cs(%ebx), %eax
    andl $3, %eax
    PRINT_DEC %eax
    PRINT ": "
    movl attempt, %eax
    call print_string
    PRINT ": "
    movl %esi, %eax
    call print_string
    PRINT ", error code "
    PRINT_HEX TRAP_FRAME_error_code(%ebx)
    PRINT "\n"
    movl resume, %eax
    movl %eax, TRAP_FRAME_eip(%ebx)
    popal
    addl $4, %esp
    iret

# Ring 3, on a page of its own.
    .balign PAGE_SIZE
    .type user_main, @function
user_main:
    movl $user_greeting, %edx
    movl $SYS_PRINT, %eax
    int $0x80
    movl %cs, %edx
    andl $3, %edx
    movl $SYS_PRINT_DEC, %eax
    int $0x80
    movl $user_newline, %edx
    movl $SYS_PRINT, %eax
    int $0x80
    TRY cli
    TRY hlt
    TRY movl %cr0,%eax
    TRY int $0x82
    TRY int $0x90
    TRY movl start_info,%eax
    movl $SYS_DONE, %eax
    int $0x80

    .section .rodata
name_gp:
    .asciz "#GP"
name_pf:
    .asciz "#PF"
user_greeting:
    .asciz "application in ring "
user_newline:
    .asciz "\n"
