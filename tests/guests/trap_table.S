# Raises a trap for each row of the ramdisk and keeps what its handler found. The host compares.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "user.inc"

    XEN_NOTES trap_table

.equ ABSENT_3, 8 | 3
.equ ABSENT_1, 16 | 1

# A row of the table
.equ CASE_gate, 0                   # struct trap_info without an address
.equ CASE_trigger, 4                # index into `triggers`
.equ CASE_ring, 8
.equ CASE_mask, 12
.equ CASE_eflags, 16
.equ CASE_sizeof, 20

# What its handler found
.equ FOUND_vector, 0                # of the handler
.equ FOUND_esp, 4
.equ FOUND_cs, 8
.equ FOUND_ss, 12
.equ FOUND_eflags, 16
.equ FOUND_mask, 20
.equ FOUND_cr2, 24
.equ FOUND_words, 28                # six words from ESP on
.equ FOUND_sizeof, 52

    .data
    .balign 4
default_gates:
    .irp vector, 0, 1, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19, 0x80, 0x90
    TRAP_GATE \vector, 0, handler_\vector
    .endr
    TRAP_TABLE_END
handlers:                           # by vector; those in between are never used
    .irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
    .long handler_\vector
    .endr
case_gate:                          # struct trap_info of the row, and the end of its table
    .long 0, 0, 0, 0
    .globl stack_of_kernel
stack_of_kernel:                    # ESP of ring 1 as the trigger is reached, and for traps from ring 3
    .long 0
case:
    .long 0
case_end:
    .long 0
found:
    .long results
gdt_frames:
    .long 0

    .balign PAGE_SIZE
gdt:
    .long 0, 0
    .long 0x0000FFFF, 0x00CF7200    # data, DPL 3, not present
    .long 0x0000FFFF, 0x00CF3200    # data, DPL 1, not present
    .balign PAGE_SIZE

    .bss
    .balign PAGE_SIZE
user_stack:
    .skip PAGE_SIZE
    .globl user_stack_top
user_stack_top:
    .globl results
results:
    .skip RESULTS * FOUND_sizeof

    .text
    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    call install_gdt
    movl $user_text, %eax
    movl $user_text_end, %edx
    call open_to_user
    movl $user_stack, %eax
    movl $user_stack_top, %edx
    call open_to_user
    movl $FLAT_USER_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl start_info, %edx
    movl START_INFO_mod_start(%edx), %eax
    movl %eax, case
    addl START_INFO_mod_len(%edx), %eax
    movl %eax, case_end
    movl %esp, stack_of_kernel
    movl %esp, %eax
    call set_kernel_stack
next_case:
    movl stack_of_kernel, %esp
    movl case, %esi
    cmpl case_end, %esi
    jb 1f
    ret
1:  call set_gates
    movl $1, %ebx
    HYPERCALL fpu_taskswitch
    cmpl $7, CASE_trigger(%esi)
    je 2f
    clts
    fninit                          # with an error pending for fwait: 1 / 0, not masked
    fldcw unmasked
    fld1
    fldz
    fdivrp
2:  movb CASE_mask(%esi), %al
    movb %al, UPCALL_MASK
    movl CASE_trigger(%esi), %ebp
    movl triggers(,%ebp,4), %ebp
    xorl %ecx, %ecx
    xorl %edx, %edx
    cmpl $3, CASE_ring(%esi)
    je 3f
    movl $ABSENT_1, %eax
    pushl CASE_eflags(%esi)
    popfl
    jmp *%ebp
3:  pushl $FLAT_USER_SS
    pushl $user_stack_top
    pushl CASE_eflags(%esi)
    pushl $FLAT_USER_CS
    pushl %ebp
    movl $ABSENT_3, %eax
    iret

# ESI = row: its gate over the default ones.
    .type set_gates, @function
set_gates:
    movl $default_gates, %eax
    call set_trap_table
    movl CASE_gate(%esi), %eax
    movl %eax, case_gate
    movzbl %al, %eax
    movl $handler_0x80, %edx
    cmpl $0x80, %eax
    je 1f
    movl $handler_0x90, %edx
    cmpl $0x90, %eax
    je 1f
    movl handlers(,%eax,4), %edx
1:  movl %edx, case_gate + 4
    movl $case_gate, %eax
    jmp set_trap_table

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

    .irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0x80, 0x90
    .globl handler_\vector
    .type handler_\vector, @function
handler_\vector:
    pushl $\vector
    jmp record
    .endr

# Vector on the stack, the frame above it. No flag changes before it is saved.
record:
    pushfl
    movl found, %edi
    leal 8(%esp), %esi
    movl %esi, FOUND_esp(%edi)
    popl FOUND_eflags(%edi)
    popl FOUND_vector(%edi)
    movl %cs, %eax
    movl %eax, FOUND_cs(%edi)
    movl %ss, %eax
    movl %eax, FOUND_ss(%edi)
    movzbl UPCALL_MASK, %eax
    movl %eax, FOUND_mask(%edi)
    movl SHARED_CR2, %eax
    movl %eax, FOUND_cr2(%edi)
    leal FOUND_words(%edi), %edi
    movl $6, %ecx
    cld
    rep movsl
    movl %edi, found
    addl $CASE_sizeof, case
    jmp next_case

# Both rings execute these. EAX = selector of an absent segment, ECX = EDX = 0.
.macro TRIGGER name, instruction:vararg
    .globl trigger_\name
trigger_\name:
    \instruction
.endm

    .balign PAGE_SIZE
user_text:
triggers:
    .long trigger_0, trigger_1, trigger_3, trigger_4, trigger_5, trigger_6, trigger_11, trigger_7, trigger_12
    .long trigger_13, trigger_14, trigger_16, trigger_int_10, trigger_int_17, trigger_int_19, trigger_int_80
    .long trigger_int_90
bounds:
    .long 1, 9
unmasked:
    .word 0x0360
    TRIGGER 0, divl %ecx
    TRIGGER 3, int3
    TRIGGER 4, into
    TRIGGER 5, boundl %ecx, bounds
    TRIGGER 6, ud2
    TRIGGER 7, fnop
    TRIGGER 11, movl %eax, %fs
    TRIGGER 12, movl %eax, %ss
    TRIGGER 13, hlt
    TRIGGER 14, movl 0xD0000000, %eax
    TRIGGER 16, fwait
    TRIGGER int_10, int $10
    TRIGGER int_17, int $17
    TRIGGER int_19, int $19
    TRIGGER int_80, int $0x80
    TRIGGER int_90, int $0x90
    TRIGGER 1, pushl $0x302
    popfl
    nop
    .balign PAGE_SIZE
user_text_end:
