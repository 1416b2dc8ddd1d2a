"""Run states, the periodic timer and the records of time a guest registers."""

from __future__ import annotations

import pytest

from paravane.abi.event_channel import Virq
from paravane.abi.shared_info import VCPU_INFO, VCPU_TIME_INFO
from paravane.abi.vcpu import VCPU_RUNSTATE_INFO, XEN_RUNSTATE_UPDATE, Runstate
from paravane.cpu import PageFault, Ram
from paravane.time.clock import VirtualClock
from paravane.time.run_states import RunStates
from paravane.time.timers import NEVER, Timer, TimerQueue, system_time
from paravane.time.vcpu_time import VcpuTime
from paravane.vcpu_info import VcpuInfo

MS = 1_000_000
INFO = 64
AREA, TIME_AREA = 0x100, 0x200
RECORD_SIZE = VCPU_RUNSTATE_INFO.size


class Host:
    """A vcpu with one page of memory at 0, in a machine of one frame."""

    name = "d1v0"

    def __init__(self) -> None:
        self.ram, self.clock, self.timers = Ram(1), VirtualClock(), TimerQueue()
        self.memory = bytearray(4096)
        self.info = VcpuInfo(INFO)
        self.ticks: list[int] = []
        self.flags_run_states = False
        self.written: list[tuple[int, bytes]] = []
        self.time = VcpuTime(self, self.ram, self.clock, self.timers)

    def raise_virq(self, virq: Virq) -> None:
        assert virq is Virq.TIMER
        self.ticks.append(self.clock.now())

    def copy_to_guest(self, va: int, data: bytes) -> None:
        if va + len(data) > len(self.memory):
            raise PageFault(va, 2)
        self.memory[va : va + len(data)] = data
        self.written.append((va, data))

    def pass_time(self, nanoseconds: int) -> None:
        self.clock.ran(nanoseconds)
        self.timers.expire(self.clock.now())


@pytest.fixture
def host() -> Host:
    return Host()


def test_time_is_counted_for_the_state_it_was_spent_in() -> None:
    states = RunStates(Runstate.runnable, 100)
    states.enter(Runstate.running, 130)
    states.enter(Runstate.blocked, 200)
    assert states.record() == (Runstate.blocked, 200, (70, 30, 0, 0))
    assert states.at(1000) == (Runstate.blocked, 200, (70, 30, 800, 0))
    states.enter(Runstate.blocked, 500)
    assert states.record().state_entry_time == 200


def test_a_running_vcpu_is_ticked_a_hundred_times_a_second(host: Host) -> None:
    host.time.switch_in()
    for _ in range(35):
        host.pass_time(MS)
    assert host.ticks == [10 * MS, 20 * MS, 30 * MS]


def test_each_tick_renews_the_record_of_a_running_vcpu(host: Host) -> None:
    def published() -> int:
        now: int = VCPU_TIME_INFO.unpack(host.ram.bytes, INFO + VCPU_INFO.offsets["time"]).system_time
        return now

    host.time.switch_in()
    host.pass_time(25 * MS)
    assert published() == 25 * MS
    host.time.switch_out(Runstate.blocked)
    host.time.single_shot.arm(30 * MS)
    host.pass_time(10 * MS)
    assert published() == 25 * MS


def test_a_vcpu_without_the_processor_is_not_ticked_and_catches_up_with_one_tick(host: Host) -> None:
    host.time.switch_in()
    host.time.switch_out(Runstate.blocked)
    host.pass_time(95 * MS)
    assert host.ticks == []
    host.time.woken(Runstate.runnable)
    host.time.switch_in()
    assert host.ticks == [95 * MS]
    host.pass_time(9 * MS)
    host.pass_time(MS)
    assert host.ticks == [95 * MS, 105 * MS]


def test_another_period_counts_from_the_last_tick(host: Host) -> None:
    host.time.switch_in()
    host.pass_time(5 * MS)
    host.time.ticker.set(4 * MS)
    assert host.ticks == [5 * MS]
    host.time.ticker.set(0)
    host.pass_time(100 * MS)
    assert host.ticks == [5 * MS]


def test_the_registered_run_states_follow_every_switch(host: Host) -> None:
    host.time.register_run_states(AREA)
    record = VCPU_RUNSTATE_INFO.unpack(host.memory, AREA)
    assert record == (Runstate.runnable, 0, (0, 0, 0, 0))
    host.pass_time(MS)
    host.time.switch_in()
    host.pass_time(2 * MS)
    host.time.switch_out(Runstate.blocked)
    assert VCPU_RUNSTATE_INFO.unpack(host.memory, AREA) == (Runstate.blocked, 3 * MS, (2 * MS, MS, 0, 0))
    host.pass_time(4 * MS)
    host.time.woken(Runstate.runnable)
    assert VCPU_RUNSTATE_INFO.unpack(host.memory, AREA).state == Runstate.blocked
    host.time.switch_in()
    assert VCPU_RUNSTATE_INFO.unpack(host.memory, AREA) == (Runstate.running, 7 * MS, (2 * MS, MS, 4 * MS, 0))


def test_a_record_that_cannot_be_written_is_the_guests_loss(host: Host) -> None:
    host.time.register_run_states(4096 - RECORD_SIZE + 1)
    host.time.register_time(4090)
    host.time.switch_in()
    host.time.publish()
    assert host.memory == bytes(4096)
    assert host.time.states.state is Runstate.running


def test_the_second_time_record_is_a_copy_of_the_first(host: Host) -> None:
    host.pass_time(3 * MS)
    host.time.register_time(TIME_AREA)
    at = INFO + VCPU_INFO.offsets["time"]
    copy = host.memory[TIME_AREA : TIME_AREA + VCPU_TIME_INFO.size]
    assert copy == host.ram.bytes[at : at + VCPU_TIME_INFO.size]
    assert VCPU_TIME_INFO.unpack(copy).system_time == 3 * MS
    host.time.register_time(0)
    host.pass_time(MS)
    host.time.publish()
    assert VCPU_TIME_INFO.unpack(host.memory, TIME_AREA).system_time == 3 * MS


def test_time_goes_faster_for_a_guest_that_only_reads_it(host: Host) -> None:
    """A second is over after some ten thousand reads, and no wait ends much later than it was meant to."""
    reads = 0
    while host.time.read(reads) < 1000 * MS:
        reads += 1
    assert 5_000 < reads < 20_000
    assert host.clock.now() - 1000 * MS < MS


def test_ten_minutes_of_reading_take_some_hundred_thousand_reads(host: Host) -> None:
    reads = 0
    while host.time.read(reads) < 600 * 1000 * MS:
        reads += 1
    assert reads < 300_000


def test_the_hurry_of_one_lets_the_timers_of_others_go_off_in_time(host: Host) -> None:
    went_off: list[int] = []
    timer = host.timers.timer("d2v0", "single-shot", lambda: went_off.append(host.clock.now()))
    deadlines = [5000 * MS + offset for offset in (1, 2, 7 * MS, 500 * MS)]
    reads = 0
    for deadline in deadlines:
        timer.arm(deadline)
        while timer.deadline != NEVER:
            host.time.read(reads)
            reads += 1
            host.timers.expire(host.clock.now())
    assert went_off == deadlines


def test_short_waits_are_exact_and_other_work_ends_the_hurry(host: Host) -> None:
    for entry in range(50):
        host.clock.trapped()
        assert host.time.read(entry) == (entry + 1) * 1000
    for entry in range(50, 5000):
        host.time.read(entry)
    before = host.clock.now()
    for entry in range(5100, 7100, 2):
        host.time.read(entry)
    assert host.clock.now() - before < MS


@pytest.mark.parametrize("deadline", [NEVER, NEVER + 1, 2**63 - 1, 2**64 - 1])
def test_a_timer_at_the_end_of_time_never_fires(deadline: int) -> None:
    queue, fired = TimerQueue(), list[int]()
    timer = queue.timer("test", "timer", lambda: fired.append(1))
    timer.arm(deadline)
    assert queue.next_deadline() == NEVER
    queue.expire(2**63)
    assert fired == []
    timer.arm(system_time(2**64 - 5))
    queue.expire(0)
    assert fired == [1]


def test_a_timer_set_again_and_again_does_not_fill_the_queue() -> None:
    queue, fired = TimerQueue(), list[int]()
    other = queue.timer("test", "timer", lambda: fired.append(0))
    other.arm(5)
    timer = queue.timer("test", "timer", lambda: fired.append(1))
    for deadline in range(10**6, 10**6 + 20_000):
        timer.arm(deadline)
        timer.arm(7)
    assert queue.size < 1000
    queue.expire(10)
    assert fired == [0, 1]
    queue.expire(10**7)
    assert fired == [0, 1]


def test_a_vcpus_time_goes_on_from_what_was_saved(host: Host) -> None:
    host.time.register_run_states(AREA)
    host.time.register_time(TIME_AREA)
    host.time.ticker.set(4 * MS)
    host.time.single_shot.arm(50 * MS)
    host.time.switch_in()
    host.pass_time(3 * MS)
    host.time.switch_out(Runstate.blocked)
    state = host.time.save()
    assert host.timers.armed() == [(("d1v0", "single-shot"), 50 * MS)]
    host.time.stop()
    host.time = VcpuTime(host, host.ram, host.clock, host.timers, state)
    assert host.time.save() == state
    assert host.timers.armed() == [(("d1v0", "single-shot"), 50 * MS)]
    host.pass_time(2 * MS)
    host.time.switch_in()
    assert host.ticks == [5 * MS], "the tick that was due while it did not run"
    assert VCPU_RUNSTATE_INFO.unpack(host.memory, AREA).time[Runstate.blocked] == 2 * MS
    host.pass_time(45 * MS)
    assert 50 * MS in host.ticks


def test_armed_timers_are_listed_in_the_order_in_which_they_fire() -> None:
    queue = TimerQueue()
    fired: list[str] = []

    def timer(owner: str, kind: str) -> Timer:
        return queue.timer(owner, kind, lambda: fired.append(owner))

    first, second, third = timer("d2", "watchdog 1"), timer("d1v0", "poll"), timer("machine", "slice")
    for armed, deadline in ((third, 5), (first, 9), (second, 9), (third, 30), (first, 9)):
        armed.arm(deadline)
    timer("d1v0", "tick")
    listed = queue.armed()
    assert listed == [(first.name, 9), (second.name, 9), (third.name, 30)]
    queue.expire(30)
    assert fired == [name.owner for name, _ in listed]


def test_a_guest_that_asked_for_it_sees_that_its_run_states_are_being_written(host: Host) -> None:
    host.time.register_run_states(AREA)
    host.flags_run_states = True
    host.pass_time(5 * MS)
    host.written.clear()
    host.time.switch_in()
    (first, flag), (second, record), (third, cleared) = host.written
    top = AREA + VCPU_RUNSTATE_INFO.offsets["state_entry_time"] + 7
    assert (first, second, third) == (top, AREA, top)
    assert (flag, cleared) == (b"\x80", b"\0")
    assert VCPU_RUNSTATE_INFO.unpack(record).state_entry_time == 5 * MS | XEN_RUNSTATE_UPDATE
    assert (
        VCPU_RUNSTATE_INFO.unpack(bytes(host.memory[AREA : AREA + RECORD_SIZE])) == host.time.states.record()
    )


def test_the_flag_does_not_stay_where_the_rest_of_the_area_is_missing(host: Host) -> None:
    area = len(host.memory) - VCPU_RUNSTATE_INFO.offsets["time"]
    host.time.register_run_states(area)
    host.flags_run_states = True
    host.time.switch_in()
    assert host.memory[-1] == 0
    assert host.written[-1] == (len(host.memory) - 1, b"\0")
