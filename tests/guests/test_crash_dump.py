"""The report of a crash: what ended the domain, where, and the walk of the address that was the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.sched import ShutdownReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.boot import Run

    Report = Callable[[str], str]

HANDLED_FAULT = """
    movl $traps, %ebx
    HYPERCALL set_trap_table
    movl 0xB0000000, %eax               # faults; the handler goes on after it
"""


MEMORY = 4 << 20

PRELUDE = """
    .include "runtime.inc"
    XEN_NOTES
    .data
    .balign 4
traps:
    TRAP_GATE 14, 0, page_fault
    TRAP_TABLE_END
reason: .long SHUTDOWN_crash
    .text
page_fault:
    addl $4, %esp                       # the error code
    addl $5, (%esp)                     # `movl 0xB0000000, %eax` has five bytes
    iret
main:
"""


@pytest.fixture
def report(run: Run) -> Report:
    """The report of a kernel's crash."""
    return lambda body: run(body, ShutdownReason.crash).crash_report


def test_a_software_interrupt_without_a_gate_is_named(report: Report) -> None:
    first, where, *_ = report("    int $0x21").splitlines()
    assert first.startswith("domain 1 (guest) crashed: int 0x21: ")
    assert where.startswith("vcpu 0 runs: ring 1, EIP 0xc01")
    assert "<main+0x" in where


def test_an_exception_without_a_handler_is_named(report: Report) -> None:
    assert report("    ud2").startswith("domain 1 (guest) crashed: #UD with error code 0x0: ")


def test_a_page_fault_that_ends_the_domain_is_walked(report: Report) -> None:
    lines = report("    movl 0xB0000000, %eax").splitlines()
    assert lines[0].startswith("domain 1 (guest) crashed: #PF with error code ")
    assert "page walk of 0xb0000000:" in lines


def test_the_walk_of_a_fault_that_was_served_is_not_shown(report: Report) -> None:
    text = report(HANDLED_FAULT + "    int $0x21")
    assert "crashed: int 0x21: " in text
    assert "page walk" not in text


def test_a_kernel_that_reports_its_own_crash_gets_a_dump(report: Report) -> None:
    text = report(
        f"{HANDLED_FAULT}\n    movl $SCHEDOP_shutdown, %ebx\n    movl $reason, %ecx\n    HYPERCALL sched_op"
    )
    assert text.startswith(
        "domain 1 (guest) crashed: its kernel asked for shutdown with reason 3\nvcpu 0 runs: "
    )
    assert "page walk" not in text


def test_a_frame_that_cannot_be_written_is_walked_where_it_was_to_be(report: Report) -> None:
    text = report(HANDLED_FAULT + "    movl $0xB0001000, %esp\n    movl 0xB0000000, %eax")
    assert "page walk of 0xb0000ff" in text
