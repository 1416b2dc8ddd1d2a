"""Traps as a guest kernel meets them: what it may do itself, and what the hypervisor does for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.sched import ShutdownReason
from tests.support.boot import boot
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.boot import Run

MEMORY = 4 << 20

PRELUDE = (
    prelude()
    + """
.macro TRAPS
    movl $trap_table, %eax
    call set_trap_table
.endm

"""
)


def test_the_fpu_traps_once_after_a_task_switch(run: Run) -> None:
    assert run("""
    .type main, @function
main:
    TRAPS
    movl $1, %ebx
    HYPERCALL fpu_taskswitch
    movl %cr0, %eax
    SHOW_HEX "CR0 after the switch "
    fld1
    fstp %st(0)
    movl %cr0, %eax
    SHOW_HEX "CR0 after the FPU was used "
    ret

device_not_available:
    pushl %eax
    PRINT "#NM\\n"
    popl %eax
    iret

    .data
trap_table:
    TRAP_GATE 7, 0, device_not_available
    TRAP_TABLE_END
""").lines == ["CR0 after the switch 0x8005003b", "#NM", "CR0 after the FPU was used 0x80050033"]


def test_a_kernel_steps_through_its_own_code(run: Run) -> None:
    assert run("""
    .type main, @function
main:
    TRAPS
    xorl %ebx, %ebx
    pushfl
    orl $0x100, (%esp)
    popfl
    nop
    movl %cr2, %eax
    nop
    pushfl
    andl $0xfffffeff, (%esp)
    popfl
    movl %ebx, %eax
    SHOW_HEX "steps "
    movl $6, %ebx
    HYPERCALL get_debugreg
    SHOW_HEX "DR6 "
    ret

single_step:
    incl %ebx
    iret

    .data
trap_table:
    TRAP_GATE 1, 0, single_step
    TRAP_TABLE_END
""").lines == ["steps 0x00000006", "DR6 0xffff4ff0"]


def test_a_breakpoint_register_stops_at_an_instruction(run: Run) -> None:
    assert run("""
    .type main, @function
main:
    TRAPS
    movl $0, %ebx
    movl $there, %ecx
    HYPERCALL set_debugreg
    movl $1, %eax
    movl %eax, %dr7
    PRINT "on the way\\n"
there:
    nop
    PRINT "after it\\n"
    ret

breakpoint:
    pushal
    movl 32(%esp), %eax
    subl $there, %eax
    SHOW_HEX "#DB at there + "
    movl %dr6, %eax
    andl $0xf, %eax
    SHOW_HEX "by breakpoints "
    popal
    orl $0x10000, 8(%esp)           # RF: go on
    iret

    .data
trap_table:
    TRAP_GATE 1, 0, breakpoint
    TRAP_TABLE_END
""").lines == ["on the way", "#DB at there + 0x00000000", "by breakpoints 0x00000001", "after it"]


def test_the_iret_hypercall_goes_to_ring_3_and_int_0x80_comes_back(run: Run) -> None:
    assert run("""
    .type main, @function
main:
    TRAPS
    movl $user_code, %eax
    call open_to_user
    movl $user_stack, %eax
    call open_to_user
    movl %esp, %eax
    call set_kernel_stack
    pushl $FLAT_USER_SS
    pushl $user_stack + 0x1000
    pushl $2                        # IF clear: events stay masked
    pushl $FLAT_USER_CS
    pushl $user_code
    movl $0x1234, %eax              # the entry of the hypercall page pushes it
    jmp hypercall_page + 32 * __HYPERVISOR_iret

open_to_user:
    pushl %ebx
    movl %eax, %ebx
    call read_pte
    xchgl %eax, %edx
    movl %eax, %ecx
    orl $PTE_USER, %edx
    movl %ebx, %eax
    call write_pte
    popl %ebx
    ret

system_call:
    SHOW_HEX "EAX from ring 3 "
    movl 4(%esp), %eax
    SHOW_HEX "CS and mask "
    movl 8(%esp), %eax
    andl $0xffffff02, %eax          # without arithmetic flags
    SHOW_HEX "EFLAGS "
    movl $SHUTDOWN_poweroff, %eax
    call exit

    .balign PAGE_SIZE
user_code:
    incl %eax
    int $0x80
    .balign PAGE_SIZE

    .bss
    .balign PAGE_SIZE
user_stack:
    .skip PAGE_SIZE

    .data
trap_table:
    TRAP_GATE 0x80, 3, system_call
    TRAP_TABLE_END
""").lines == ["EAX from ring 3 0x00001235", "CS and mask 0x0001e02b", "EFLAGS 0x00000002"]


def test_probes_of_a_starting_kernel_are_answered(run: Run) -> None:
    assert run("""
    .type main, @function
main:
    TRAPS
    movl $0x40000000, %eax
    .byte 0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2
    movl %ebx, signature
    movl %ecx, signature + 4
    movl %edx, signature + 8
    movl $signature, %eax
    call print_string
    PRINT "\\n"
    movl $0x40000001, %eax
    cpuid
    SHOW_HEX "version "
    movl $0xc0000080, %ecx
    rdmsr
    SHOW_HEX "EFER "
    inb $0x42, %al
    PRINT "not reached without I/O privilege\\n"
resume:
    movl $level, %ecx
    movl $PHYSDEVOP_set_iopl, %ebx
    HYPERCALL physdev_op
    SHOW_HEX "set_iopl "
    cli
    sti
    xorl %eax, %eax
    inb $0x42, %al
    SHOW_HEX "timer "
    movw $0xcfc, %dx
    inl %dx, %eax
    SHOW_HEX "configuration space "
    ret

general_protection:
    pushal
    movl 32(%esp), %eax
    SHOW_HEX "#GP, error code "
    popal
    addl $4, %esp
    movl $resume, (%esp)
    iret

    .data
signature:
    .long 0, 0, 0, 0
level:
    .long 1
trap_table:
    TRAP_GATE 13, 0, general_protection
    TRAP_TABLE_END
""").lines == [
        "XenVMMXenVMM",
        "version 0x00040011",
        "EFER 0x00000800",
        "#GP, error code 0x00000000",
        "set_iopl 0x00000000",
        "timer 0x00000000",
        "configuration space 0xffffffff",
    ]


def test_a_kernel_whose_stack_is_gone_ends_with_a_sentence() -> None:
    body = """
    .type main, @function
main:
    TRAPS
    PRINT "about to lose the stack\\n"
    call console_flush
    movl $0xd0000000, %esp
    ud2

invalid_opcode:
    jmp invalid_opcode

    .data
trap_table:
    TRAP_GATE 6, 0, invalid_opcode
    TRAP_TABLE_END
"""
    outcome = boot(PRELUDE + body, memory=MEMORY)
    assert outcome.reason is ShutdownReason.crash
    assert "exception frame" in outcome.crash_report
    assert "0xcffffff4" in outcome.crash_report
