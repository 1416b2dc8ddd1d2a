"""What is said of a domain with several vcpus: the one that is the reason first, then every other."""

from __future__ import annotations

import pytest

from paravane import HypercallRecord
from paravane.abi.sched import ShutdownReason
from paravane.trace import Kind
from tests.support.boot import boot, finished
from tests.support.prelude import prelude

PRELUDE = (
    prelude("paging", "shared", "events", "vcpus")
    + """
    .bss
    .skip 4096
other_stack:
asleep: .skip 4
    .text
main:
    call events_init
    movl $2, %eax
    movl $other, %edx
    movl $other_stack, %ecx
    call start_vcpu
    MUST start_vcpu
1:  call yield
    cmpl $0, asleep
    je 1b
    call yield
"""
)

SLEEPS = """
other:
    movl $1, asleep
    call block
"""

CRASHES = """
other:
    movl $1, asleep
    ud2
"""

ENDS = {
    "by a trap": "    ud2",
    "by its own word": "    movl $SHUTDOWN_crash, %eax\n    jmp shutdown",
}


@pytest.mark.parametrize("how", ENDS)
def test_a_crash_dump_shows_every_vcpu(how: str) -> None:
    result = finished(boot(PRELUDE + ENDS[how] + SLEEPS, memory=4 << 20, vcpus=4), ShutdownReason.crash)
    heads = [line for line in result.crash_report.splitlines() if line.startswith("vcpu ")]
    assert [line[: line.index(" ", 5)] for line in heads] == ["vcpu 0", "vcpu 1", "vcpu 2", "vcpu 3"]
    assert heads[0].startswith("vcpu 0 runs: ring 1")
    assert heads[1] == "vcpu 1 was never started"
    assert heads[2].startswith("vcpu 2 sleeps until an event: ring 1")
    assert "<other+0x" in heads[2] or "<block+0x" in heads[2]


def test_a_crash_dump_begins_with_the_vcpu_that_crashed() -> None:
    result = finished(boot(PRELUDE + "1:  jmp 1b\n" + CRASHES, memory=4 << 20, vcpus=3), ShutdownReason.crash)
    heads = [line for line in result.crash_report.splitlines() if line.startswith("vcpu ")]
    assert [line[5] for line in heads] == ["2", "0", "1"]
    assert "<other+0x" in heads[0]


def test_the_trace_tells_whose_records_they_are() -> None:
    kernel = PRELUDE + "    ret\n" + SLEEPS
    result = finished(boot(kernel, memory=4 << 20, vcpus=3, trace=(Kind.HYPERCALL,)))
    by: dict[str, set[int | None]] = {}
    for record in result.records:
        if isinstance(record, HypercallRecord):
            by.setdefault(record.name, set()).add(record.vcpu)
    assert by["sched_op.block"] == {2}
    assert by["vcpu_op.initialise"] == {0}
