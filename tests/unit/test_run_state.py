"""Run states and watchdogs: what each verb does, and that what is kept of them is enough to go on."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from paravane.abi.errno import Errno
from paravane.abi.vcpu import Runstate
from paravane.refusal import Refusal
from paravane.run_state import RunState, Waiting
from paravane.time.clock import VirtualClock
from paravane.time.timers import NEVER, TimerQueue
from paravane.time.vcpu_time import VcpuTime
from paravane.vcpu_info import VcpuInfo
from paravane.watchdog import SECOND, Watchdogs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.cpu import Ram
    from paravane.platform import Platform


class Bench:
    """A vcpu without a processor: its run state, its time, and event channels that do as they are told."""

    def __init__(self, waiting: Waiting | None = None) -> None:
        self.timers, self.clock = TimerQueue(), VirtualClock()
        self.due = False
        self.sleeps = True
        self.polls: list[list[int]] = []
        self.stops = 0
        self.info, self.name = VcpuInfo(), "d1v0"
        self.time = VcpuTime(self, cast("Ram", None), self.clock, self.timers)
        self.state = RunState(0, self, self.time, self.timers, self._stop, waiting)

    def _stop(self) -> None:
        self.stops += 1

    def upcall_due(self, vcpu_id: int, /) -> bool:
        return self.due

    def poll(self, vcpu_id: int, ports: Iterable[int]) -> bool:
        if self.sleeps:
            self.polls.append(list(ports))
        return self.sleeps

    def stop_poll(self, vcpu_id: int) -> None:
        self.polls.clear()

    def raise_virq(self, virq: object) -> None:
        raise AssertionError("no timer interrupt was asked for")

    def copy_to_guest(self, va: int, data: bytes) -> None:
        raise AssertionError("no area was registered")


def test_a_vcpu_that_blocks_sleeps_until_it_is_woken() -> None:
    bench = Bench()
    bench.state.switch_in()
    bench.state.block()
    assert not bench.state.runnable
    assert bench.stops == 1
    bench.state.switch_out()
    assert bench.time.states.state is Runstate.blocked
    bench.state.wake()
    assert bench.state.runnable
    assert bench.time.states.state is Runstate.runnable


def test_an_upcall_that_is_due_wins_over_sleep() -> None:
    bench = Bench()
    bench.due = True
    bench.state.block()
    assert bench.state.runnable
    bench.sleeps = False
    bench.state.poll([1], 5)
    assert bench.state.runnable
    assert bench.timers.next_deadline() == NEVER


def test_a_poll_ends_at_its_deadline() -> None:
    bench = Bench()
    bench.state.poll([3], 1000)
    assert bench.polls == [[3]]
    bench.timers.expire(999)
    assert not bench.state.runnable
    bench.timers.expire(1000)
    assert bench.state.runnable
    assert bench.polls == []


def test_a_vcpu_goes_on_waiting_with_what_was_kept_of_it() -> None:
    bench = Bench()
    bench.state.poll([3], 1000)
    restored = Bench(deepcopy(bench.state.waiting))
    assert not restored.state.runnable
    restored.timers.expire(1000)
    assert restored.state.runnable
    assert restored.state.waiting == Waiting()


def test_down_is_down_until_brought_up_and_the_end_is_the_end() -> None:
    bench = Bench()
    bench.state.take_down()
    assert bench.state.down
    assert bench.state.resting is Runstate.offline
    bench.state.wake()
    assert not bench.state.runnable
    bench.state.bring_up()
    assert bench.state.runnable
    bench.state.end()
    bench.state.bring_up()
    bench.state.wake()
    assert not bench.state.runnable
    assert bench.state.resting is Runstate.offline


def test_yielding_lasts_for_the_slice() -> None:
    bench = Bench()
    bench.state.yield_()
    assert (bench.state.yielded, bench.state.runnable, bench.stops) == (True, True, 1)
    bench.state.begin_slice()
    assert not bench.state.yielded


def platform() -> Platform:
    return cast("Platform", SimpleNamespace(timers=TimerQueue(), clock=VirtualClock()))


def test_watchdogs_go_on_with_what_was_kept_of_them() -> None:
    fired: list[str] = []
    before = Watchdogs(platform(), "d1", lambda: fired.append("before"))
    assert (before.set(0, 5), before.set(0, 9)) == (1, 2)
    with pytest.raises(Refusal) as refused:
        before.set(0, 5)
    assert refused.value.errno == Errno.ENOSPC
    machine = platform()
    after = Watchdogs(machine, "d1", lambda: fired.append("after"), deepcopy(before.state))
    assert after.set(1, 0) == 0
    machine.timers.expire(8 * SECOND)
    assert fired == []
    machine.timers.expire(9 * SECOND)
    assert fired == ["after"]
    with pytest.raises(Refusal) as refused:
        after.set(1, 5)
    assert refused.value.errno == Errno.EINVAL
