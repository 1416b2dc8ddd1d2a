"""Segments as a guest kernel sees them: Accessed bits, descriptors taken away, and what STR and SLDT read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.sched import ShutdownReason
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.boot import Run

MEMORY = 4 << 20

PRELUDE = (
    prelude("paging")
    + """
.equ CODE, 8 + 1
.equ STACK, 16 + 1
.equ DATA, 24 + 1

.macro UPDATE slot, low, high       # update_descriptor of an entry of `gdt`
    movl $gdt, %eax
    call va_to_mfn
    movl %eax, %ecx
    shrl $20, %ecx
    shll $12, %eax
    leal 8 * \\slot(%eax), %ebx
    movl $\\low, %edx
    movl $\\high, %esi
    HYPERCALL update_descriptor
    MUST update_descriptor
.endm

    .data
    .balign PAGE_SIZE
gdt:
    .long 0, 0
    .long 0x0000FFFF, 0x00CFBA00    # code of ring 1, not accessed
    .long 0x0000FFFF, 0x00CFB200    # data of ring 1, not accessed
    .long 0x0000FFFF, 0x00CFB200
    .balign PAGE_SIZE
gdt_frames:
    .long 0
trap_table:
    TRAP_GATE 11, 0, not_present
    TRAP_GATE 12, 0, not_present
    TRAP_TABLE_END

    .text
not_present:
    popl %eax
    SHOW_HEX "not present: "
    popl %eax
    subl $underfoot, %eax           # the instruction after the hypercall that took it away
    SHOW_HEX "offset "
    jmp exit

install:
    movl $trap_table, %eax
    call set_trap_table
    movl $gdt, %eax
    call protect
    movl $gdt, %eax
    call va_to_mfn
    movl %eax, gdt_frames
    movl $gdt_frames, %ebx
    movl $512, %ecx
    HYPERCALL set_gdt
    MUST set_gdt
    ret

protect:                            # make the page at EAX read-only
    pushl %eax
    call read_pte
    xchgl %eax, %edx
    movl %eax, %ecx
    andl $~PTE_RW, %edx
    popl %eax
    jmp write_pte

"""
)


def test_the_processor_sets_accessed_bits_as_it_loads_segments(run: Run) -> None:
    assert run("""
underfoot:
main:
    call install
    movl gdt + 28, %eax
    SHOW_HEX "installed "
    movl $DATA, %ecx
    larl %ecx, %eax
    andl $0x00F0FF00, %eax
    SHOW_HEX "lar       "
    verr %cx
    verw %cx
    movl gdt + 28, %eax
    SHOW_HEX "looked at "
    movl $DATA, %ecx
    movl %ecx, %es
    movl gdt + 28, %eax
    SHOW_HEX "loaded    "
    UPDATE 3, 0xFFFF, 0x00CFB200
    movl gdt + 28, %eax
    SHOW_HEX "updated   "
    movl $FLAT_KERNEL_DS, %ecx
    movl %ecx, %es
    jmp exit
""").lines == [
        "installed 0x00cfb200",
        "lar       0x00c0b200",
        "looked at 0x00cfb200",
        "loaded    0x00cfb300",
        "updated   0x00cfb200",
    ]


def test_a_code_segment_taken_away_underfoot_is_np_at_the_next_instruction(run: Run) -> None:
    assert run("""
main:
    call install
    ljmp $CODE, $on_own_code
on_own_code:
    PRINT "on its own code segment\\n"
    movl $gdt, %eax
    call va_to_mfn
    movl %eax, %ecx
    shrl $20, %ecx
    shll $12, %eax
    leal 8(%eax), %ebx
    movl $0xFFFF, %edx
    movl $0x00CF3B00, %esi
    movl $__HYPERVISOR_update_descriptor, %eax
    int $0x82
underfoot:
    PRINT "still running\\n"
    jmp exit
""").lines == ["on its own code segment", "not present: 0x00000008", "offset 0x00000000"]


def test_a_stack_segment_taken_away_underfoot_ends_the_domain(run: Run) -> None:
    outcome = run(
        """
main:
    call install
    movl $STACK, %eax
    movl %eax, %ss
    UPDATE 2, 0xFFFF, 0x00CF3300
underfoot:
    PRINT "still running"
    jmp exit
""",
        ShutdownReason.crash,
    )
    assert "stack segment 0x0011" in outcome.crash_report
    assert outcome.console == ""


def test_the_registers_a_vcpu_starts_with(run: Run) -> None:
    assert run("""
    .bss
    .balign 16
image:
    .skip 512
    .text
main:
    fxsave image
    movzwl image, %eax
    SHOW_HEX "control word "
    movzwl image + 2, %eax
    SHOW_HEX "status word  "
    movzbl image + 4, %eax
    SHOW_HEX "tags in use  "
    movl image + 24, %eax
    SHOW_HEX "MXCSR        "
    xorl %eax, %eax
    strw %ax
    SHOW_HEX "STR          "
    sldtw %ax
    SHOW_HEX "SLDT         "
underfoot:
    jmp exit
""").lines == [
        "control word 0x0000037f",
        "status word  0x00000000",
        "tags in use  0x00000000",
        "MXCSR        0x00001f80",
        "STR          0x0000e040",
        "SLDT         0x00000000",
    ]
