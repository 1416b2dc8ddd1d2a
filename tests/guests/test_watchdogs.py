"""SCHEDOP_watchdog: a domain's two watchdogs, whichever of its vcpus asks, beside their timers."""

from __future__ import annotations

import pytest

from paravane import BootResult, TimerRecord
from paravane.abi.errno import Errno
from paravane.abi.sched import ShutdownReason
from tests.support.boot import boot, finished
from tests.support.prelude import prelude

SECOND = 1_000_000_000

PRELUDE = (
    prelude("paging", "shared", "events", "vcpus")
    + """
.macro WATCHDOG identity, seconds
    movl $\\identity, watchdog + SCHED_WATCHDOG_id
    movl $\\seconds, watchdog + SCHED_WATCHDOG_timeout
    movl $SCHEDOP_watchdog, %ebx
    movl $watchdog, %ecx
    HYPERCALL sched_op
    SHOW_SIGNED "\\identity "
.endm

.macro START_OTHER where
    movl $1, %eax
    movl $\\where, %edx
    movl $other_stack, %ecx
    call start_vcpu
    MUST start_vcpu
.endm

.macro SLEEP_UNTIL time    # system time, in EAX: by a poll of nothing, with a timer of its own
    movl \\time, %eax
    movl %eax, poll + SCHED_POLL_timeout
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
.endm

    .bss
    .balign 4096
    .skip 4096
other_stack:
    .balign 8
watchdog: .skip SCHED_WATCHDOG_sizeof
    .balign 8
poll: .skip SCHED_POLL_sizeof
    .balign 8
single: .skip VCPU_SET_SINGLESHOT_TIMER_sizeof
done: .skip 4
    .text
"""
)


def run(body: str, reason: ShutdownReason) -> BootResult:
    result = boot(PRELUDE + body, memory=4 << 20, vcpus=2, slice_instructions=1_000_000)
    return finished(result, reason)


def bitten(result: BootResult) -> list[tuple[str, int]]:
    """The watchdogs that have expired, and when."""
    timers = [record for record in result.records if isinstance(record, TimerRecord)]
    return [
        (record.timer, record.deadline)
        for record in timers
        if record.name == "expired" and record.timer.startswith("watchdog")
    ]


def test_vcpus_share_two_watchdogs() -> None:
    """Either vcpu may push back and free what the other one took, and the ids are the domain's."""
    result = run(
        f"""
main:
    WATCHDOG 0, 5
    START_OTHER other
1:  call yield
    cmpl $0, done
    je 1b
    WATCHDOG 2, 0                       # the other's
    WATCHDOG 2, 0
    WATCHDOG 0, 7                       # free again
    WATCHDOG 1, 0
    WATCHDOG 2, 0
    ret
other:
    WATCHDOG 0, 6
    WATCHDOG 0, 6
    WATCHDOG 1, 9
    WATCHDOG 3, 1
    WATCHDOG {0x8000_0000}, 1
    movl $1, done
2:  call yield
    jmp 2b
""",
        ShutdownReason.poweroff,
    )
    assert result.lines == [
        "0 1",
        "0 2",
        f"0 {-Errno.ENOSPC}",
        "1 0",
        f"3 {-Errno.EINVAL}",
        f"{0x8000_0000} {-Errno.EINVAL}",
        "2 0",
        f"2 {-Errno.EINVAL}",
        "0 2",
        "1 0",
        "2 0",
    ]
    assert bitten(result) == []


@pytest.mark.parametrize(
    ("rest", "which"),
    [
        ("1: jmp 1b", "watchdog 2"),
        ("    SLEEP_UNTIL $4000000000\n    ret", "watchdog 2"),
        ("    WATCHDOG 2, 4\n    SLEEP_UNTIL $4000000000\n    ret", "watchdog 1"),
    ],
    ids=["spins", "sleeps", "pushes the first to expire back"],
)
def test_the_first_that_is_forgotten_ends_every_vcpu(rest: str, which: str) -> None:
    """Whatever they are doing, with other timers of theirs armed; at the moment that was said."""
    result = run(
        f"""
main:
    WATCHDOG 0, 2
    START_OTHER other
    WATCHDOG 0, 1
{rest}
other:
    movl $1500000000, single
    movl $VCPUOP_set_singleshot_timer, %eax
    movl $1, %edx
    movl $single, %ecx
    call vcpu_op
    MUST set_singleshot_timer
    SLEEP_UNTIL $4000000000
""",
        ShutdownReason.watchdog,
    )
    ((name, deadline),) = bitten(result)
    assert name == which
    seconds = 2 if which == "watchdog 1" else 1
    assert 0 <= deadline - seconds * SECOND < SECOND // 10


def test_a_watchdog_of_no_time_ends_the_domain_at_once() -> None:
    result = run("main:\n    WATCHDOG 0, 0\n1:  call yield\n    jmp 1b\nother:\n", ShutdownReason.watchdog)
    assert [name for name, _ in bitten(result)] == ["watchdog 1"]
