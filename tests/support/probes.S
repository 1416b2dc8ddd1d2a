# Runs instructions one probe after the other, each from the same state of the processor, and writes to the serial port
# what each came to: the first exception or interrupt that the probe does not ask to go on after. (Intel SDM volume 3.)
# The text before this one defines `probes`, a table, and below it the code of each.

.equ CODE_0, 0x08
.equ DATA_0, 0x10
.equ CODE_3, 0x1B
.equ DATA_3, 0x23
.equ TASK, 0x28
.equ LOCAL_TABLE, 0x30

.equ SERIAL, 0x3F8
.equ SERIAL_VECTOR, 0x24
.equ DEBUG_EXIT, 0xF4
.equ DONE, 0x60                     # the vector by which a probe ends

# Linear pages, which are apart from physical memory.
.equ WINDOW, 0x400000               # two pages, that any ring may read and write
.equ ALIAS, 0x402000                # the first of them once more
.equ ABSENT, 0x403000
.equ READ_ONLY, 0x404000
.equ SUPERVISOR, 0x405000
.equ CODE_WINDOW, 0x406000          # two pages of code that probes may write
.equ CODE_ALIAS, 0x408000           # the first of these once more
.equ WINDOWS, 0x409000
.equ PAGE, 0x1000

.equ EVENT, 16                      # bytes of one that the probe went on after
.equ MOST_EVENTS, 32

    .text
    .balign 4
    .long 0x1BADB002, 0, -0x1BADB002

    .globl _start
_start:
    cld
    movl $driver_stack, %esp
    lgdt first_gdtr
    ljmp $CODE_0, $1f
1:  movl $DATA_0, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movl $stubs, %eax               # gates: vectors 0 to 0x6F
    xorl %ecx, %ecx
2:  movl %eax, %edx
    movw %ax, idt(, %ecx, 8)
    movw $CODE_0, idt + 2(, %ecx, 8)
    movw $0x8E00, idt + 4(, %ecx, 8)
    shrl $16, %edx
    movw %dx, idt + 6(, %ecx, 8)
    addl $16, %eax
    incl %ecx
    cmpl $0x70, %ecx
    jb 2b
    movb $0xEE, idt + 8 * 3 + 5     # ring 3 may use these, the third a trap gate
    movb $0xEE, idt + 8 * 4 + 5
    movb $0xEE, idt + 8 * DONE + 5
    movb $0xEF, idt + 8 * 0x62 + 5
    movb $0x6E, idt + 8 * 0x63 + 5  # not present
    movb $0xEE, idt + 8 * 0x64 + 5
    movw $DATA_0, idt + 8 * 0x64 + 2
    movb $0xEE, idt + 8 * 0x65 + 5
    movw $0, idt + 8 * 0x65 + 2
    movb $0xEE, idt + 8 * 0x66 + 5
    movw $0x40, idt + 8 * 0x66 + 2  # code that is not present
    movb $0xE2, idt + 8 * 0x67 + 5  # no gate
    xorl %ecx, %ecx                 # pages: physical memory below 4 MiB
    movl $0x67, %eax
3:  movl %eax, low_table(, %ecx, 4)
    addl $PAGE, %eax
    incl %ecx
    cmpl $1024, %ecx
    jb 3b
    movl $probes, probe
    movl $records, record

next:                               # the same state for each
    movl $driver_stack, %esp
    movl $gdt_template, %esi
    movl $gdt, %edi
    movl $(gdt_template_end - gdt_template) / 4, %ecx
    rep movsl
    lgdt gdtr
    lidt idtr
    movb $0x11, %al                 # interrupt controllers: vectors 0x20 to 0x2F, all masked but for the serial line
    outb %al, $0x20
    outb %al, $0xA0
    movb $0x20, %al
    outb %al, $0x21
    movb $0x28, %al
    outb %al, $0xA1
    movb $4, %al
    outb %al, $0x21
    movb $2, %al
    outb %al, $0xA1
    movb $1, %al
    outb %al, $0x21
    outb %al, $0xA1
    movb $0xEF, %al
    outb %al, $0x21
    movb $0xFF, %al
    outb %al, $0xA1
    movl $DATA_0, %eax
    movl %eax, %ss
    movl $ldt_template, %esi
    movl $ldt, %edi
    movl $(ldt_template_end - ldt_template) / 4, %ecx
    rep movsl
    movl $task_template, %esi
    movl $task, %edi
    movl $(task_template_end - task_template) / 4, %ecx
    rep movsl
    movl $high_template, %esi
    movl $high_table, %edi
    movl $(high_template_end - high_template) / 4, %ecx
    rep movsl
    movl $directory, %eax
    movl %eax, %cr3
    xorl %eax, %eax
    movl %eax, %cr4
    movl $0x80010011, %eax
    movl %eax, %cr0
    xorl %eax, %eax
    movl %eax, %cr2
    movl %eax, %dr7
    movl %eax, %dr6
    movl $TASK, %eax
    ltr %ax
    movl $LOCAL_TABLE, %eax
    lldt %ax
    movl $0x5A5A5A5A, %eax
    movl $scratch, %edi
    movl $scratch_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    rep stosl
    movl $WINDOW, %edi
    movl $0x800, %ecx
    rep stosl
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, events
    movl probe, %ebp
    movl (%ebp), %ebx
    testl %ebx, %ebx
    jz finished
    movl %ebx, code
    movl 12(%ebp), %eax
    movl %eax, resumed
    movl 16(%ebp), %eax
    movl %eax, resumed + 4
    testl $3, 4(%ebp)
    jz 1f
    movl $DATA_3, %eax
    movl %eax, %ds
    movl %eax, %es
    pushl $DATA_3
    pushl $probe_stack
    jmp 2f
1:  movl $probe_stack, %esp
2:  pushl 8(%ebp)
    pushl 4(%ebp)
    pushl %ebx
    movl 20(%ebp), %eax
    movl %eax, %cr0
    movl $0xA1B2C3D4, %eax
    movl $5, %ecx
    movl $0x8899AABB, %edx
    movl $scratch, %ebx
    movl $scratch + 32, %ebp
    movl $scratch, %esi
    movl $WINDOW, %edi
    iret

finished:
    cmpb $0, quiet                  # whoever runs this reads memory
    jne 1f
    movl $records, %esi
    movl record, %ecx
    subl %esi, %ecx
    movl $SERIAL, %edx
    rep outsb
1:  xorl %eax, %eax
    outb %al, $DEBUG_EXIT
    hlt

# Sum up %ecx words from (%esi) on, and store that.
put_sum:
    xorl %edx, %edx
1:  lodsl
    roll $1, %edx
    addl %eax, %edx
    loop 1b
    movl %edx, %eax
    stosl
    ret

# Vectors that have an error code: 8, 10 to 14, 17.
.macro STUB vector:req
    .balign 16
    .if (\vector == 8) | ((\vector >= 10) & (\vector <= 14)) | (\vector == 17)
    .else
    pushl $0
    .endif
    pushl $\vector
    jmp caught
.endm

    .balign 16
stubs:
    .set vector, 0
    .rept 0x70
    STUB vector
    .set vector, vector + 1
    .endr

.equ AT_REGISTERS, 16
.equ AT_VECTOR, 48
.equ AT_ERROR, 52
.equ AT_EIP, 56
.equ AT_CS, 60
.equ AT_EFLAGS, 64
.equ AT_ESP, 68

caught:
    cld
    pushal
    pushl %ds
    pushl %es
    pushl %fs
    pushl %gs
    movl $DATA_0, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %esp, %ebp
    movl AT_VECTOR(%ebp), %ecx
    cmpl $SERIAL_VECTOR, %ecx
    jne 1f
    movl $SERIAL + 2, %edx
    inb %dx, %al
    movb $0x20, %al
    outb %al, $0x20
1:  cmpl $64, %ecx
    jae finish
    btl %ecx, resumed
    jnc finish
    movl events, %eax
    cmpl $MOST_EVENTS, %eax
    jae finish
    incl events
    shll $4, %eax
    leal event_list(%eax), %edi
    call put_event
    movl AT_VECTOR(%ebp), %ecx
    cmpl $1, %ecx                   # past a breakpoint
    jne 2f
    orl $0x10000, AT_EFLAGS(%ebp)
2:  popl %gs
    popl %fs
    popl %es
    popl %ds
    popal
    addl $8, %esp
    iret

put_event:
    leal AT_VECTOR(%ebp), %esi
    movsl
    movsl
    lodsl
    subl code, %eax
    stosl
    movl AT_EFLAGS(%ebp), %eax
    andl $~0x10000, %eax            # QEMU keeps RF for longer than one instruction
    stosl
    ret

finish:
    andl $~0x10000, AT_EFLAGS(%ebp) # QEMU keeps RF for longer than an instruction
    xorl %eax, %eax
    movl %eax, %dr7
    movl record, %edi
    movl events, %eax
    stosl
    call put_event
    movzwl AT_CS(%ebp), %eax
    stosl
    xorl %edx, %edx
    testl $3, %eax
    leal AT_ESP(%ebp), %eax
    jz 1f
    movl AT_ESP(%ebp), %eax
    movzwl AT_ESP + 4(%ebp), %edx
1:  subl $probe_stack, %eax
    stosl
    movl %edx, %eax
    stosl
    movl 44(%ebp), %eax             # EAX, ECX, EDX, EBX, EBP, ESI, EDI
    stosl
    movl 40(%ebp), %eax
    stosl
    movl 36(%ebp), %eax
    stosl
    movl 32(%ebp), %eax
    stosl
    movl 24(%ebp), %eax
    stosl
    movl 20(%ebp), %eax
    stosl
    movl 16(%ebp), %eax
    stosl
    movl 12(%ebp), %eax             # DS and ES, FS and GS
    movl 8(%ebp), %edx
    movw %ax, (%edi)
    movw %dx, 2(%edi)
    movl 4(%ebp), %eax
    movl (%ebp), %edx
    movw %ax, 4(%edi)
    movw %dx, 6(%edi)
    addl $8, %edi
    movl %cr0, %eax
    stosl
    movl %cr2, %eax
    stosl
    movl %cr4, %eax
    stosl
    movl %dr6, %eax
    stosl
    movl $WINDOW, %esi
    movl $0x400, %ecx
    call put_sum
    movl $high_table, %esi
    movl $(high_template_end - high_template) / 4, %ecx
    call put_sum
    movl $(gdt_template_end - gdt_template) / 8, %ecx
1:  orb $1, gdt - 3(, %ecx, 8)      # QEMU does not mark a stack of ring 3 accessed that is returned to
    loop 1b
    movl $gdt, %esi
    movl $(gdt_template_end - gdt_template) / 4, %ecx
    call put_sum
    movl $scratch, %esi
    movl $16, %ecx
    rep movsl
    movl $WINDOW, %esi
    movl $8, %ecx
    rep movsl
    movl $probe_stack - 32, %esi
    movl $16, %ecx
    rep movsl
    movl events, %ecx
    shll $2, %ecx
    movl $event_list, %esi
    rep movsl
    movl %edi, record
    xorl %eax, %eax                 # nothing of the serial port's
    movl $SERIAL + 1, %edx
    outb %al, %dx
    addl $24, probe
    jmp next

through_gate:                       # what call gates name
    int $DONE

    .data
quiet:
    .byte 0
    .balign 8
.macro SEGMENT flags:req, base:req, limit:req
    .long ((\limit) & 0xFFFF) | (((\base) & 0xFFFF) << 16)
    .long (((\base) >> 16) & 0xFF) | ((\flags) << 8) | ((\limit) & 0xF0000) | ((\base) & 0xFF000000)
.endm
.macro CALL_GATE access:req, selector:req, count:req
    .long (through_gate & 0xFFFF) | ((\selector) << 16)
    .long (through_gate & 0xFFFF0000) | ((\access) << 8) | (\count)
.endm

# Code has been accessed: QEMU does not mark it.
gdt_template:
    .quad 0
    SEGMENT 0xC09B, 0, 0xFFFFF          # 08
    SEGMENT 0xC092, 0, 0xFFFFF          # 10
    SEGMENT 0xC0FB, 0, 0xFFFFF          # 18
    SEGMENT 0xC0F2, 0, 0xFFFFF          # 20
    SEGMENT 0x0089, task, task_end-task-1   # 28
    SEGMENT 0x0082, ldt, 47             # 30
    SEGMENT 0xC012, 0, 0xFFFFF          # 38: data, not present
    SEGMENT 0xC01B, 0, 0xFFFFF          # 40: code, not present
    SEGMENT 0xC099, 0, 0xFFFFF          # 48: code that cannot be read
    SEGMENT 0xC09F, 0, 0xFFFFF          # 50: conforming code
    SEGMENT 0xC090, 0, 0xFFFFF          # 58: data that cannot be written
    SEGMENT 0x40F6, 0, 0x0FFF           # 60: data of ring 3, expands down
    CALL_GATE 0xEC, CODE_0, 0           # 68
    CALL_GATE 0x8C, CODE_0, 0           # 70: for ring 0
    CALL_GATE 0x6C, CODE_0, 0           # 78: not present
    SEGMENT 0x009B, 0x100000, 0xFFFF    # 80: code of 16 bits
    SEGMENT 0x0089, other_task, 103     # 88
    SEGMENT 0x008B, other_task, 103     # 90: a busy task
    SEGMENT 0x0009, other_task, 103     # 98: a task that is not present
    SEGMENT 0x0002, ldt, 47             # A0: an LDT that is not present
    .long TASK << 16, 0xE500            # A8: a task gate
    SEGMENT 0x40F2, scratch, 63         # B0: a small segment
    SEGMENT 0xC0FF, 0, 0xFFFFF          # B8: conforming code of ring 3
    CALL_GATE 0xEC, CODE_0, 2           # C0: with two arguments
    SEGMENT 0x00FB, 0x100000, 0xFFFF    # C8: code of 16 bits of ring 3
    SEGMENT 0xC0B2, 0, 0xFFFFF          # D0: data of ring 1
    SEGMENT 0xC0F0, 0, 0xFFFFF          # D8: data of ring 3 that cannot be written
    SEGMENT 0xC072, 0, 0xFFFFF          # E0: data of ring 3, not present
    SEGMENT 0x0092, 0, 0xFFFF           # E8: a stack of 16 bits
    CALL_GATE 0xEC, DATA_0, 0           # F0: to what is no code
    CALL_GATE 0xEC, 0, 0                # F8: to nothing
gdt_template_end:
gdtr:
    .word gdt_template_end - gdt_template - 1
    .long gdt
first_gdtr:
    .word gdt_template_end - gdt_template - 1
    .long gdt_template
idtr:
    .word 0x70 * 8 - 1
    .long idt
ldt_template:
    SEGMENT 0xC0F2, 0, 0xFFFFF          # 07
    SEGMENT 0xC0FB, 0, 0xFFFFF          # 0F
    SEGMENT 0xC09B, 0, 0xFFFFF          # 14
    SEGMENT 0xC092, 0, 0xFFFFF          # 1C
    SEGMENT 0xC072, 0, 0xFFFFF          # 24: not present
    CALL_GATE 0xEC, CODE_0, 0           # 2C
ldt_template_end:
    .balign 4
task_template:
    .long 0, handler_stack, DATA_0
    .skip 100 - 12
    .word 0, 104
    .skip 0x5C, 0xFF                    # ports 0 to 0x2FF, of which ring 3 may use eight
    .byte 0
    .skip 7, 0xFF
task_template_end:
    .balign PAGE
directory:
    .long low_table + 0x67, high_table + 0x67
    .skip PAGE - 8
high_table:
    .skip PAGE
high_template:
    .long windows + 0x67, windows + PAGE + 0x67, windows + 0x67, 0
    .long windows + 2 * PAGE + 0x65, windows + 2 * PAGE + 0x63
    .long code_windows + 0x67, code_windows + PAGE + 0x67, code_windows + 0x67
high_template_end:

    .bss
    .balign PAGE
windows:
    .skip 3 * PAGE
code_windows:
    .skip 2 * PAGE
low_table:
    .skip PAGE
idt:
    .skip 0x70 * 8
gdt:
    .skip 256
ldt:
    .skip 48
task:
    .skip task_template_end - task_template
task_end:
other_task:
    .skip 104
    .balign 16
scratch:
    .skip 128
scratch_stack:
    .skip 512
probe_stack:
    .skip 128
scratch_end:
    .skip 2048
handler_stack:
    .skip 2048
driver_stack:
probe:
    .skip 4
record:
    .skip 4
code:
    .skip 4
events:
    .skip 4
resumed:
    .skip 8
event_list:
    .skip MOST_EVENTS * EVENT
records:
    .skip 0x180000
