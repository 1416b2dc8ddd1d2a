# Privileged instructions in the kernel's ring, and what becomes of them.
#
# Observe: control registers, some MSRs, the time stamp counter and CPUID are emulated, with the guest's own values;
# what would change the machine is ignored or #GP(0); ports need an I/O privilege level that the kernel asks for,
# and then read as if nothing was there; `cpuid` answers the same natively and after the prefix that forces its
# emulation; flags that only the hypervisor may change survive popf as they were.

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES emulate

.equ MSR_TSC, 0x10
.equ MSR_EFER, 0xC0000080
.equ MSR_PAT, 0x277
.equ MSR_APIC_BASE, 0x1B
.equ MSR_MISC_ENABLE, 0x1A0
.equ MSR_MCG_STATUS, 0x17A
.equ MSR_SYSENTER_CS, 0x174
.equ MSR_UNKNOWN, 0xDEAD
.equ CR0_TS, 8
.equ CR4_TSD, 4
.equ EFLAGS_IF, 0x200
.equ EFLAGS_IOPL, 0x3000

# Runs one instruction and prints what came of it: the exception it ended in, or what `show` makes of the
# registers it left. All registers are as the instruction left them afterwards.
.macro TRY show, instruction:vararg
    TRY_BEGIN \show, "\instruction"
    \instruction
    TRY_END
.endm

# What is between these two is tried; label 89 is taken.
.macro TRY_BEGIN show, text
    .pushsection .rodata
.Ltext\@:
    .asciz "  \text: "
    .popsection
    movl $.Ltext\@, attempt
    movl $\show, show_result
    movl $89f, resume
    movl $0, outcome
.endm

.macro TRY_END
89: call report
.endm

.macro READ_MSR name
    movl $MSR_\name, %ecx
    TRY_BEGIN show_value, "rdmsr \name"
    rdmsr
    TRY_END
.endm

.macro WRITE_MSR name, low, high=0
    movl $MSR_\name, %ecx
    movl $\low, %eax
    movl $\high, %edx
    TRY_BEGIN done, "wrmsr \name, \low"
    wrmsr
    TRY_END
.endm

# CPUID after the prefix that has it emulated.
.macro FORCED_CPUID
    ud2
    .ascii "xen"
    cpuid
.endm

# Prints EAX and keeps it.
.macro SHOW text
    pushl %eax
    PRINT "  \text: "
    PRINT_HEX (%esp)
    PRINT "\n"
    popl %eax
.endm

    .data
    .balign 4
trap_table:
    TRAP_GATE 6, 0, invalid_opcode
    TRAP_GATE 13, 0, general_protection
    TRAP_TABLE_END
attempt:                            # text of the instruction
    .long 0
resume:                             # address after it
    .long 0
show_result:                        # function that prints what it did
    .long 0
outcome:                            # 0, or the name of the exception it ended in
    .long 0
io_privilege:                       # struct physdev_set_iopl
    .long 1
pseudo_descriptor:
    .long 0, 0
buffer:
    .ascii "........"
    .byte 0

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    call control_registers
    call debug_registers
    call machine_registers
    call identification
    call flags
    call refusals
    PRINT "ports, at I/O privilege level 0\n"
    call ports
    movl $PHYSDEVOP_set_iopl, %ebx
    movl $io_privilege, %ecx
    HYPERCALL physdev_op
    MUST set_iopl
    PRINT "ports, at I/O privilege level 1\n"
    call ports
    call string_ports
    TRY done, cli
    TRY done, sti
    ret

    .type control_registers, @function
control_registers:
    PRINT "control registers\n"
    TRY show_eax, movl %cr0, %eax
    orl $CR0_TS, %eax
    TRY done, movl %eax, %cr0
    TRY show_eax, movl %cr0, %eax
    TRY done, clts
    TRY show_eax, movl %cr0, %eax
    andl $~1, %eax                  # without PE
    TRY done, movl %eax, %cr0
    TRY done, lmsw %ax
    TRY done, smsw %ax
    movl $0x12345678, %eax
    TRY done, movl %eax, %cr2
    TRY show_eax, movl %cr2, %eax
    TRY show_base, movl %cr3, %eax
    movl %cr3, %eax
    TRY done, movl %eax, %cr3
    TRY show_eax, movl %cr4, %eax
    orl $CR4_TSD, %eax
    TRY done, movl %eax, %cr4
    TRY show_eax, movl %cr4, %eax
    andl $~CR4_TSD, %eax
    TRY done, movl %eax, %cr4
    ret

    .type debug_registers, @function
debug_registers:
    PRINT "debug registers\n"
    movl $main, %eax
    TRY done, movl %eax, %dr1
    xorl %eax, %eax
    movl %dr1, %eax
    subl $main, %eax
    SHOW "DR1 less what was written"
    TRY show_eax, movl %dr6, %eax
    TRY show_eax, movl %dr7, %eax
    movl $0x2400, %eax              # general detect
    TRY done, movl %eax, %dr7
    ret

    .type machine_registers, @function
machine_registers:
    PRINT "model-specific registers\n"
    READ_MSR EFER
    READ_MSR PAT
    READ_MSR APIC_BASE
    READ_MSR SYSENTER_CS
    READ_MSR UNKNOWN
    WRITE_MSR EFER, 0x800
    WRITE_MSR EFER, 0
    WRITE_MSR PAT, 0x00070406, 0x00070406
    WRITE_MSR MISC_ENABLE, 1
    WRITE_MSR MCG_STATUS, 5
    READ_MSR MCG_STATUS
    WRITE_MSR SYSENTER_CS, 8
    WRITE_MSR UNKNOWN, 0
    ret

    .type identification, @function
identification:
    PRINT "identification and time\n"
    xorl %eax, %eax
    TRY show_vendor, cpuid
    PRINT "  cpuid 1: TSC "
    movl $1, %eax
    cpuid
    shrl $4, %edx
    andl $1, %edx
    PRINT_DEC %edx
    PRINT ", hypervisor "
    movl $1, %eax
    cpuid
    shrl $31, %ecx
    PRINT_DEC %ecx
    PRINT "\n"
    movl $0x40000000, %eax
    TRY show_vendor, cpuid
    movl $0x40000000, %eax
    TRY_BEGIN show_vendor, "cpuid by force"
    FORCED_CPUID
    TRY_END
    call compare_cpuid
    call time_stamps
    TRY done, rdpmc
    ret

# Native and forced emulation of CPUID say the same for the first leaves.
    .type compare_cpuid, @function
compare_cpuid:
    xorl %esi, %esi
1:  movl %esi, %eax
    xorl %ecx, %ecx
    cpuid
    pushl %eax
    pushl %ebx
    pushl %ecx
    pushl %edx
    movl %esi, %eax
    xorl %ecx, %ecx
    FORCED_CPUID
    xorl (%esp), %edx
    xorl 4(%esp), %ecx
    xorl 8(%esp), %ebx
    xorl 12(%esp), %eax
    orl %edx, %eax
    orl %ecx, %eax
    orl %ebx, %eax
    leal 16(%esp), %esp
    jnz 2f
    incl %esi
    cmpl $8, %esi
    jne 1b
    PRINT "  leaves 0 to 7 are the same natively and by force\n"
    ret
2:  PRINT "  a leaf differs: "
    PRINT_DEC %esi
    PRINT "\n"
    ret

    .type time_stamps, @function
time_stamps:
    TRY done, rdtsc
    rdtsc
    movl %eax, %esi
    movl %edx, %edi
    rdtsc
    subl %esi, %eax
    sbbl %edi, %edx
    js 1f
    orl %eax, %edx
    jz 1f
    PRINT "  a later one is greater\n"
    ret
1:  PRINT "  a later one is not greater\n"
    ret

# Flags that popf must not change; nothing traps.
    .type flags, @function
flags:
    PRINT "flags\n"
    movl $EFLAGS_IF | EFLAGS_IOPL, %eax
    pushl %eax
    popfl
    pushfl
    popl %eax
    andl $EFLAGS_IF | EFLAGS_IOPL, %eax
    SHOW "IF and IOPL after setting them"
    pushl $2
    popfl
    pushfl
    popl %eax
    andl $EFLAGS_IF | EFLAGS_IOPL, %eax
    SHOW "IF and IOPL after clearing them"
    TRY done, cli
    TRY done, sti
    ret

    .type refusals, @function
refusals:
    PRINT "caches and tables\n"
    TRY done, wbinvd
    TRY done, invd
    TRY done, invlpg main
    TRY done, hlt
    TRY done, lgdt pseudo_descriptor
    TRY done, lidt pseudo_descriptor
    TRY done, lldt %ax
    TRY done, ltr %ax
    TRY done, sgdt pseudo_descriptor
    TRY done, syscall
    TRY done, vmcall
    ret

    .type ports, @function
ports:
    TRY show_al, inb $0x42, %al
    movl $0x21, %eax
    TRY done, outb %al, $0x70
    TRY show_al, inb $0x70, %al
    TRY show_al, inb $0x71, %al
    movl $0xCF8, %edx
    movl $0x80001000, %eax
    TRY done, outl %eax, %dx
    movl $0xCF8, %edx
    TRY show_eax, inl %dx, %eax
    movl $0xCFC, %edx
    TRY show_eax, inl %dx, %eax
    movl $0x3F8, %edx
    xorl %eax, %eax
    TRY show_eax, inw %dx, %ax
    ret

    .type string_ports, @function
string_ports:
    movl $0x3F8, %edx
    movl $buffer, %esi
    movl $4, %ecx
    TRY show_count, rep outsb
    movl $0x42, %edx
    movl $buffer, %edi
    movl $4, %ecx
    TRY show_count, rep insb
    movl buffer, %eax
    SHOW "what insb read"
    ret

    .type report, @function
report:
    pushfl
    pushal
    movl attempt, %eax
    call print_string
    movl outcome, %eax
    testl %eax, %eax
    jz 1f
    call print_string
    jmp 2f
1:  movl 28(%esp), %eax             # as pushal saved them
    movl 24(%esp), %ecx
    movl 20(%esp), %edx
    call *show_result
2:  PRINT "\n"
    popal
    popfl
    ret

# Nothing to show but that it was not refused.
    .type done, @function
done:
    PRINT "done"
    ret

    .type show_eax, @function
show_eax:
    jmp print_hex32

    .type show_al, @function
show_al:
    movzbl %al, %eax
    jmp print_hex32

    .type show_count, @function
show_count:
    PRINT_DEC %ecx
    PRINT " left"
    ret

# The 64 bits of a model-specific register.
    .type show_value, @function
show_value:
    jmp print_hex64

# The vendor's name of a CPUID leaf: EBX, EDX, ECX on processors, EBX, ECX, EDX on hypervisors.
    .type show_vendor, @function
show_vendor:
    pushl $0
    testl $0x40000000, %eax
    jnz 1f
    xchgl %ecx, %edx
1:  pushl %edx
    pushl %ecx
    pushl %ebx
    movl %esp, %eax
    call print_string
    addl $16, %esp
    ret

# CR3 is that of the page tables the domain started with.
    .type show_base, @function
show_base:
    pushl %eax
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    roll $12, %eax
    popl %edx
    cmpl %eax, %edx
    jne 1f
    PRINT "the frame of pt_base"
    ret
1:  PRINT "not the frame of pt_base"
    ret

    .type invalid_opcode, @function
invalid_opcode:
    movl $name_ud, outcome
    pushl resume
    popl (%esp)
    iret

    .type general_protection, @function
general_protection:
    movl $name_gp, outcome
    addl $4, %esp
    pushl resume
    popl (%esp)
    iret

    .section .rodata
name_ud:
    .asciz "#UD"
name_gp:
    .asciz "#GP"
