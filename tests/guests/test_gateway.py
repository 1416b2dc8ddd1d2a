"""What is served in C is served as Python serves it: the same guest with and without, and nothing differs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paravane.time.clock import HostClock, VirtualClock
from paravane.trace import Kind
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.served import Runner

PROGRAMS = 8
STEPS = 150

KERNEL = (
    prelude("paging", "shared", "events", "user")
    + """
.equ LOG_WORDS, 1024

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
info_page:                          # a vcpu_info of the guest's choice
    .skip PAGE_SIZE
upcalls:
    .skip 4
at:
    .skip 4
info:
    .skip 4
moved:
    .skip VCPU_REGISTER_VCPU_INFO_sizeof

    .data
    .balign 4
trap_table:
    TRAP_GATE 0x80, 3, system_call
    TRAP_GATE 0x90, 3, leave
    TRAP_GATE 13, 0, leave
    TRAP_TABLE_END
masking_table:
    TRAP_GATE 0x80, 0 | TI_IF, system_call
    TRAP_TABLE_END
plain_table:
    TRAP_GATE 0x80, 1, system_call
    TRAP_TABLE_END
operations:
    .long go_back, mask, unmask, make_pending, ask_version, switch_stack, masking_gate, plain_gate
    .long iopl_on, iopl_off, set_level, give_way, set_timer, move_info, send

    .text
# Ring 3 asks with EAX = the operation, ECX = its argument.
    .type main, @function
main:
    call events_init
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall_here, %ecx
    movl %ebx, %edx
    movl $leave, %esi
    HYPERCALL set_callbacks
    movl $UPCALL_MASK - 1, info
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
    cld                             # ring 3 may have left it set
    movl $upcalls, %eax
    movl (%eax), %eax
    SHOW_HEX "upcalls "
    movl at, %eax
    SHOW_HEX "words of frames "
    ret

leave:
    jmp leave_user

# Notes its frame, then does what it was asked for.
    .type system_call, @function
system_call:
    cld
    pushl %ds
    pushl %edi
    pushl %esi
    pushl %edx
    pushl %ebx
    movl $FLAT_KERNEL_DS, %edx
    movl %edx, %ds
    movl %edx, %es
    movl at, %edx
    andl $LOG_WORDS - 8, %edx
    movl $log, %edi
    leal (%edi, %edx, 4), %edi
    leal 20(%esp), %esi
    movl $5, %edx
1:  movl (%esi), %ebx
    movl %ebx, (%edi)
    addl $4, %esi
    addl $4, %edi
    decl %edx
    jnz 1b
    movl %esp, (%edi)
    addl $8, at
    movl info, %edx
    jmp *operations(, %eax, 4)
go_back:
    popl %ebx
    popl %edx
    popl %esi
    popl %edi
    popl %ds
    iret
mask:
    movb $1, 1(%edx)
    jmp go_back
unmask:
    movb $0, 1(%edx)
    jmp go_back
make_pending:
    movb $1, (%edx)
    jmp go_back
ask_version:
    movl %ecx, %ebx
    xorl %ecx, %ecx
    movl $__HYPERVISOR_xen_version, %eax
    int $0x82
    movl at, %edx
    andl $LOG_WORDS - 8, %edx
    movl %eax, log + 28(, %edx, 4)
    jmp go_back
switch_stack:
    movl $FLAT_KERNEL_DS, %ebx
    movl $__HYPERVISOR_stack_switch, %eax
    int $0x82
    jmp go_back
masking_gate:
    movl $masking_table, %eax
    call set_trap_table
    jmp go_back
plain_gate:
    movl $plain_table, %eax
    call set_trap_table
    jmp go_back
iopl_on:
    movl $VMASST_CMD_enable, %ebx
    jmp 1f
iopl_off:
    movl $VMASST_CMD_disable, %ebx
1:  movl $VMASST_TYPE_architectural_iopl, %ecx
    movl $__HYPERVISOR_vm_assist, %eax
    int $0x82
    jmp go_back
set_level:
    pushl %ecx
    movl $PHYSDEVOP_set_iopl, %ebx
    movl %esp, %ecx
    movl $__HYPERVISOR_physdev_op, %eax
    int $0x82
    addl $4, %esp
    jmp go_back
give_way:
    movl $SCHEDOP_yield, %ebx
    movl $__HYPERVISOR_sched_op, %eax
    int $0x82
    jmp go_back
set_timer:                          # a deadline that has passed, or comes soon
    movl %ecx, %ebx
    xorl %ecx, %ecx
    movl $__HYPERVISOR_set_timer_op, %eax
    int $0x82
    jmp go_back
move_info:                          # only once: the second time it is refused
    movl $info_page, %eax
    call va_to_mfn
    movl %eax, moved + VCPU_REGISTER_VCPU_INFO_mfn
    movl $VCPUOP_register_vcpu_info, %ebx
    xorl %ecx, %ecx
    movl $moved, %edx
    movl $__HYPERVISOR_vcpu_op, %eax
    int $0x82
    testl %eax, %eax
    jnz go_back
    movl $info_page, info
    jmp go_back
send:                               # to nobody: refused
    pushl $1023
    movl $EVTCHNOP_send, %ebx
    movl %esp, %ecx
    movl $__HYPERVISOR_event_channel_op, %eax
    int $0x82
    addl $4, %esp
    jmp go_back

# An upcall is only counted: what was pending is not, and the mask is what it was.
    .type upcall_here, @function
upcall_here:
    pushl %eax
    incl %ss:upcalls
    movl %ss:info, %eax
    movb $0, %ss:(%eax)
    movb $0, %ss:1(%eax)
    popl %eax
    iret

    .balign PAGE_SIZE
user_text:
user_program:
{program}
    int $0x90
    .balign PAGE_SIZE
user_text_end:
"""
)

OPERATIONS = 15
SETUPS = (
    "std",
    "stc",
    "cld",
    "clc",
    "fld1",
    "incl %edi",
    "negl %ebp",
    "movl %ds, %ebx",
    "nop",
)
"""What ring 3 does before a call: flags above all, which the frame shows."""


def arguments(operation: int, source: random.Random) -> str:
    """What goes into ECX: stacks at and across the ends of pages and unaligned, hypercalls, levels, times."""
    if operation == 4:
        return f"${source.choice((0, 0, 0, 7, 8, 99))}"
    if operation == 5:
        place = source.choice((0, 4, 8, 19, 20, 64, 4092, 2048, 2049))
        return f"$stacks + {source.randrange(1, 4) * 4096 + place}"
    if operation == 10:
        return f"${source.randrange(4)}"
    return f"${source.choice((0, 1, 100_000, 50_000_000))}"


def program(source: random.Random) -> str:
    """A random one of ring 3, of `STEPS` system calls."""
    lines = []
    for _ in range(STEPS):
        operation = source.choice((0, 0, 0, 1, 2, 3, 4, 5, 6, 7, *range(OPERATIONS)))
        flags = source.choice((0, 0, 0, 0x40000, 0x4000, 0x200000, 0x44001))
        if flags:
            lines.append(f"    pushfl\n    xorl ${flags:#x}, (%esp)\n    popfl")
        lines.append(f"    {source.choice(SETUPS)}")
        lines.append(f"    movl {arguments(operation, source)}, %ecx\n    movl ${operation}, %eax")
        lines.append("    int $0x80")
    return "\n".join(lines)


def random_kernel(seed: int) -> str:
    return KERNEL.replace("{program}", program(random.Random(seed)))


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_random_system_calls_leave_the_same_memory_time_and_counts(run_both: Runner, seed: int) -> None:
    text = random_kernel(seed)
    in_python, in_c = run_both(text, in_c=False), run_both(text, in_c=True)
    assert in_c.outcome == in_python.outcome
    assert b"words of frames" in in_c.outcome.console, "it came to its end"
    assert in_c.outcome.audit == ()
    assert in_c.served >= 10, "or nothing was compared"


@pytest.mark.parametrize("kind", [Kind.TRAP, Kind.HYPERCALL])
def test_who_watches_misses_nothing(run_both: Runner, kind: Kind) -> None:
    text = random_kernel(0)
    in_python, in_c = (run_both(text, in_c=in_c, watched=(kind,)) for in_c in (False, True))
    assert in_c.outcome == in_python.outcome
    assert in_c.records == in_python.records
    assert len(in_c.records) > STEPS / 2
    # Who reads hypercalls does not keep system calls from being served.
    assert (in_c.served > 0) is (kind is Kind.HYPERCALL)


def test_a_limit_of_traps_is_kept_to_the_trap(run_both: Runner) -> None:
    text, pauses = random_kernel(0), [*range(1, 12), 50]
    whole, in_parts = run_both(text, in_c=True), run_both(text, in_c=True, pauses=pauses)
    assert in_parts.served > 10
    assert in_parts.outcome.console == whole.outcome.console
    assert in_parts.outcome.traps == whole.outcome.traps


def test_time_by_the_hosts_clock_goes_on_in_c(run_both: Runner) -> None:
    ran = run_both(random_kernel(0), in_c=True, clock=HostClock())
    assert b"words of frames" in ran.outcome.console
    assert ran.served > 10


def test_a_clock_that_nobody_knows_is_left_to_python(run_both: Runner) -> None:
    class Slower(VirtualClock):
        """Traps are free."""

        def trapped(self, cost: int = 0) -> int:
            return self.now()

    text = random_kernel(0)
    in_python, in_c = run_both(text, in_c=False, clock=Slower()), run_both(text, in_c=True, clock=Slower())
    assert in_c.outcome == in_python.outcome
    assert in_c.served == 0
