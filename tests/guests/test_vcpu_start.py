"""VCPUOP_initialise and VCPUOP_up: how a domain's other vcpus get a context, and what is refused."""

from __future__ import annotations

import pytest

from paravane.abi.errno import Errno
from tests.support.boot import boot, finished
from tests.support.prelude import prelude

PRELUDE = (
    prelude("paging", "vcpus")
    + """
.macro SHOW command, vcpuid=$1, arg=$vcpu_context      # prints the command and how it ended
    movl $VCPUOP_\\command, %eax
    movl \\vcpuid, %edx
    movl \\arg, %ecx
    call vcpu_op
    SHOW_SIGNED "\\command "
.endm

.macro YIELD
    movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
.endm

.macro GO_DOWN number                   # as VCPUOP_down of the own vcpu
    movl $VCPUOP_down, %eax
    movl \\number, %edx
    xorl %ecx, %ecx
    call vcpu_op
.endm

    .bss
    .skip 4096
other_stack:
    .text
"""
)


def lines(body: str, vcpus: int = 2) -> list[str]:
    result = boot(PRELUDE + body, memory=4 << 20, vcpus=vcpus, slice_instructions=1_000_000)
    return finished(result).lines


@pytest.mark.parametrize("vcpus", [2, 32])
def test_every_vcpu_runs_from_its_own_context(vcpus: int) -> None:
    """Each adds its number and goes down; the last of them to run has them all."""
    assert lines(
        f"""
.equ OTHERS, {vcpus - 1}
main:
    movl $OTHERS, %edi
1:  movl %edi, %eax
    movl $other, %edx
    movl %edi, %ecx
    shll $10, %ecx
    addl $stacks, %ecx
    call start_vcpu
    MUST start_vcpu
    decl %edi
    jnz 1b
2:  YIELD
    movl $VCPUOP_is_up, %eax
    movl $OTHERS, %edx
    xorl %ecx, %ecx
    call vcpu_op
    testl %eax, %eax
    jnz 2b
    cmpl $OTHERS, started
    jne 2b
    movl sum, %eax
    SHOW_SIGNED "sum "
    movl rings, %eax
    SHOW_SIGNED "rings "
    ret
other:
    movl %eax, %esi
    lock addl %eax, sum
    movl %cs, %eax
    andl $3, %eax
    lock addl %eax, rings
    lock incl started
    GO_DOWN %esi
    ud2
    .data
sum: .long 0
rings: .long 0
started: .long 0
    .bss
stacks: .skip (OTHERS + 1) << 10
""",
        vcpus,
    ) == [f"sum {vcpus * (vcpus - 1) // 2}", f"rings {vcpus - 1}"]


CONTEXT = """
    movl $1, %eax
    movl $idle, %edx
    movl $other_stack, %ecx
    call prepare_vcpu
"""

IDLE = """
idle:
    GO_DOWN $1
    .data
    .balign 4096
page: .skip 4096
"""


def test_initialise_refuses_in_the_order_of_xen() -> None:
    """The vcpu, its argument, whether it has a context; the context comes after these."""
    assert lines(f"""
main:
    SHOW up
    SHOW is_up
    SHOW initialise, $2
    SHOW initialise, $1, $0xF5000000
    SHOW initialise, $0, $0xF5000000
    SHOW initialise, $0
    SHOW up
    {CONTEXT}
    SHOW initialise
    SHOW initialise
    SHOW initialise, $1, $0xF5000000
    SHOW is_up
    SHOW up
    SHOW up
    SHOW is_up
    movl $1, finish
1:  YIELD
    movl $VCPUOP_is_up, %eax
    movl $1, %edx
    call vcpu_op
    testl %eax, %eax
    jnz 1b
    ret
idle:
    YIELD
    cmpl $0, finish
    je idle
    GO_DOWN $1
    .data
finish: .long 0
""") == [
        f"up {-Errno.EINVAL}",
        "is_up 0",
        f"initialise {-Errno.ENOENT}",
        f"initialise {-Errno.EFAULT}",
        f"initialise {-Errno.EFAULT}",
        f"initialise {-Errno.EEXIST}",
        f"up {-Errno.EINVAL}",
        "initialise 0",
        f"initialise {-Errno.EEXIST}",
        f"initialise {-Errno.EFAULT}",
        "is_up 0",
        "up 0",
        "up 0",
        "is_up 1",
    ]


FIELD = "vcpu_context + VCPU_GUEST_CONTEXT_"
PAGE = "movl $page, %eax\n    call va_to_mfn"


@pytest.mark.parametrize(
    "change",
    [
        f"movl $8, {FIELD}ldt_base",
        f"movl $8193, {FIELD}ldt_ents",
        f"movl $7169, {FIELD}gdt_ents",
        f"movl $0xFFFFFFFF, {FIELD}gdt_ents",
        f"movl $1, {FIELD}gdt_ents",
        f"movl $1, {FIELD}gdt_ents\n    {PAGE}\n    movl %eax, {FIELD}gdt_frames",
        f"movl $0, {FIELD}ctrlreg + 12",
        f"{PAGE}\n    roll $12, %eax\n    movl %eax, {FIELD}ctrlreg + 12",
    ],
    ids=[
        "an LDT without entries that is not page-aligned",
        "too large an LDT",
        "too large a GDT",
        "a GDT of all there is",
        "a GDT of nobody's frame",
        "a GDT that can be written",
        "no page table",
        "a page table that can be written",
    ],
)
def test_a_context_that_cannot_be_is_refused_and_leaves_the_vcpu_without(change: str) -> None:
    assert lines(f"""
main:
    {CONTEXT}
    {change}
    SHOW initialise
    SHOW up
    xorl %eax, %eax
    movl %eax, {FIELD}ldt_base
    movl %eax, {FIELD}ldt_ents
    movl %eax, {FIELD}gdt_ents
    {CONTEXT}
    SHOW initialise
    ret
idle:
    YIELD
    jmp idle
    .data
    .balign 4096
page: .skip 4096
""") == [f"initialise {-Errno.EINVAL}", f"up {-Errno.EINVAL}", "initialise 0"]


def test_half_an_initialise_is_undone() -> None:
    """The frame of the GDT is the guest's again when the root is refused: it can be written, and be used for
    a second try. The audit after the end finds nothing left over."""
    field = "vcpu_context + VCPU_GUEST_CONTEXT_"
    assert lines(f"""
main:
    {CONTEXT}
    movl $page, %eax
    call make_read_only
    MUST make_read_only
    movl $page, %eax
    call va_to_mfn
    movl %eax, {field}gdt_frames
    movl $512, {field}gdt_ents
    movl {field}ctrlreg + 12, %edi
    movl $0, {field}ctrlreg + 12
    SHOW initialise
    movl $page, %eax
    call make_writable
    SHOW_SIGNED "writable "
    movl $page, %eax
    call make_read_only
    SHOW_SIGNED "read-only "
    movl %edi, {field}ctrlreg + 12
    SHOW initialise
    movl $page, %eax
    call make_writable
    SHOW_SIGNED "writable "
    ret
{IDLE}""") == [
        f"initialise {-Errno.EINVAL}",
        "writable 0",
        "read-only 0",
        "initialise 0",
        f"writable {-Errno.EBUSY}",
    ]


def test_a_vcpu_that_is_online_from_the_start_runs_once_it_was_down_and_up() -> None:
    """As in Xen, which wakes nobody in VCPUOP_initialise, and has nothing to do in VCPUOP_up."""
    assert lines(f"""
main:
    {CONTEXT}
    movl $VGCF_in_kernel | VGCF_online, vcpu_context + VCPU_GUEST_CONTEXT_flags
    movl $runs, vcpu_context + VCPU_GUEST_CONTEXT_user_regs_eip
    SHOW initialise
    SHOW is_up
    SHOW up
    YIELD
    YIELD
    movl ran, %eax
    SHOW_SIGNED "ran "
    SHOW down
    SHOW up
1:  YIELD
    cmpl $0, ran
    je 1b
    movl ran, %eax
    SHOW_SIGNED "ran "
    ret
runs:
    movl $1, ran
    GO_DOWN $1
    .data
ran: .long 0
    .text
{IDLE}""") == ["initialise 0", "is_up 1", "up 0", "ran 0", "down 0", "up 0", "ran 1"]


def test_the_registers_are_looked_at_when_the_vcpu_begins_to_run() -> None:
    """A code segment that is no good is an exception of the new vcpu, in a handler of its own trap table."""
    field = "vcpu_context + VCPU_GUEST_CONTEXT_"
    assert lines(f"""
main:
    {CONTEXT}
    movw $0x1003, {field}user_regs_cs
    movl $protection, {field}trap_ctxt + 13 * TRAP_INFO_sizeof + TRAP_INFO_address
    movw $FLAT_KERNEL_CS, {field}trap_ctxt + 13 * TRAP_INFO_sizeof + TRAP_INFO_cs
    SHOW initialise
    SHOW up
1:  YIELD
    cmpl $0, code
    je 1b
    movl code, %eax
    SHOW_HEX "error code "
    movl where, %eax
    subl $idle, %eax
    SHOW_SIGNED "at idle + "
    ret
protection:
    popl code
    popl where
    GO_DOWN $1
    .data
code: .long 0
where: .long 0
    .text
{IDLE}""") == ["initialise 0", "up 0", "error code 0x00001000", "at idle + 0"]
