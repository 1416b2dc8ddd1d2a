"""What the kernels about traps leave open: counters, other clocks, crashes, and the failsafe callback."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from paravane import BootResult, DomainConfig, Machine, StopReason, guest_kernels, load_image
from paravane.abi.arch import FlatSelector
from paravane.abi.sched import ShutdownReason
from paravane.abi.vcpu import VCPU_GUEST_CONTEXT, VcpuContextFlag
from paravane.asm import assemble_text, build
from paravane.asm.elf_writer import write_elf
from paravane.testing.expectation import Expected
from paravane.testing.matching import difference
from tests.support.boot import HOST_TIMEOUT, paravane
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.boot import Run

    Crash = Callable[[str], BootResult]

MEMORY = 8 << 20
KERNELS = ("debug", "emulate", "failsafe", "fastcall", "fpu", "traps")

PRELUDE = prelude("paging", "shared", "user", "probe")


@pytest.fixture
def crash(run: Run) -> Crash:
    """What came of a kernel that ends in a crash."""
    return partial(run, reason=ShutdownReason.crash)


def first_line(outcome: BootResult) -> str:
    return outcome.crash_report.splitlines()[0]


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_prints_the_same_in_slices_of_a_few_hundred_instructions(name: str) -> None:
    kernel = guest_kernels.load(name)
    config = DomainConfig(memory=kernel.memory)
    with Machine(Machine.size_for(kernel.memory), seed=5, slice_instructions=307) as machine:
        domain = machine.create(load_image(build(kernel.sources)), config)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.reason is ShutdownReason.poweroff, domain.crash_report
        assert difference(Expected(kernel.expected), domain.console_output().decode()) == []


def test_fastcall_counts_what_the_hypervisor_counts() -> None:
    kernel = guest_kernels.load("fastcall")
    with Machine(Machine.size_for(MEMORY)) as machine:
        domain = machine.create(load_image(build(kernel.sources)), DomainConfig(memory=MEMORY))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        counters = domain.vcpus[0].traps.counters
        rows = re.findall(r" (\d+) +(\d+) +\d+$", domain.console_output().decode(), re.MULTILINE)
        direct, bounced = (sum(int(row[column]) for row in rows) for column in (0, 1))
    ends_of_rows = len(rows)  # int 0x90, bounced too
    assert (direct, bounced + ends_of_rows) == (counters.direct, counters.bounced) == (2000, 3005)


def test_fastcall_measures_host_time_when_the_clock_is_the_hosts() -> None:
    result = paravane("boot", "fastcall", "--clock", "host")
    assert result.returncode == 0, result.stderr.decode()
    assert difference(Expected(guest_kernels.load("fastcall").expected), result.stdout.decode()) == []
    times = [int(line.split()[-1]) for line in result.stdout.decode().splitlines()[1:-1]]
    assert len(times) == 5
    assert all(time > 0 for time in times)


BAD_STACKS = {
    "unmapped": ("movl $0xD0000000, %eax", "cannot be written: page fault at 0xcfffff"),
    "in the hypervisor's hole": ("movl $0xF5801000, %eax", "cannot be written: page fault at 0xf5800f"),
    "a page table": (
        "movl start_info, %eax\nmovl START_INFO_pt_base(%eax), %eax\naddl $PAGE_SIZE, %eax",
        "written",
    ),
}


@pytest.mark.parametrize("where", BAD_STACKS)
@pytest.mark.parametrize("trap", ["ud2", "int $0x80", "int $0x90", "movl 0, %eax"])
def test_a_trap_from_ring_3_onto_a_bad_kernel_stack_ends_the_domain(
    where: str, trap: str, crash: Crash
) -> None:
    load, sentence = BAD_STACKS[where]
    outcome = crash(f"""
    .data
    .balign 4
table:
    TRAP_GATE 6, 0, handler
    TRAP_GATE 14, 0, handler
    TRAP_GATE 0x80, 3, handler
    TRAP_GATE 0x90, 3, handler
    TRAP_TABLE_END
    .text
main:
    movl $table, %eax
    call set_trap_table
    movl $user_text, %eax
    movl $user_text_end, %edx
    call open_to_user
    {load}
    call set_kernel_stack
    pushl $FLAT_USER_SS
    pushl $0
    pushl $2
    pushl $FLAT_USER_CS
    pushl $user_text
    iret
handler:
    PANIC "a handler ran"
    .balign PAGE_SIZE
user_text:
    {trap}
    .balign PAGE_SIZE
user_text_end:
    """)
    assert sentence in first_line(outcome)
    assert "ring 3" in outcome.crash_report
    assert outcome.console == ""


@pytest.mark.parametrize(
    ("instruction", "sentence"),
    [
        ("xorl %esp, %esp\nud2", "cannot be written: page fault at 0xfffffff4"),
        ("movl $0xD0000000, %esp\nud2", "cannot be written: page fault at 0xcffffff4"),
        ("movl $0xD0000000, %esp\npushl %eax", "cannot be written: page fault at 0xcffffff0"),
    ],
)
def test_a_trap_in_the_kernel_without_a_stack_ends_the_domain(
    instruction: str, sentence: str, crash: Crash
) -> None:
    outcome = crash(f"""
    .data
    .balign 4
table:
    TRAP_GATE 6, 0, handler
    TRAP_GATE 14, 0, handler
    TRAP_TABLE_END
    .text
main:
    movl $table, %eax
    call set_trap_table
    {instruction}
handler:
    PANIC "a handler ran"
    """)
    assert sentence in first_line(outcome)


@pytest.mark.parametrize(
    ("instruction", "name"),
    [
        ("int $0x21", "int 0x21"),
        ("int $0x22", "int 0x22: refused in ring 1, and #GP"),
        ("int $6", "int 0x06"),
        ("ud2", "#UD"),
        ("int3", "#BP"),
        ("int $0x80", "int 0x80: refused in ring 1, and #GP"),
    ],
)
def test_a_trap_without_a_handler_is_named(instruction: str, name: str, crash: Crash) -> None:
    """The kernel may raise int 0x21 and 6, by their DPL, but their handlers have null selectors."""
    outcome = crash(f"""
    .data
    .balign 4
table:
    .byte 0x21, 3
    .word 0
    .long main
    .byte 6, 3
    .word 3
    .long main
    TRAP_TABLE_END
    .text
main:
    movl $table, %eax
    call set_trap_table
    {instruction}
    """)
    assert f"{name} has no handler" in first_line(outcome)
    assert "page walk" not in outcome.crash_report


PAGE_FAULT_LONG_AGO = """
    .data
    .balign 4
table:
    TRAP_GATE 14, 0, on_page_fault
    TRAP_TABLE_END
    .text
main:
    movl $table, %eax
    call set_trap_table
    movl 0xD0000000, %eax
resume:
    {crash}
on_page_fault:
    addl $4, %esp
    movl $resume, (%esp)
    iret
"""


@pytest.mark.parametrize("instruction", ["ud2", "movl $0xDFFF0000, %esp\npushl %eax"])
def test_the_page_walk_of_a_dump_is_not_an_old_faults(instruction: str, crash: Crash) -> None:
    outcome = crash(PAGE_FAULT_LONG_AGO.format(crash=instruction))
    assert "page walk of 0xd0000000" not in outcome.crash_report
    assert ("page walk" in outcome.crash_report) == (instruction != "ud2")


def test_the_dump_of_a_fault_without_a_handler_walks_to_its_address(crash: Crash) -> None:
    outcome = crash("    .text\nmain:\n    movl 0xD0000123, %eax\n")
    assert "#PF has no handler" in first_line(outcome)
    assert "page walk of 0xd0000123:" in outcome.crash_report


@pytest.mark.parametrize("frame", ["$0xD0000000", "$0xFFFFFFF8", "$0xF57FFFFC"])
def test_an_iret_hypercall_without_a_frame_ends_the_domain(frame: str, crash: Crash) -> None:
    outcome = crash(f"""
    .text
main:
    movl {frame}, %esp
    movl $__HYPERVISOR_iret, %eax
    int $0x82
    """)
    assert "iret hypercall" in first_line(outcome)


def test_an_iret_hypercall_to_ring_0_ends_the_domain(crash: Crash) -> None:
    outcome = crash("""
    .text
main:
    pushl $0
    pushl $2
    pushl $0xE008
    pushl $main
    pushl $0
    movl $__HYPERVISOR_iret, %eax
    int $0x82
    """)
    assert "ring 0: CS is 0xe008" in first_line(outcome)


def test_boot_reports_a_lost_kernel_stack_with_exit_status_3(tmp_path: Path) -> None:
    source = tmp_path / "lost.S"
    source.write_text(PRELUDE + "    .text\nmain:\n    xorl %esp, %esp\n    ud2\n")
    result = paravane("boot", str(source))
    assert result.returncode == 3
    assert b"#UD" in result.stderr
    assert b"Traceback" not in result.stderr


FAILSAFE = """
    .data
    .balign 4
callback:
    .word CALLBACKTYPE_failsafe, {flags}
    .long FLAT_KERNEL_CS, on_failsafe
    .globl stack_of_kernel
stack_of_kernel:
    .long 0
    .text
    .globl main
main:
    call map_shared_info
    call mask_all_events
    movb $0, UPCALL_MASK
    movl $CALLBACKOP_register, %ebx
    movl $callback, %ecx
    HYPERCALL callback_op
    MUST callback_op
    movl %esp, stack_of_kernel
    movl %esp, %eax
    call set_kernel_stack
    .globl ready
ready:
    call yield
    jmp ready
on_failsafe:
    movl %esp, %ebx
    movl stack_of_kernel, %esi
    movzbl UPCALL_MASK, %edi
1:  cmpl %esi, %ebx
    jae 2f
    PRINT_HEX (%ebx)
    PRINT " "
    addl $4, %ebx
    jmp 1b
2:  PRINT "mask "
    PRINT_DEC %edi
    PRINT ", segments "
    movl %fs, %eax
    call print_selector
    PRINT " "
    movl %gs, %eax
    call print_selector
    jmp exit
"""

BAD = 0x1003
"""A selector past the end of every guest's descriptor table."""


@pytest.mark.parametrize("masks", [False, True], ids=["plain", "masking"])
@pytest.mark.parametrize("ring", [1, 3])
def test_a_vcpu_that_starts_with_bad_data_segments_enters_the_failsafe_callback(
    ring: int, masks: bool
) -> None:
    """The frame has DS, ES, FS and GS below that of an exception; the segments that failed are null."""
    program = assemble_text(PRELUDE + FAILSAFE.format(flags=int(masks)), name="failsafe.S")
    at = {symbol.name: symbol.value for symbol in program.symbols}
    cs, ss = (FlatSelector.RING1_CS, FlatSelector.RING1_SS) if ring == 1 else (0xE02B, 0xE033)
    with Machine(Machine.size_for(MEMORY)) as machine:
        domain = machine.create(load_image(write_elf(program)), DomainConfig(memory=MEMORY))
        machine.run(max_traps=60)
        vcpu = domain.vcpus[0]
        esp = vcpu.cpu.read_u32(at["stack_of_kernel"])
        assert esp, "the guest is not ready"
        context = VCPU_GUEST_CONTEXT.unpack(bytes(VCPU_GUEST_CONTEXT.size))
        registers = context.user_regs._replace(
            cs=cs, eip=at["ready"], eflags=0x246, ss=ss, esp=esp, ds=0xE033, es=0xE033, fs=BAD, gs=0xE033
        )
        vcpu.traps.load(
            context._replace(
                user_regs=registers,
                kernel_ss=FlatSelector.KERNEL_SS,
                kernel_sp=esp,
                failsafe_callback_cs=vcpu.traps.state.callbacks.failsafe.cs,
                failsafe_callback_eip=vcpu.traps.state.callbacks.failsafe.eip,
                flags=VcpuContextFlag.failsafe_disables_events if masks else 0,
            )
        )
        machine.run(timeout=HOST_TIMEOUT)
        console = domain.console_output().decode()
    words = [0xE033, 0xE033, BAD, 0xE033, at["ready"], cs, 0x246]
    if ring == 3:
        words += [esp, ss]
    frame = " ".join(f"{word:#010x}" for word in words)
    assert console == f"{frame} mask {int(masks)}, segments 0x0000 0xe033"
