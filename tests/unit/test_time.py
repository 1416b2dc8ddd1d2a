"""Clocks, timers and the time records a guest reads."""

import pytest

from paravane.abi.shared_info import SHARED_INFO, VCPU_TIME_INFO
from paravane.cpu import Ram
from paravane.time.clock import TRAP_COST, HostClock, VirtualClock
from paravane.time.records import write_vcpu_time, write_wall_clock
from paravane.time.timers import NEVER, TimerQueue


def test_virtual_time_passes_with_work_and_jumps_over_idleness() -> None:
    clock = VirtualClock()
    clock.trapped()
    clock.ran(500)
    assert clock.now() == TRAP_COST + 500
    assert clock.idle_until(3_600_000_000_000) == 0
    assert clock.now() == 3_600_000_000_000


def test_virtual_time_never_goes_back() -> None:
    clock = VirtualClock()
    clock.ran(1000)
    clock.idle_until(10)
    assert clock.now() == 1000


def test_host_time_says_how_long_to_wait() -> None:
    clock = HostClock()
    hour = 3600 * 10**9
    assert 0 < clock.idle_until(clock.now() + hour) <= hour
    assert clock.idle_until(0) == 0


def test_timers_fire_in_the_order_of_their_deadlines_and_once() -> None:
    queue, fired = TimerQueue(), []
    late, early = (
        queue.timer("test", "timer", lambda: fired.append("late")),
        queue.timer("test", "timer", lambda: fired.append("early")),
    )
    late.arm(20)
    early.arm(10)
    assert queue.deadline == queue.next_deadline() == 10
    queue.expire(25)
    assert fired == ["early", "late"]
    queue.expire(100)
    assert fired == ["early", "late"]
    assert queue.deadline == NEVER


def test_a_timer_armed_again_keeps_its_last_deadline_only() -> None:
    queue, fired = TimerQueue(), []
    timer = queue.timer("test", "timer", lambda: fired.append(1))
    timer.arm(10)
    timer.arm(50)
    queue.expire(10)
    assert fired == []
    timer.disarm()
    queue.expire(60)
    assert fired == []
    assert queue.next_deadline() == NEVER


def test_a_timer_that_arms_itself_while_it_fires_is_kept() -> None:
    queue, fired = TimerQueue(), []

    def again() -> None:
        fired.append(1)
        if len(fired) < 3:
            timer.arm(10 * len(fired))

    timer = queue.timer("test", "timer", again)
    timer.arm(5)
    queue.expire(10)
    assert fired == [1, 1]
    assert queue.deadline == 20


@pytest.mark.parametrize("now", [0, 1, 10**18])
def test_the_vcpu_time_record_gives_back_system_time(now: int) -> None:
    ram = Ram(1)
    write_vcpu_time(ram, 64, now)
    record = VCPU_TIME_INFO.unpack(ram.bytes, 64)
    later = now + 12345
    delta = (later - record.tsc_timestamp) << record.tsc_shift
    assert record.version % 2 == 0
    assert record.system_time + (delta * record.tsc_to_system_mul >> 32) == later
    ram.close()


def test_the_wall_clock_record_splits_seconds_beyond_32_bits() -> None:
    ram = Ram(1)
    write_wall_clock(ram, 0, (5 << 32) * 1_000_000_000 + 7)
    info = SHARED_INFO.unpack(ram.bytes)
    assert (info.arch.wc_sec_hi, info.wc_sec, info.wc_nsec) == (5, 0, 7)
    assert info.wc_version == 2
    ram.close()
