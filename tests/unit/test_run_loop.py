"""Who has the processor, for how long, and what the host does while nobody has: guests on whole machines.

Slices are counted in instructions wherever figures are compared: then they are the same on every host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, HostClock, Machine, StopReason
from paravane.idle import FARTHEST, OUTSIDE, SMALL_AGAINST, YIELD_TIME
from paravane.inbox import Inbox
from paravane.run_loop import FEWEST_INSTRUCTIONS, INSTRUCTION_TIME
from paravane.sched import POLICIES, BorrowedVirtualTime, Credit
from paravane.time.timers import NEVER
from paravane.trace import Kind, Record, ScheduleRecord, TimerRecord
from tests.support.boot import HOST_TIMEOUT
from tests.support.patience import until
from tests.support.small_machines import BLOCK, MEMORY, PRINTER, SPIN, image

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane import Domain

pytestmark = pytest.mark.slow

COUNTED = 1_000_000
MS = 1_000_000
LATEST = FEWEST_INSTRUCTIONS * INSTRUCTION_TIME

POLL = """
    .include "runtime.inc"
    XEN_NOTES poll
    .text
main:
    movl $VCPUOP_stop_periodic_timer, %ebx
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
    movl ${times}, %esi
1:  addl ${low}, poll + SCHED_POLL_timeout
    adcl ${high}, poll + SCHED_POLL_timeout + 4
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    decl %esi
    jnz 1b
    PRINT "done\\n"
    ret
    .data
    .balign 8
poll: .skip SCHED_POLL_sizeof
"""
"""Sleeps until multiples of so many nanoseconds of system time, so many times."""

YIELD = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    XEN_NOTES yield
    .equ UNTIL, {until}
    .text
main:
    call map_shared_info
1:  incl yields
    movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
    movl shared_info + SHARED_INFO_vcpu_info_time_system_time, %eax
    movl shared_info + SHARED_INFO_vcpu_info_time_system_time + 4, %edx
    subl $(UNTIL & 0xFFFFFFFF), %eax
    sbbl $(UNTIL >> 32), %edx
    jb 1b
    movl yields, %eax
    call print_dec
    ret
    .data
    .balign 4
yields: .long 0
"""
"""Waits as a boot loader does: yields, and looks what time it is."""

ALARM = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    XEN_NOTES alarm
    .text
main:
    call map_shared_info
    call mask_all_events
    movl $VCPUOP_stop_periodic_timer, %ebx
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
    movl $EVTCHNOP_bind_virq, %ebx
    movl $timer, %ecx
    HYPERCALL event_channel_op
    movl shared_info + SHARED_INFO_vcpu_info_time_system_time, %ebx
    addl $2000000, %ebx
    xorl %ecx, %ecx
    HYPERCALL set_timer_op
    movl timer + EVTCHN_BIND_VIRQ_port, %eax
1:  btl %eax, shared_info + SHARED_INFO_evtchn_pending
    jnc 1b
    ret
    .data
    .balign 4
timer: .long VIRQ_TIMER, 0, 0
"""
"""Computes until its timer, which is set for 2 ms from now, has gone off."""

FAR_TIMER = """
    .include "runtime.inc"
    XEN_NOTES far
    .text
main:
    movl $VCPUOP_set_singleshot_timer, %ebx
    xorl %ecx, %ecx
    movl $timer, %edx
    HYPERCALL vcpu_op
    movl $SCHEDOP_block, %ebx
    HYPERCALL sched_op
    PRINT "woken\\n"
    ret
    .data
    .balign 8
timer: .long 0xFFFFFFFF, 0x3FFFFFFF, 0
"""
"""Sleeps until a timer that is set for the last nanosecond before the end of time."""


def poll(nanoseconds: int, times: int) -> str:
    high, low = divmod(nanoseconds, 1 << 32)
    return POLL.format(low=low, high=high, times=times)


def create(machine: Machine, kernel: str, name: str, **options: int) -> Domain:
    return machine.create(image(kernel), DomainConfig(name, memory=MEMORY, **options))  # type: ignore[arg-type]


def watched(machine: Machine, *kinds: Kind) -> list[Record]:
    records: list[Record] = []
    machine.trace.subscribe(records.append, kinds)
    return records


def run_until(machine: Machine, nanoseconds: int) -> None:
    """Run until so much system time has passed."""
    timer = machine.platform.timers.timer("machine", "test", machine.interrupt)
    timer.arm(machine.platform.clock.now() + nanoseconds)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED


# Shares.


@pytest.mark.parametrize("name", ["bvt", "credit"])
def test_guests_that_compute_share_by_weight(name: str) -> None:
    policy = POLICIES[name]()
    with Machine(Machine.size_for(*[MEMORY] * 3), slice_instructions=COUNTED, policy=policy) as machine:
        domains = [create(machine, SPIN, f"w{weight}", weight=weight) for weight in (128, 256, 512)]
        run_until(machine, 2_000_000_000)
        used = [domain.processor_time for domain in domains]
    assert sum(used) == pytest.approx(2_000_000_000, rel=0.01)
    assert [part / sum(used) for part in used] == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=0.01)


def test_a_weight_can_be_changed_while_guests_run() -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=COUNTED) as machine:
        first, second = (create(machine, SPIN, name) for name in ("first", "second"))
        run_until(machine, 500_000_000)
        assert first.processor_time == pytest.approx(second.processor_time, rel=0.05)
        first.share.weight = 3 * second.share.weight
        before = first.processor_time
        run_until(machine, 1_000_000_000)
        assert first.processor_time - before == pytest.approx(750_000_000, rel=0.05)


def test_a_capped_guest_leaves_the_processor_idle_and_time_goes_on() -> None:
    with Machine(Machine.size_for(MEMORY), slice_instructions=COUNTED, policy=Credit()) as machine:
        domain = create(machine, SPIN, "capped", cap=20)
        run_until(machine, 3_000_000_000)
        assert domain.processor_time == pytest.approx(600_000_000, rel=0.02)


def test_a_cap_is_refused_where_the_policy_keeps_none() -> None:
    with Machine(Machine.size_for(MEMORY), policy=BorrowedVirtualTime()) as machine:
        with pytest.raises(ValueError, match="bvt keeps no caps; credit does"):
            create(machine, SPIN, "capped", cap=20)
        assert machine.domains == {}


@pytest.mark.parametrize("options", [{"weight": 0}, {"weight": 65536}, {"cap": -1}])
def test_a_share_that_there_is_not_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="is from"):
        DomainConfig(memory=MEMORY, **options)  # type: ignore[arg-type]


def test_who_floods_its_console_is_charged_for_it() -> None:
    """It blocks for each line and has the console's backend work; beside it one that only computes."""
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=COUNTED) as machine:
        flood, spin = create(machine, PRINTER, "flood"), create(machine, SPIN, "spin")
        run_until(machine, 200_000_000)
        assert spin.processor_time > 90_000_000
        assert flood.processor_time + spin.processor_time == pytest.approx(200_000_000, rel=0.02)


# Wake-ups and timers.


def test_who_wakes_preempts_who_computes() -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=COUNTED) as machine:
        records = watched(machine, Kind.SCHEDULE)
        create(machine, SPIN, "spin")
        sleeper = create(machine, poll(7_000_000, 100), "sleeper")
        run_until(machine, 600_000_000)
    schedule = [record for record in records if isinstance(record, ScheduleRecord)]
    own = [record for record in schedule if record.domid == sleeper.domid]
    waits = [
        after.time - before.time
        for before, after in zip(own, own[1:], strict=False)
        if before.name == "woken"
    ]
    assert len(waits) > 60
    # The first time has come before it sleeps at all.
    assert max(waits[1:]) == 0, "it had the processor in the moment it woke"


@pytest.mark.parametrize("slice_instructions", [0, COUNTED])
def test_a_timer_that_falls_due_in_a_slice_of_another_ends_it(slice_instructions: int) -> None:
    """Were it looked at between slices of 10 ms alone, it would be 5 ms late on the average."""
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=slice_instructions) as machine:
        records = watched(machine, Kind.TIMER)
        create(machine, SPIN, "spin")
        create(machine, poll(7_300_000, 40), "sleeper")
        run_until(machine, 250_000_000)
    timers = [record for record in records if isinstance(record, TimerRecord) and record.timer == "poll"]
    # On a busy host many deadlines have passed before it comes to ask for them.
    ahead = {record.deadline for record in timers if record.name == "armed" and record.time < record.deadline}
    late = [
        record.time - record.deadline
        for record in timers
        if record.name == "expired" and record.deadline in ahead
    ]
    assert len(late) > (25 if slice_instructions else 0)
    assert max(late) <= (LATEST if slice_instructions else 100_000)


def test_a_timer_that_a_guest_sets_ends_its_own_slice_in_time() -> None:
    with Machine(Machine.size_for(MEMORY), slice_instructions=COUNTED) as machine:
        domain = create(machine, ALARM, "alarm")
        records = watched(machine, Kind.TIMER)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert not domain.alive
    (expired,) = (
        record
        for record in records
        if isinstance(record, TimerRecord) and (record.name, record.timer) == ("expired", "single-shot")
    )
    assert expired.time - expired.deadline <= LATEST


# An idle machine.


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long the machine was ready to wait, each time it was."""
    found: list[float | None] = []
    deliver: Callable[[Inbox, float | None], bool] = Inbox.deliver

    def noted(inbox: Inbox, wait: float | None) -> bool:
        if wait != 0:
            found.append(wait)
        return deliver(inbox, wait)

    monkeypatch.setattr(Inbox, "deliver", noted)
    return found


def test_polling_by_yields_costs_no_host_time(waits: list[float | None]) -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        create(machine, YIELD.replace("{until}", str(10**9)), "yield")
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert waits == []


def test_an_hour_of_polling_takes_some_hundred_yields() -> None:
    hour = 3600 * 10**9
    with Machine(Machine.size_for(MEMORY), slice_instructions=COUNTED) as machine:
        domain = create(machine, YIELD.replace("{until}", str(hour)), "yield")
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert int(domain.console_output()) < 1000
        late = machine.platform.clock.now() - hour
        assert 0 <= late < hour // SMALL_AGAINST + YIELD_TIME


def test_polling_for_ever_does_not_use_time_up() -> None:
    """The clock would be where nothing is due any more after some two thousand yields."""
    with Machine(Machine.size_for(MEMORY), slice_instructions=COUNTED) as machine:
        create(machine, YIELD.replace("{until}", str(NEVER)), "yield")
        assert machine.run(max_traps=5000).reason is StopReason.TRAPS
        assert OUTSIDE < machine.platform.clock.now() < 2 * OUTSIDE


def test_polling_by_yields_leaves_room_for_timers() -> None:
    """However far the one that polls would jump: others sleep until exactly their time."""
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        records = watched(machine, Kind.TIMER)
        create(machine, YIELD.replace("{until}", str(100 * 10**9)), "yield")
        create(machine, poll(900_000_000, 100), "sleeper")
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    expired = [record for record in records if isinstance(record, TimerRecord) and record.timer == "poll"]
    late = [record.time - record.deadline for record in expired if record.name == "expired"]
    assert len(late) == 100
    assert max(late) < YIELD_TIME


def test_a_deadline_that_is_too_far_takes_the_clock_nowhere() -> None:
    """Be it of sched_poll or of a timer: to the machine nobody waits for anything, and who comes later can
    still tell the time and sleep."""
    for kernel in (poll(NEVER - 1, 1), poll(FARTHEST + 10**10, 1), FAR_TIMER):
        with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=COUNTED) as machine:
            create(machine, kernel, "far")
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
            assert machine.platform.clock.now() < 10**9
            other = create(machine, poll(900_000_000, 10), "sleeper")
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
            assert other.console_output() == b"done\n"
            assert 0 <= machine.platform.clock.now() - 9 * 10**9 < MS


def test_a_year_of_sleep_is_jumped_over_until_time_ends() -> None:
    """After 146 of them no timer can be set any more, and that is all that happens."""
    years = NEVER // (FARTHEST - MS)
    with Machine(Machine.size_for(MEMORY), slice_instructions=COUNTED) as machine:
        create(machine, poll(FARTHEST - MS, years + 2), "sleeper")
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
        assert 0 <= machine.platform.clock.now() - years * (FARTHEST - MS) < MS


def test_an_idle_machine_waits_for_its_timer_once(waits: list[float | None]) -> None:
    """Not in steps, to see whether something has changed; with a rest below the millisecond of a poll."""
    with Machine(Machine.size_for(MEMORY), clock=HostClock()) as machine:
        domain = create(machine, poll(300_000_000, 1), "sleeper")
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.console_output() == b"done\n"
        assert machine.platform.clock.now() >= 300_000_000
    assert len(waits) <= 3


def test_months_of_sleep_are_waited_for_by_the_clock_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are more milliseconds than a poll counts; so are those that a run may be given."""
    month = 30 * 24 * 3600
    deliver: Callable[[Inbox, float | None], bool] = Inbox.deliver
    slept: list[float] = []
    with Machine(Machine.size_for(MEMORY), clock=HostClock()) as machine:

        def interrupted(inbox: Inbox, wait: float | None) -> bool:
            if wait:
                slept.append(wait)
                machine.interrupt()
            return deliver(inbox, wait)

        monkeypatch.setattr(Inbox, "deliver", interrupted)
        create(machine, poll(2 * month * 10**9, 1), "sleeper")
        assert machine.run().reason is StopReason.INTERRUPTED
        assert machine.run(timeout=1.5 * month).reason is StopReason.INTERRUPTED
    assert [round(wait / month, 1) for wait in slept] == [2.0, 1.5]


def test_a_machine_that_only_input_can_move_waits_without_end(waits: list[float | None]) -> None:
    with Machine(Machine.size_for(MEMORY), clock=HostClock()) as machine:
        create(machine, BLOCK, "block")
        keep = machine.promise()
        machine.post(lambda: keep(machine.interrupt))
        assert machine.run().reason is StopReason.INTERRUPTED
        machine.promise()
        assert machine.run(timeout=0.05).reason is StopReason.TIMEOUT
    assert len(waits) <= 3


def test_virtual_time_does_not_jump_over_what_the_host_does_for_a_guest() -> None:
    """To a guest its disk would seem to take as long as there are timers; nor while it polls by yielding."""
    for kernel in (poll(2 * 10**9, 1), YIELD.replace("{until}", str(10**10))):
        with Machine(Machine.size_for(MEMORY)) as machine:
            create(machine, kernel, "waits")
            machine.platform.bus.host_works = 1
            keep = machine.promise()
            assert machine.run(timeout=0.2).reason is StopReason.TIMEOUT
            assert machine.platform.clock.now() < 10**9
            machine.platform.bus.host_works = 0
            keep(lambda: None)

            def goes_on(machine: Machine = machine) -> bool:
                assert machine.run(timeout=0.2).reason in (StopReason.DONE, StopReason.TIMEOUT)
                return machine.platform.clock.now() > 10**9

            until(goes_on)


def test_a_held_machine_does_not_look_now_and_then(waits: list[float | None]) -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        create(machine, SPIN, "spin")
        machine.hold()
        assert machine.run(timeout=0.2).reason is StopReason.TIMEOUT
        assert machine.platform.traps == 0
    assert len(waits) <= 3
