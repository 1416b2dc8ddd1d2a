# Returns that cannot be: bad code and stack segments in the frames of HYPERVISOR_iret and of iret.
#
# Observe: when the hypervisor's own return fails, the exception is reported where the return should have led to,
# with the bad selectors in its frame and the selector in its error code; a native `iret` that fails is #GP in the
# kernel, at the `iret`. A data segment too privileged for ring 3 is null there. None of this enters the failsafe
# callback: that one is for data segments that cannot be loaded when the hypervisor puts a vcpu on a processor.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "user.inc"
    .include "probe.inc"

    XEN_NOTES failsafe

# Selectors of our GDT
.equ ABSENT_CODE, 8 | 3
.equ ABSENT_DATA, 16 | 3
.equ BEYOND, 512 * 8                # after its end
.equ NONE, 0                        # a return within ring 1 keeps its stack

    .data
    .balign 4
trap_table:
    .irp vector, 10, 11, 12, 13, 14
    TRAP_GATE \vector, 0, refused_\vector
    .endr
    TRAP_GATE 0x80, 3, system_call
    TRAP_TABLE_END
failsafe_callback:                  # struct callback_register
    .word CALLBACKTYPE_failsafe, CALLBACKF_mask_events
    .long FLAT_KERNEL_CS, on_failsafe
gdt_frames:
    .long 0
failsafe_calls:
    .long 0
expected_base:                      # where the frame of the exception should begin
    .long 0
caller_esp:
    .long 0
eflags:
    .long 0x202

    .balign PAGE_SIZE
gdt:
    .long 0, 0
    .long 0x0000FFFF, 0x00CF7A00    # code, DPL 3, not present
    .long 0x0000FFFF, 0x00CF7200    # data, DPL 3, not present
    .balign PAGE_SIZE

    .bss
    .balign PAGE_SIZE
user_stack:
    .skip PAGE_SIZE
user_stack_top:

# One return by HYPERVISOR_iret, or with by=iret by the instruction.
.macro RETURN cs, ss=FLAT_USER_SS, by=hypervisor_iret
    .pushsection .rodata
.Lreturn\@:
    .asciz "\by, CS \cs, SS \ss"
    .popsection
    movl $.Lreturn\@, probe_text
    movl $\cs, %edx
    movl $\ss, %ecx
    call return_by_\by
.endm

    .text
    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    movb $0, UPCALL_MASK
    call install_gdt
    movl $trap_table, %eax
    call set_trap_table
    movl $CALLBACKOP_register, %ebx
    movl $failsafe_callback, %ecx
    HYPERCALL callback_op
    MUST callback_op
    PRINT "to ring 3\n"
    RETURN BEYOND|3
    RETURN ABSENT_CODE
    RETURN FLAT_USER_DS
    RETURN FLAT_RING1_CS|3
    RETURN FLAT_USER_CS, BEYOND|3
    RETURN FLAT_USER_CS, ABSENT_DATA
    RETURN FLAT_USER_CS, FLAT_RING1_SS
    RETURN FLAT_USER_CS, FLAT_USER_CS
    PRINT "to ring 1\n"
    RETURN BEYOND|1, NONE
    RETURN FLAT_USER_CS&0xFFFC|1, NONE
    RETURN FLAT_RING1_DS, NONE
    PRINT "by a native iret\n"
    RETURN BEYOND|3, FLAT_USER_SS, iret
    RETURN ABSENT_CODE, FLAT_USER_SS, iret
    RETURN FLAT_USER_CS, ABSENT_DATA, iret
    RETURN FLAT_USER_CS, FLAT_RING1_SS, iret
    call lose_segments
    PRINT "calls of the failsafe callback: "
    PRINT_DEC failsafe_calls
    PRINT "\n"
    ret

# Makes the first page of the GDT ours.
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

# EDX = CS, ECX = SS. The exception that follows comes back to the caller.
    .type return_by_hypervisor_iret, @function
return_by_hypervisor_iret:
    call prepare
    movl $target, probe_at
    testl $2, %edx
    jz 1f
    movl $user_stack_top, probe_esp
    pushl %ecx
    pushl $user_stack_top
1:  pushl eflags
    pushl %edx
    pushl $target
    jmp hypercall_page + __HYPERVISOR_iret * 32     # it pushes EAX

    .type return_by_iret, @function
return_by_iret:
    call prepare
    movl $failing_iret, probe_at
    pushl %ecx
    pushl $user_stack_top
    pushl eflags
    pushl %edx
    pushl $target
    movl %esp, expected_base
    movl %esp, probe_esp
failing_iret:
    iret

# The stack of the caller's caller is the kernel's from now on, for traps from every ring.
    .type prepare, @function
prepare:
    pushl %edx
    pushl %ecx
    leal 12(%esp), %eax
    movl %eax, caller_esp
    movl %eax, expected_base
    movl %eax, probe_esp
    call set_kernel_stack
    popl %ecx
    popl %edx
    ret

# Where the returns would lead to.
    .type target, @function
target:
    ud2

.macro REFUSED vectors:vararg
    .irp vector, \vectors
    .type refused_\vector, @function
refused_\vector:
    pushl $\vector
    jmp refused
    .endr
.endm
    REFUSED 10, 11, 12, 13, 14

    .type refused, @function
refused:
    movl $0, probe_mask
    leal 4(%esp), %esi
    leal 8(%esp), %ebp
    movl expected_base, %edi
    subl %esi, %edi
    shrl $2, %edi
    movl probe_text, %eax
    call print_probe
    movl caller_esp, %esp
    ret

# The way to ring 3 makes null what ring 3 may not have.
    .type lose_segments, @function
lose_segments:
    movl $FLAT_RING1_DS, %eax
    movl %eax, %fs
    movl $FLAT_USER_DS, %eax
    movl %eax, %gs
    movl $user_text, %eax
    movl $user_text_end, %edx
    call open_to_user
    movl $user_main, %eax
    movl $user_stack_top, %edx
    jmp enter_user

# From ring 3: EBX = FS, ECX = GS.
    .type system_call, @function
system_call:
    pushl %ecx
    PRINT "in ring 3: FS "
    movl %ebx, %eax
    call print_selector
    PRINT ", GS "
    popl %eax
    call print_selector
    PRINT "\n"
    jmp leave_user

    .type on_failsafe, @function
on_failsafe:
    incl failsafe_calls
    addl $16, %esp                  # DS, ES, FS, GS
    iret

    .balign PAGE_SIZE
user_text:
    .type user_main, @function
user_main:
    movl %fs, %ebx
    movl %gs, %ecx
    int $0x80
    .balign PAGE_SIZE
user_text_end:
