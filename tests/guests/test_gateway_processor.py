"""CPUID and I/O ports, which have hooks of their own: with what is served in C as without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.served import Runner

TURNS: Final = 100

START = (
    prelude("paging", "shared", "events")
    + """
    .data
    .balign 4
trap_table:
    TRAP_GATE 1, 0, debug
    TRAP_GATE 13, 0, protection
    TRAP_TABLE_END
iopl:
    .long 1
hits:
    .long 0
faults:
    .long 0

    .text
    .type debug, @function
debug:
    incl %ss:hits
    iret

    .type protection, @function         # of an instruction of one byte
protection:
    addl $4, %esp
    incl %ss:faults
    incl (%esp)
    iret

    .type allow_ports, @function
allow_ports:
    movl $PHYSDEVOP_set_iopl, %ebx
    movl $iopl, %ecx
    HYPERCALL physdev_op
    ret
"""
)

CPUIDS = (
    START
    + """
.macro ASK leaf:req, subleaf:req
    movl $\\leaf, %eax
    movl $\\subleaf, %ecx
    ud2
    .ascii "xen"
    cpuid
    FOLD
    movl $\\leaf, %eax
    movl $\\subleaf, %ecx
    cpuid
    FOLD
.endm
.macro FOLD
.irp register, eax, ebx, ecx, edx
    roll $3, %esi
    xorl %\\register, %esi
.endr
.endm

    .type main, @function
main:
    xorl %esi, %esi
    movl $TURNS, %ebp
1:  ASK 0, 0
    ASK 1, 7
    ASK 7, 0
    ASK 0x40000000, 0
    ASK 0x40000003, 0
    ASK 0x40000003, 1
    ASK 0x40000003, 3
    ASK 0x40000005, 0
    ASK 0x80000008, 0
    decl %ebp
    jnz 1b
    movl %esi, %eax
    SHOW_HEX "sum of leaves "
    ret
"""
)

PORTS = (
    START
    + """
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    movl $0x80, %edx
    outb %al, %dx                   # no privilege yet
    call allow_ports
    xorl %esi, %esi
    movl $TURNS, %ebp
1:  movb $0x17, %al
    outb %al, $0x70
    movl $0xcf8, %edx
    leal (%ebp, %ebp), %eax
    outl %eax, %dx
    outw %ax, $0x80
    xorl %eax, %eax
    inl %dx, %eax
    addl %eax, %esi
    inb $0x70, %al
    addl %eax, %esi
    inw $0x42, %ax
    addl %eax, %esi
    decl %ebp
    jnz 1b
    movl %esi, %eax
    SHOW_HEX "sum of ports "
    movl faults, %eax
    SHOW_HEX "faults "
    ret
"""
)

BREAKPOINT = (
    START
    + """
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    call allow_ports
    movl $8, %eax                   # CR4.DE
    movl %eax, %cr4
    movl $0x80, %eax
    movl %eax, %dr0
    movl $0x20701, %eax             # breakpoint 0, an I/O one of a byte
    movl %eax, %dr7
    outb %al, $0x80
    inb $0x80, %al
    inb $0x81, %al
    movl hits, %eax
    SHOW_HEX "hits "
    ret
"""
)

PENDING = (
    START
    + """
    .type main, @function
main:
    call events_init
    call allow_ports
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall_here, %ecx
    movl %ebx, %edx
    movl $upcall_here, %esi
    HYPERCALL set_callbacks
    movb $0, UPCALL_MASK
    movl $TURNS, %ebp
1:  movb $1, UPCALL_MASK - 1
    inb $0x80, %al
    movb $1, UPCALL_MASK - 1
    xorl %eax, %eax
    ud2
    .ascii "xen"
    cpuid
    addl %eax, hits
    decl %ebp
    jnz 1b
    movl hits, %eax
    SHOW_HEX "upcalls and leaves "
    ret

    .type upcall_here, @function
upcall_here:
    incl %ss:hits
    movb $0, %ss:UPCALL_MASK - 1
    movb $0, %ss:UPCALL_MASK
    iret
"""
)


def compare(run_both: Runner, text: str) -> tuple[bytes, int]:
    """The console of a guest that leaves the same in both, and how much of it was served in C."""
    text = f".equ TURNS, {TURNS}\n" + text
    in_python, in_c = (run_both(text, in_c=in_c) for in_c in (False, True))
    assert in_c.outcome == in_python.outcome
    assert in_c.outcome.audit == ()
    return in_c.outcome.console, in_c.served


def test_cpuid_is_answered_alike_forced_or_not(run_both: Runner) -> None:
    console, served = compare(run_both, CPUIDS)
    assert b"sum of leaves " in console
    assert served >= 9 * TURNS


def test_ports_are_read_and_written_without_a_trap(run_both: Runner) -> None:
    console, served = compare(run_both, PORTS)
    read = sum(2 * turn + ((2 * turn) & ~0xFF | 0x17) for turn in range(1, TURNS + 1))
    words = TURNS * 0xFF00  # channel 2 of the timer stands at 0, and nothing is beside it
    assert f"sum of ports {read + words:#010x}".encode() in console
    assert b"faults 0x00000001" in console
    assert served >= 6 * TURNS


def test_a_breakpoint_on_a_port_is_not_passed_over(run_both: Runner) -> None:
    console, _ = compare(run_both, BREAKPOINT)
    assert b"hits 0x00000002" in console


def test_an_upcall_that_is_due_comes_right_after_them(run_both: Runner) -> None:
    console, served = compare(run_both, PENDING)
    assert f"upcalls and leaves {2 * TURNS + 2 * TURNS:#010x}".encode() in console
    assert served >= TURNS
