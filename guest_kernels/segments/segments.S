# Segments of its own: a GDT and an LDT that the hypervisor checks and the processor uses.
#
# Observe: a page becomes a descriptor table only once nobody can write to it; descriptors that would lead to
# ring 0 are raised to the kernel's ring, and gates and system descriptors refused; FS and GS with a base of
# their own read there, as thread-local storage does; the pages of the LDT are looked up when first used, and a
# page that can be written is then a page fault.

    .include "runtime.inc"
    .include "paging.inc"

    XEN_NOTES segments

.equ DPL_0, 0x8000                  # present, DPL 0
.equ DPL_1, 0xA000
.equ DPL_3, 0xE000
.equ ACCESSED, 0x100                # bit 40, in the high word
.equ LDT, 4                         # selector: the table indicator

# A data segment with a 4 GiB limit: the base is filled in at run time.
.macro SEGMENT dpl
    .long 0x0000FFFF, 0x00CF1200 | \dpl
.endm

    .data
    .balign 4
trap_table:
    TRAP_GATE 13, 0, general_protection
    TRAP_GATE 14, 0, page_fault
    TRAP_TABLE_END
fault_name:                         # the fault that the last TRY ended in, or 0
    .long 0
fault_address:
    .long 0
fault_resume:
    .long 0
first_area:
    .asciz "the first area"
second_area:
    .asciz "the second area"
third_area:
    .asciz "the third area"

    .balign PAGE_SIZE
gdt:
    .long 0, 0
    SEGMENT DPL_0
    SEGMENT DPL_3
    .balign PAGE_SIZE
ldt:
    SEGMENT DPL_1
    SEGMENT DPL_0
    .balign PAGE_SIZE
scratch:                            # an LDT nobody made read-only
    SEGMENT DPL_1
    .balign PAGE_SIZE
gdt_frames:
    .long 0

# Runs one instruction; a fault in it is noted, and execution goes on after it.
.macro TRY instruction:vararg
    movl $0, fault_name
    movl $.Lresume\@, fault_resume
    \instruction
.Lresume\@:
.endm

# Prints what becomes of one descriptor, offered to entry 3 of the GDT.
.macro OFFER name, low, high
    PRINT "  \name: "
    movl $\low, %edx
    movl $\high, %ecx
    movl $gdt + 24, %eax
    call update_descriptor
    call print_errno
    PRINT "\n"
.endm

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    movl $first_area, %eax
    movl $gdt + 8, %edx
    call set_base
    movl $second_area, %eax
    movl $gdt + 16, %edx
    call set_base
    movl $third_area, %eax
    movl $ldt + 8, %edx
    call set_base
    call show_gdt
    call show_loads
    call show_refusals
    call show_ldt
    jmp show_release

# EAX = base, EDX = address of a descriptor that gets it.
    .type set_base, @function
set_base:
    movw %ax, 2(%edx)
    shrl $16, %eax
    movb %al, 4(%edx)
    movb %ah, 7(%edx)
    ret

# EAX = entries of the page `gdt`; gives 0 or a negative errno.
    .type install_gdt, @function
install_gdt:
    pushl %ebx
    pushl %eax
    movl $gdt, %eax
    call va_to_mfn
    movl %eax, gdt_frames
    movl $gdt_frames, %ebx
    popl %ecx
    HYPERCALL set_gdt
    popl %ebx
    ret

# EAX = address of a descriptor, ECX:EDX = what it shall be; gives 0 or a negative errno.
    .type update_descriptor, @function
update_descriptor:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl %edx, %edi
    movl %ecx, %esi
    call va_to_mfn
    movl %eax, %ecx
    shll $12, %eax
    shrl $20, %ecx
    andl $PAGE_SIZE - 1, %ebx
    orl %eax, %ebx
    movl %edi, %edx
    HYPERCALL update_descriptor
    popl %edi
    popl %esi
    popl %ebx
    ret

    .type show_gdt, @function
show_gdt:
    PRINT "set_gdt with a page that can be written: "
    movl $512, %eax
    call install_gdt
    call print_errno
    PRINT "\nmade read-only: "
    # exercise segments: take our own right to write to the page `gdt`
    movl $gdt, %eax
    call make_read_only
    MUST make_read_only
    # exercise end
    movl $512, %eax
    call install_gdt
    call print_errno
    PRINT "\nwritable again, while it is the GDT: "
    movl $gdt, %eax
    call make_writable
    call print_errno
    PRINT "\nentries that the hypervisor would not have: "
    movl $0x1C01, %eax
    call install_gdt
    call print_errno
    PRINT "\nDPL of entry 1, which asked for 0: "
    movl $gdt + 8, %eax
    call print_dpl
    PRINT "DPL of entry 2, which asked for 3: "
    movl $gdt + 16, %eax
    jmp print_dpl

# EAX = address of a descriptor.
    .type print_dpl, @function
print_dpl:
    movl 4(%eax), %eax
    shrl $13, %eax
    andl $3, %eax
    call print_dec
    PRINT "\n"
    ret

    .type show_loads, @function
show_loads:
    movl $8 | 1, %eax
    TRY movl %eax, %fs
    PRINT "FS = entry 1: "
    call print_by_fs
    movl $16 | 3, %eax
    TRY movl %eax, %gs
    PRINT "GS = entry 2: "
    call print_by_gs
    PRINT "Accessed bit of entry 1: "
    xorl %eax, %eax
    testl $ACCESSED, gdt + 12
    setnz %al
    call print_dec
    PRINT "\nupdate_descriptor, the base of entry 1: "
    movl $second_area, %edx
    movl %edx, %ecx
    shll $16, %edx                  # base 15..0, limit 15..0
    movw $0xFFFF, %dx
    movl %ecx, %eax
    andl $0xFF000000, %ecx          # base 31..24
    shrl $16, %eax
    andl $0xFF, %eax                # base 23..16
    orl %eax, %ecx
    orl $0x00CF1200 | DPL_1, %ecx
    movl $gdt + 8, %eax
    call update_descriptor
    call print_errno
    PRINT "\nFS as it was: "
    call print_by_fs
    PRINT "FS loaded again: "
    movl $8 | 1, %eax
    TRY movl %eax, %fs
    call print_by_fs
    PRINT "FS = entry 3, which is empty: "
    movl $24 | 1, %eax
    TRY movl %eax, %fs
    jmp print_fault

    .type print_by_fs, @function
print_by_fs:
    pushl %ebx
    xorl %ebx, %ebx
1:  movzbl %fs:(%ebx), %eax
    testl %eax, %eax
    jz print_end
    call print_char
    incl %ebx
    jmp 1b

    .type print_by_gs, @function
print_by_gs:
    pushl %ebx
    xorl %ebx, %ebx
1:  movzbl %gs:(%ebx), %eax
    testl %eax, %eax
    jz print_end
    call print_char
    incl %ebx
    jmp 1b
print_end:
    PRINT "\n"
    popl %ebx
    ret

    .type show_refusals, @function
show_refusals:
    PRINT "offered to entry 3:\n"
    OFFER "call gate to our kernel segment", 0xE0190000, 0x0000EC00
    OFFER "call gate to the hypervisor's segment", 0xE0080000, 0x0000EC00
    OFFER "task gate", 0x00080000, 0x0000E500
    OFFER "interrupt gate", 0xE0190000, 0x0000EE00
    OFFER "trap gate", 0xE0190000, 0x0000EF00
    OFFER "task state segment", 0x00000067, 0x0000E900
    OFFER "local descriptor table", 0x0000FFFF, 0x0000E200
    OFFER "64-bit code segment", 0x0000FFFF, 0x00AFFA00
    OFFER "nothing that is present", 0x12345678, 0x00000500
    PRINT "  a data segment, outside our memory: "
    movl $0xFFFF, %edx
    movl $0x00CFF200, %esi
    xorl %ebx, %ebx                 # machine frame 0
    xorl %ecx, %ecx
    HYPERCALL update_descriptor
    call print_errno
    PRINT "\n"
    ret

    .type print_fault, @function
print_fault:
    movl fault_name, %eax
    testl %eax, %eax
    jnz 1f
    PRINT "no fault\n"
    ret
1:  pushl %eax
    call print_string
    popl %eax
    cmpl $name_pf, %eax
    jne 2f
    PRINT " at our page"
    cmpl $scratch, fault_address
    je 2f
    PRINT ", no: at "
    PRINT_HEX fault_address
2:  PRINT "\n"
    ret

# Takes everything away again: the tables are ordinary pages.
    .type show_release, @function
show_release:
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    PRINT "no LDT: "
    MMUEXT SET_LDT, $0, $0
    call print_errno
    PRINT "\nno GDT: "
    xorl %eax, %eax
    call install_gdt
    call print_errno
    PRINT "\nboth writable again: "
    movl $gdt, %eax
    call make_writable
    call print_errno
    PRINT ", "
    movl $ldt, %eax
    call make_writable
    call print_errno
    PRINT "\n"
    movl $0, gdt
    movl $0, ldt
    ret

    .type general_protection, @function
general_protection:
    movl $name_gp, fault_name
    jmp resume

    .type page_fault, @function
page_fault:
    movl $name_pf, fault_name
    pushl %eax
    movl %cr2, %eax
    movl %eax, fault_address
    popl %eax
resume:
    addl $4, %esp
    pushl fault_resume
    popl (%esp)
    iret

    .include "ldt.inc"

    .section .rodata
name_gp:
    .asciz "#GP"
name_pf:
    .asciz "#PF"
