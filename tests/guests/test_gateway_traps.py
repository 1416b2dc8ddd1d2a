"""Exceptions, `int n`, returns, upcalls and emulated instructions: with what is served in C as without."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paravane.trace import Kind
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.served import Runner

PROGRAMS = 8
STEPS = 150
OPERATIONS = 24
NOWHERE = 0x90000000
"""A linear address without a page."""

KERNEL = (
    prelude("paging", "shared", "events", "user")
    + """
.equ LOG_WORDS, 2048
.equ FRAME_ds, 32                   # below it: what PUSHA has pushed
.equ FRAME_vector, 36
.equ FRAME_error_code, 40
.equ FRAME_eip, 44
.equ FRAME_cs, 48
.equ FRAME_eflags, 52
.equ SAVED_ebp, 8
.equ SAVED_eax, 28

    .bss
    .balign PAGE_SIZE
log:
    .skip LOG_WORDS * 4
    .balign PAGE_SIZE
stacks:                             # kernel stacks that stack_switch may name
    .skip 4 * PAGE_SIZE
stacks_end:
    .skip PAGE_SIZE
user_stack:
    .skip PAGE_SIZE
user_stack_top:
upcalls:
    .skip 4
at:
    .skip 4
sum:                                # of all registers that a trap has met
    .skip 4

    .data
    .balign 4
trap_table:
    TRAP_GATE 0, 0, on_0
    TRAP_GATE 1, 0, on_1
    TRAP_GATE 3, 0, on_3
    TRAP_GATE 4, 0, on_4
    TRAP_GATE 5, 0 | TI_IF, on_5
    TRAP_GATE 6, 0, on_6
    TRAP_GATE 7, 0, on_7
    TRAP_GATE 13, 0, on_13
    TRAP_GATE 14, 0, on_14
    TRAP_GATE 0x80, 0, on_128
    TRAP_GATE 0x81, 3, on_129
    TRAP_GATE 0x83, 1 | TI_IF, on_131
    TRAP_GATE 0x84, 3 | TI_IF, on_132
    TRAP_GATE 0x90, 3, leave
    TRAP_TABLE_END
masking_table:
    TRAP_GATE 0, 0 | TI_IF, on_0
    TRAP_GATE 14, 0 | TI_IF, on_14
    TRAP_GATE 0x80, 0 | TI_IF, on_128
    TRAP_TABLE_END

    .text
.irp vector, 0, 1, 3, 4, 5, 6, 7, 128, 129, 131, 132
on_\\vector:
    pushl $0
    pushl $\\vector
    jmp trapped
.endr
.irp vector, 13, 14
on_\\vector:
    pushl $\\vector
    jmp trapped
.endr

# Notes its frame. A system call does what it was asked for, others go on where EBP says.
    .type trapped, @function
trapped:
    pushl %ds
    pushal
    cld
    movl $FLAT_KERNEL_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl sum, %eax
    movl %esp, %esi
    movl $8, %ecx
1:  roll $5, %eax
    xorl (%esi), %eax
    addl $4, %esi
    loop 1b
    movl %eax, sum
    movl at, %eax
    andl $LOG_WORDS - 8, %eax
    leal log(, %eax, 4), %edi
    leal FRAME_ds(%esp), %esi
    movl $6, %ecx
    rep movsl
    movl %esp, (%edi)
    movl SHARED_CR2, %eax
    movl %eax, 4(%edi)
    addl $8, at
    cmpl $128, FRAME_vector(%esp)
    je 1f
    movl SAVED_ebp(%esp), %eax
    movl %eax, FRAME_eip(%esp)
    andl $~0x100, FRAME_eflags(%esp)    # no further step
    jmp 2f
1:  movl SAVED_eax(%esp), %eax
    call *operations(, %eax, 4)
2:  pushl $2
    popfl
    testl $8 * 3, at
    jz 3f
    popal
    popl %ds
    addl $8, %esp
    iret
3:  popal
    popl %ds
    addl $4, %esp
    movl %eax, (%esp)
    movl $__HYPERVISOR_iret, %eax
    int $0x82

    .type main, @function
main:
    call events_init
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall_here, %ecx
    movl %ebx, %edx
    movl $leave, %esi
    HYPERCALL set_callbacks
    movl $trap_table, %eax
    call set_trap_table
    movl $user_text, %eax
    movl $user_text_end, %edx
    call open_to_user
    movl $user_stack, %eax
    movl $user_stack_top, %edx
    call open_to_user
    movl $user_program, %eax
    movl $user_stack_top, %edx
    call enter_user
    cld
    movl $FLAT_KERNEL_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl upcalls, %eax
    SHOW_HEX "upcalls "
    movl sum, %eax
    SHOW_HEX "sum of registers "
    movl at, %eax
    SHOW_HEX "words of frames "
    ret

among_code:
    .long 0

leave:
    jmp leave_user

# Counted, then nothing is pending or masked.
    .type upcall_here, @function
upcall_here:
    pushl %eax
    incl %ss:upcalls
    movb $0, %ss:UPCALL_MASK - 1
    movb $0, %ss:UPCALL_MASK
    testl $1, %ss:upcalls
    jz 1f
    popl %eax
    iret
1:  movl $__HYPERVISOR_iret, %eax
    int $0x82

{operations}

    .balign PAGE_SIZE
user_text:
user_program:
{program}
    int $0x90
    .balign PAGE_SIZE
user_text_end:
"""
)

TSC_AUX_KERNEL = (
    prelude()
    + """
    .type main, @function
main:
    movl $0xc0000103, %ecx              # IA32_TSC_AUX
    xorl %edx, %edx
    movl $0x89abcdef, %eax
    wrmsr
    movl $100, %esi
1:  rdtscp
    decl %esi
    jnz 1b
    movl %ecx, %eax
    SHOW_HEX "beside the time "
    ret
"""
)

UPCALL_KERNEL = (
    prelude("paging", "shared", "events")
    + """
    .type main, @function
main:
    call events_init
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall_here, %ecx
    movl %ebx, %edx
    movl $upcall_here, %esi
    HYPERCALL set_callbacks
    movl $64, %esi
1:  movb $1, UPCALL_MASK
    movb $1, UPCALL_MASK - 1
    movl flags(, %esi, 4), %eax
    pushl %eax
    pushl $FLAT_KERNEL_CS
    pushl $2f
    pushl $0
    movl $__HYPERVISOR_iret, %eax
    int $0x82
2:  decl %esi
    jns 1b
    movl sum, %eax
    SHOW_HEX "flags "
    ret

upcall_here:
    movb $0, UPCALL_MASK - 1
    roll $5, sum
    movl 8(%esp), %eax
    xorl %eax, sum
    movl $0x202, 8(%esp)
    iret

    .data
    .balign 4
sum:
    .long 0
flags:
    .long {flags}
"""
)

ANYWHERE = (
    "xorl %ecx, %ecx; divl %ecx",
    "movl {nowhere}, %eax",
    "movl %eax, {nowhere}",
    "pushl {nowhere}",
    "incl {nowhere}",
    "rcll $1, {nowhere}",
    "movl ${nowhere}, %edi; movl $3, %ecx; rep; stosb",
    "movl ${nowhere}, %esi; lodsl",
    "movl ${nowhere}, %edi; movl $2, %ecx; rep; insl",
    "movl ${nowhere}, %esi; es; outsb",
    "movl ${nowhere}, %eax; jmp *%eax",
    "movl $log, %edi; movl (%edi), %eax",
    "movl log + LOG_WORDS * 4 - 4, %eax",
    "int $0x81",
    "int $0x81",
    "int $0x83",
    "int $0x84",
    "int $0x85",
    "data16; int $0x81",
    "nop; int $14",
    "int3",
    "movb $0x7f, %al; addb $1, %al; into",
    "pushl $1; pushl $0; movl $9, %eax; bound %eax, (%esp)",
    "rdtsc",
    "rdtsc",
    "movl $90, %ecx; 2: rdtsc; loop 2b",
    "rdtscp",
    "movl $90, %esi; 2: rdtscp; decl %esi; jnz 2b",
    "mov %cr0, %eax",
    "mov %cr2, %edx",
    "mov %cr3, %ecx",
    "mov %cr4, %esi",
    "cli",
    "sti",
    "clts",
    "hlt",
    "ud2",
    "inb $0x60, %al",
    "movl $0x70, %edx; inb %dx, %al",
    "movl $0x6f, %edx; inw %dx, %ax",
    "movl $0xcf8, %edx; inl %dx, %eax",
    "inb $0x42, %al; inl $0x70, %eax",
    "movl $0x70, %edx; outb %al, %dx; outw %ax, $0x6f",
    "movl $0xcf8, %edx; outl %eax, %dx; outb %al, $0x80; inl %dx, %eax",
    "movl $0x70, %edx; movl %esp, %edi; subl $64, %edi; insb",
    "movl $0x70, %edx; movl %esp, %esi; movl $3, %ecx; rep; outsb",
    "pushfl; orl $0x100, (%esp); popfl; inb $0x42, %al; nop",
    'movl ${leaf}, %eax; movl ${subleaf}, %ecx; ud2; .ascii "xen"; cpuid',
    'movl ${leaf}, %eax; movl ${subleaf}, %ecx; ud2; .ascii "xen"; cpuid',
    "movl ${leaf}, %eax; movl ${subleaf}, %ecx; cpuid",
    'pushfl; orl $0x100, (%esp); popfl; ud2; .ascii "xen"; cpuid; nop',
    'ud2; .ascii "xen"; nop',
    'ud2; .ascii "xem"; cpuid',
    "fldz",
    "movl $0x1234, %eax; movl %eax, %fs",
    "pushfl; orl $0x100, (%esp); popfl; rdtsc; nop",
    "pushfl; orl $0x100, (%esp); popfl; rdtscp; nop",
    "data16; rdtscp",
    "pushfl; orl $0x100, (%esp); popfl; nop; divl {nowhere}",
)
"""Instructions of either ring, most of which trap. `nowhere` has no page."""

IN_RING_3 = (
    "movl %esp, %edx; movl ${nowhere}, %esp; pushl %eax; 1: movl %edx, %esp",
    "movl %esp, %edx; movl ${nowhere}, %esp; int $0x81; 1: movl %edx, %esp",
    "int $0x82",
    "movl %ds, %eax",
)
IN_RING_1 = (
    "movb $1, UPCALL_MASK",
    "movb $0, UPCALL_MASK",
    "movb $0, UPCALL_MASK",
    "movb $1, UPCALL_MASK - 1",
    "movb $1, UPCALL_MASK - 1",
    "xorl %ebx, %ebx; xorl %ecx, %ecx; movl $__HYPERVISOR_xen_version, %eax; int $0x82",
    "xorl %ebx, %ebx; xorl %ecx, %ecx; movl $__HYPERVISOR_xen_version, %eax; int $0x82",
    "movb $1, UPCALL_MASK - 1; movb $0, UPCALL_MASK; xorl %ebx, %ebx; xorl %ecx, %ecx;"
    " movl $__HYPERVISOR_xen_version, %eax; int $0x82",
    "movl $FLAT_KERNEL_DS, %ebx; movl $stacks + {stack}, %ecx; movl $__HYPERVISOR_stack_switch, %eax;"
    " int $0x82",
    "movl ${switch}, %ebx; movl $__HYPERVISOR_fpu_taskswitch, %eax; int $0x82",
    "movl ${switch}, %ebx; movl $2, %ecx; movl $__HYPERVISOR_vm_assist, %eax; int $0x82",
    "movl ${rarely}, %ebx; movl $4, %ecx; movl $__HYPERVISOR_vm_assist, %eax; int $0x82",
    "movl start_info, %edx; movl START_INFO_pt_base(%edx), %edx; orl $0, {table}(%edx)",
    "movl $masking_table, %eax; call set_trap_table",
    "movl $trap_table, %eax; call set_trap_table",
    "pushl ${flags}; pushl $FLAT_KERNEL_CS; pushl $1f; pushl $77; movl $__HYPERVISOR_iret, %eax; int $0x82",
    "movl ${level}, %eax; movl %eax, %cr4",
    "movl $0xc0000103, %ecx; xorl %edx, %edx; movl ${flags}, %eax; wrmsr",
    "pushl ${iopl}; movl $PHYSDEVOP_set_iopl, %ebx; movl %esp, %ecx; movl $__HYPERVISOR_physdev_op, %eax;"
    " int $0x82",
    "mov %cr0, %eax; xorl $8, %eax; mov %eax, %cr0",
    "mov %cr0, %eax; xorl $1, %eax; mov %eax, %cr0",
    "movl $FLAT_KERNEL_DS, %eax; movl %eax, %gs",
    "movl %eax, among_code",
)
SETUPS = ("std", "stc", "cld", "clc", "incl %edi", "negl %ebx", "decl %eax", "nop")
FLAGS = (0, 0, 0, 0x40000, 0x4000, 0x200000, 0x44001, 0x800)


def step(source: random.Random, choices: tuple[str, ...]) -> str:
    """An instruction that may trap, and what leads to it. It goes on at 1."""
    lines = []
    if flags := source.choice(FLAGS):
        lines.append(f"pushfl; xorl ${flags:#x}, (%esp); popfl")
    text = source.choice(choices).format(
        nowhere=hex(NOWHERE + source.choice((0, 1, 4092, 4093, 0x1234))),
        stack=source.randrange(1, 4) * 4096 + source.choice((0, 4, 8, 20, 24, 4092, 2048, 2049)),
        switch=source.randrange(2),
        rarely=source.choice((0, *(1,) * 15)),
        table=4096 * source.randrange(4) + 4 * source.randrange(16),
        flags=hex(source.choice((0x2, 0x202, 0x10202, 0x4203, 0x240202))),
        level=source.choice((0, 4)),
        iopl=source.choice((0, 1, 1, 3)),
        leaf=hex(source.choice((0, 0x40000000, 0x80000000)) + source.randrange(6)),
        subleaf=source.randrange(4),
    )
    lines += [source.choice(SETUPS), "movl $1f, %ebp", text]
    if "1:" not in text:
        lines.append("1:")
    return "\n".join(f"    {line}" for line in lines)


def operation(source: random.Random, number: int) -> str:
    """What the kernel does when ring 3 asks for it."""
    steps = [step(source, ANYWHERE + 2 * IN_RING_1) for _ in range(source.randrange(1, 5))]
    return "\n".join(
        [
            f"operation_{number}:",
            "    movl %esp, operation_esp",
            *steps,
            "    movl operation_esp, %esp",
            "    ret",
        ]
    )


def random_kernel(seed: int) -> str:
    source = random.Random(seed)
    names = ", ".join(f"operation_{number}" for number in range(OPERATIONS))
    operations = [operation(source, number) for number in range(OPERATIONS)]
    lines = []
    for _ in range(STEPS):
        lines.append("    movl $FLAT_USER_DS, %eax\n    movl %eax, %ds\n    movl %eax, %es")
        if source.randrange(3):
            lines.append(step(source, ANYWHERE + IN_RING_3))
        else:
            lines.append(f"    movl ${source.randrange(OPERATIONS)}, %eax\n    int $0x80")
    table = (
        f"    .data\n    .balign 4\noperation_esp:\n    .skip 4\noperations:\n    .long {names}\n    .text\n"
    )
    return KERNEL.replace("{operations}", table + "\n".join(operations)).replace(
        "{program}", "\n".join(lines)
    )


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_random_traps_leave_the_same_memory_time_and_counts(run_both: Runner, seed: int) -> None:
    text = random_kernel(seed)
    in_python, in_c = run_both(text, in_c=False), run_both(text, in_c=True)
    assert in_c.outcome == in_python.outcome
    assert b"words of frames" in in_c.outcome.console, "it came to its end"
    assert in_c.outcome.audit == ()
    assert in_c.served >= 20, "or nothing was compared"


@pytest.mark.parametrize("kind", [Kind.TRAP, Kind.HYPERCALL, Kind.EVENT])
def test_who_watches_misses_no_trap(run_both: Runner, kind: Kind) -> None:
    text = random_kernel(1)
    in_python, in_c = (run_both(text, in_c=in_c, watched=(kind,)) for in_c in (False, True))
    assert in_c.outcome == in_python.outcome
    assert in_c.records == in_python.records
    assert in_c.records
    assert (in_c.served > 0) is (kind is not Kind.TRAP)


def test_a_limit_of_traps_is_kept_among_faults(run_both: Runner) -> None:
    text, pauses = random_kernel(1), range(1, 25)
    in_python, in_c = (run_both(text, in_c=in_c, pauses=pauses) for in_c in (False, True))
    assert in_c.outcome == in_python.outcome
    assert in_c.served > 20


def test_random_traps_of_a_kernel_without_pae(run_both: Runner) -> None:
    text = ".equ TWO_LEVEL, 1\n" + random_kernel(PROGRAMS)
    in_python, in_c = run_both(text, in_c=False), run_both(text, in_c=True)
    assert in_c.outcome == in_python.outcome
    assert b"words of frames" in in_c.outcome.console
    assert in_c.outcome.audit == ()
    assert in_c.served >= 20


def test_a_kernel_reads_what_it_put_beside_the_time(run_both: Runner) -> None:
    in_python, in_c = (run_both(TSC_AUX_KERNEL, in_c=in_c) for in_c in (False, True))
    assert in_c.outcome == in_python.outcome
    assert b"beside the time 0x89abcdef" in in_c.outcome.console
    assert in_c.served >= 100


def test_an_upcall_saves_the_flags_of_a_return_as_the_processor_has_them(run_both: Runner) -> None:
    source = random.Random(0)
    # With IF, so that the upcall comes at once; VM is another matter, and TF and NT lead elsewhere.
    flags = ", ".join(hex(source.getrandbits(32) & ~0x2_4100 | 0x200) for _ in range(65))
    text = UPCALL_KERNEL.replace("{flags}", flags)
    in_python, in_c = (run_both(text, in_c=in_c) for in_c in (False, True))
    assert in_c.outcome == in_python.outcome
    assert b"flags " in in_c.outcome.console
    assert in_c.served >= 65
