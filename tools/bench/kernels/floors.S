# What an engine takes by itself: ring 0, flat, identity-mapped, and a hook that does nothing.
#
# `begin` is executed once. Each other routine does its work `rounds` times, and halts.

.equ TRAP, 0x82
.equ CODE, 8
.equ DATA, 16

.equ CR0_PG, 0x80000000
.equ CR4_PAE, 0x20
.equ MSR_EFER, 0xC0000080
.equ EFER_NXE, 0x800
.equ PRESENT, 1
.equ WRITABLE, 2
.equ NX_HIGH, 0x80000000
.equ PAGE_SIZE, 4096
.equ PAGES, 16                      # of memory

    .text
    .globl _start
_start:
begin:
    lgdt gdt_register
    ljmp $CODE, $1f
1:  movw $DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $stack, %esp
    call map
    movl $pointers, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_NXE, %eax
    wrmsr
    movl %cr0, %eax
    orl $CR0_PG, %eax
    movl %eax, %cr0
    hlt

# Every page where it is, and only those of code for execution, as an operating system has them.
map:
    movl $directory + PRESENT, pointers
    movl $mappings + PRESENT + WRITABLE, directory
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    shll $12, %eax
    orl $PRESENT + WRITABLE, %eax
    movl %eax, mappings(,%ecx,8)
    cmpl $data, %eax
    jb 2f
    movl $NX_HIGH, mappings + 4(,%ecx,8)
2:  incl %ecx
    cmpl $PAGES, %ecx
    jb 1b
    ret

.macro FLOOR name:req
\name:
    movl $stack, %esp
    movl rounds, %ebp
1:
.endm

.macro AGAIN
    decl %ebp
    jnz 1b
    hlt
.endm

FLOOR trap
    int $TRAP
    AGAIN

FLOOR traps_2
    int $TRAP
    int $TRAP
    AGAIN

.macro RETURN
    pushfl
    pushl $CODE
    pushl $.Lreturned\@
    iret
.Lreturned\@:
.endm

FLOOR trap_iret
    int $TRAP
    RETURN
    AGAIN

# The handler's return is a hypercall too.
FLOOR traps_2_iret
    int $TRAP
    int $TRAP
    RETURN
    AGAIN

FLOOR trap_flush
    int $TRAP
    movl %cr3, %eax
    movl %eax, %cr3
    AGAIN

FLOOR trap_invlpg
    int $TRAP
    invlpg table
    AGAIN

FLOOR trap_store_invlpg
    int $TRAP
    movl %ebp, table
    movl %ebp, table + 4
    invlpg table
    AGAIN

# Page-table entries of 8 bytes as a kernel stores them where it may.
.macro TRAP_STORES count:req
FLOOR trap_stores_\count
    int $TRAP
    movl $\count, %ecx
2:  movl %ebp, table - 8(,%ecx,8)
    movl %ebp, table - 4(,%ecx,8)
    decl %ecx
    jnz 2b
    AGAIN
.endm

    TRAP_STORES 1
    TRAP_STORES 16
    TRAP_STORES 128
    TRAP_STORES 512

# Without a trap: four plain instructions, and a store.
FLOOR straight
    addl %eax, %ebx
    xorl %ebx, %edx
    AGAIN

FLOOR store
    movl %ebp, table
    AGAIN

    .data
    .balign PAGE_SIZE
data:
gdt:
    .quad 0
    .quad 0x00CF9B000000FFFF        # CODE
    .quad 0x00CF93000000FFFF        # DATA
gdt_register:
    .word . - gdt - 1
    .long gdt
    .balign 4
rounds:
    .long 0

    .bss
    .balign PAGE_SIZE
pointers:
    .skip PAGE_SIZE
directory:
    .skip PAGE_SIZE
mappings:
    .skip PAGE_SIZE
table:
    .skip PAGE_SIZE
    .skip PAGE_SIZE
stack:
