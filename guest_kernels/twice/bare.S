# The machine as a PC: the kernel is in ring 0, and processor, interrupt controller, timer and serial line are its own.
# A multiboot loader starts it. (Intel SDM volume 3; Multiboot 0.6.96; data sheets of 8259A, 8254, 16550.)

    .ifdef BARE
    .include "twice.inc"

.equ MULTIBOOT_MAGIC, 0x1BADB002
.equ MULTIBOOT_ADDRESSES, 0x10000    # the header says where everything goes

.equ CR0_WP, 1 << 16
.equ CR0_PG, 1 << 31
.equ CR4_PAE, 1 << 5

.equ PIC_COMMAND, 0x20
.equ PIC_DATA, 0x21
.equ SLAVE_COMMAND, 0xA0
.equ SLAVE_DATA, 0xA1
.equ PIC_VECTORS, 0x20
.equ END_OF_INTERRUPT, 0x20
.equ PIT_CHANNEL_0, 0x40
.equ PIT_COMMAND, 0x43
.equ PIT_PERIOD, 11932              # of 1193182 Hz: 10 ms
.equ SERIAL, 0x3F8
.equ SERIAL_STATUS, SERIAL + 5
.equ SERIAL_EMPTY, 0x20
.equ DEBUG_EXIT, 0xF4               # QEMU's isa-debug-exit: its status becomes 2 * value + 1

.equ TSS_SELECTOR, 0x28
.equ TSS_ESP0, 4
.equ TSS_SS0, 8
.equ TSS_IO_MAP, 102
.equ TSS_SIZE, 104

.equ LARGE_PAGES, 16                # of 2 MiB each: what the kernel maps of the machine's memory
.equ LARGE_PAGE, 2 << 20
.equ PTE_LARGE, 0xE3                # present, writable, accessed, dirty, 2 MiB

# Writes a byte to an I/O port. Spoils EAX, and EDX for ports that no immediate can hold.
.macro OUT port:req, value:req
    movb \value, %al
    .if (\port) < 0x100
    outb %al, $\port
    .else
    movl $\port, %edx
    outb %al, %dx
    .endif
.endm

    .text
# At the head of the first source's code, for a loader looks for it in the first 8 KiB of the file.
    .balign 4
multiboot_header:
    .long MULTIBOOT_MAGIC, MULTIBOOT_ADDRESSES, -(MULTIBOOT_MAGIC + MULTIBOOT_ADDRESSES)
    .long multiboot_header - VIRT_BASE, multiboot_header - VIRT_BASE
    .long bss_start - VIRT_BASE, bss_end - VIRT_BASE, _start - VIRT_BASE

    .bss
bss_start:
    .skip 4 * PAGE
stack_top:
    .balign 8
idt:
    .skip 256 * 8
tss:
    .skip TSS_SIZE
    .section .bss.end, "aw", @nobits
bss_end:

    .data
    .balign PAGE
boot_l3:                            # low addresses only until the first jump to high ones
    .long boot_l2 - VIRT_BASE + PTE_P, 0, 0, 0, 0, 0
    .long boot_l2 - VIRT_BASE + PTE_P, 0
    .balign PAGE
boot_l2:
    .set page, 0
    .rept LARGE_PAGES
    .long page * LARGE_PAGE + PTE_LARGE, 0
    .set page, page + 1
    .endr
    .balign PAGE
    .globl kernel_table
kernel_table:
    .long boot_l2
gdt:
    .quad 0
    .quad 0x00CF9A000000FFFF        # KERNEL_CS
    .quad 0x00CF92000000FFFF        # KERNEL_DS
    .quad 0x00CFFA000000FFFF        # USER_CS
    .quad 0x00CFF2000000FFFF        # USER_DS
    .long TSS_SIZE - 1, 0x8900      # TSS_SELECTOR: its base is put in later
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
idt_pointer:
    .word 256 * 8 - 1
    .long idt

# The gates: vector, least privileged ring that may use it by `int`, handler.
.macro GATE vector:req, dpl:req, handler:req
    .long \vector, \dpl, \handler
.endm

    .section .rodata
    .balign 4
gates:
    .irp vector, 0, 1, 5, 6, 7, 9, 10, 11, 12, 13, 14, 16, 17, 19
    GATE \vector, 0, trap_\vector
    .endr
    GATE 3, 3, trap_3
    GATE 4, 3, trap_4
    GATE PIC_VECTORS, 0, interrupt_entry
    GATE PIC_VECTORS + 7, 0, spurious
    GATE 0x80, 3, system_call_entry
gates_end:

    .text
# The loader comes here by the physical address: flat segments, protection on, paging and interrupts off.
    .globl _start
_start:
    cld
    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $boot_l3 - VIRT_BASE, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $CR0_PG | CR0_WP, %eax
    movl %eax, %cr0
    movl $1f, %eax
    jmp *%eax
1:  movl $0, boot_l3
    movl %cr3, %eax
    movl %eax, %cr3
    movl $stack_top, %esp
    lgdt gdt_pointer
    ljmp $KERNEL_CS, $2f
2:  movl $KERNEL_DS, %eax
    movl %eax, %ss
    KERNEL_SEGMENTS
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    OUT SERIAL + 1, $0              # no interrupts
    OUT SERIAL + 3, $0x80
    OUT SERIAL + 0, $1              # 115200 baud
    OUT SERIAL + 1, $0
    OUT SERIAL + 3, $3              # 8 bits, no parity, one stop bit
    OUT SERIAL + 2, $7              # buffers on, and empty
    call main
    jmp exit

FUNCTION machine_init
    pushl %esi
    movl $gates, %esi
1:  movl (%esi), %ecx
    movl 4(%esi), %edx
    shll $13, %edx
    orl $0x8E00, %edx               # an interrupt gate
    movl 8(%esi), %eax
    movw %ax, idt(,%ecx,8)
    movw $KERNEL_CS, idt + 2(,%ecx,8)
    movw %dx, %ax
    movl %eax, idt + 4(,%ecx,8)
    addl $12, %esi
    cmpl $gates_end, %esi
    jne 1b
    lidt idt_pointer
    movl $tss, %eax
    movl %eax, %edx
    shll $16, %eax
    orl %eax, gdt + TSS_SELECTOR
    movl %edx, %eax
    shrl $16, %eax
    movb %al, gdt + TSS_SELECTOR + 4
    movb %ah, gdt + TSS_SELECTOR + 7
    movl $KERNEL_DS, tss + TSS_SS0
    movw $TSS_SIZE, tss + TSS_IO_MAP    # beyond its end: there is none
    movl $TSS_SELECTOR, %eax
    ltr %ax
    OUT PIC_COMMAND, $0x11          # initialise: four words
    OUT SLAVE_COMMAND, $0x11
    OUT PIC_DATA, $PIC_VECTORS
    OUT SLAVE_DATA, $PIC_VECTORS + 8
    OUT PIC_DATA, $4                # the slave's line
    OUT SLAVE_DATA, $2
    OUT PIC_DATA, $1
    OUT SLAVE_DATA, $1
    OUT SLAVE_DATA, $0xFF           # all masked
    OUT PIC_DATA, $0xFF
    popl %esi
    ret

# A request that was gone when the processor asked for it: the controller does not wait for an end of it.
spurious:
    iret

FUNCTION console_write
    pushl %esi
    movl %eax, %esi
    movl %edx, %ecx
    testl %ecx, %ecx
    jz 3f
1:  movl $SERIAL_STATUS, %edx
2:  inb %dx, %al
    testb $SERIAL_EMPTY, %al
    jz 2b
    movl $SERIAL, %edx
    lodsb
    outb %al, %dx
    loop 1b
3:  popl %esi
    ret

FUNCTION exit
    OUT DEBUG_EXIT, $0
stop:                               # nobody is there to end the machine
    cli
    hlt
    jmp stop

FUNCTION panic
    pushl %eax
    movl $panic_text, %eax
    call print
    popl %eax
    call print
    movl $newline, %eax
    call print
    OUT DEBUG_EXIT, $1
    jmp stop
    .section .rodata
panic_text:
    .asciz "panic: "
newline:
    .asciz "\n"
    .text

# EAX = string.
print:
    movl %eax, %edx
1:  cmpb $0, (%edx)
    je 2f
    incl %edx
    jmp 1b
2:  subl %eax, %edx
    jmp console_write

FUNCTION fault_address
    movl %cr2, %eax
    ret

FUNCTION machine_address
    subl $VIRT_BASE, %eax
    xorl %edx, %edx
    ret

FUNCTION entry_page
    andl $-PAGE, %eax
    addl $VIRT_BASE, %eax
    ret

FUNCTION entry_set
    movl %ecx, 4(%eax)
    movl %edx, (%eax)
    ret

FUNCTION entry_install
    movl %ecx, 4(%ebx)
    movl %edx, (%ebx)
    invlpg (%eax)
    ret

FUNCTION space_flush
    movl %cr3, %eax
    movl %eax, %cr3
    ret

# Tables are memory like any other here.
FUNCTION table_make
FUNCTION table_unmake
FUNCTION entries_flush
FUNCTION space_pin
FUNCTION space_unpin
    ret

FUNCTION machine_switch
    movl %eax, tss + TSS_ESP0
    movl %edx, %eax

FUNCTION space_load
    subl $VIRT_BASE, %eax
    movl %eax, %cr3
    ret

FUNCTION machine_return
    movl %ebp, %esp
    popal
    addl $8, %esp
    iret

FUNCTION machine_idle
    sti                             # takes effect after the next instruction: no interrupt comes before hlt
    hlt
    cli
    ret

FUNCTION timer_start
    OUT PIT_COMMAND, $0x34          # channel 0, both bytes, a rate
    OUT PIT_CHANNEL_0, $PIT_PERIOD & 0xFF
    OUT PIT_CHANNEL_0, $PIT_PERIOD >> 8
    OUT PIC_DATA, $0xFE
    ret

FUNCTION timer_stop
    OUT PIC_DATA, $0xFF
    ret

FUNCTION interrupt
    OUT PIC_COMMAND, $END_OF_INTERRUPT
    jmp tick
    .endif
