"""Run states and watchdogs: what each verb does, and that what is kept of them is enough to go on.

The vcpus are those of real domains; most tests never run them, and ask their run state directly.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.abi.errno import Errno
from paravane.abi.event_channel import Virq
from paravane.abi.vcpu import Runstate
from paravane.refusal import Refusal
from paravane.run_state import RunState, Waiting
from paravane.trace import HypercallRecord, Kind, Record
from paravane.watchdog import SECOND, Watchdogs
from tests.support.boot import HOST_TIMEOUT, kernel_image
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.domain import Domain

MEMORY = 4 << 20

YIELDS = """
main:
    movl $3, %edi
1:  xorl %ebx, %ebx
    HYPERCALL xen_version
    movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
    decl %edi
    jnz 1b
    ret
"""

BLOCKS = """
main:
    movl $SCHEDOP_block, %ebx
    HYPERCALL sched_op
    xorl %ebx, %ebx
    HYPERCALL xen_version
    ret
"""


class Bench:
    """A domain that was built and never ran: its only vcpu, its event channels, and the machine's timers."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.platform = machine.platform
        self.timers = machine.platform.timers
        self.domain: Domain = create(machine, BLOCKS)
        self.vcpu = self.domain.vcpus[0]
        self.state = self.vcpu.run_state
        self.states = self.vcpu.time.states
        self.port = self.domain.events.bind_virq(Virq.TIMER, 0)

    def resumed(self, waiting: Waiting) -> RunState:
        """Another run state of the vcpu, which waits for this."""
        self.state.close()
        return RunState(0, self.domain.events, self.vcpu.time, self.timers, self.vcpu.stop, waiting)

    def fire(self) -> None:
        """An event for the vcpu, which has not masked its upcalls."""
        self.platform.ram.bytes[self.domain.events.vcpu_info(0).maddr + 1] = 0
        self.domain.events.raise_virq(Virq.TIMER, 0)


def create(machine: Machine, kernel: str) -> Domain:
    return machine.create(load_image(kernel_image(prelude() + kernel)), DomainConfig(memory=MEMORY))


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Machine(Machine.size_for(MEMORY)) as machine:
        yield Bench(machine)


def calls(machine: Machine) -> list[tuple[int, str]]:
    """Run to the end: which domain asked for what, in order."""
    records: list[Record] = []
    machine.trace.subscribe(records.append, (Kind.HYPERCALL,))
    machine.run(timeout=HOST_TIMEOUT)
    names = ("xen_version.version", "sched_op.yield", "sched_op.block")
    return [(r.domid, r.name) for r in records if isinstance(r, HypercallRecord) and r.name in names]


def test_a_vcpu_that_is_reset_waits_for_nothing_any_more(bench: Bench) -> None:
    """Not even for the port that it polled: with a new context it would sleep on."""
    bench.state.poll([bench.port], bench.platform.clock.now() + SECOND)
    assert bench.state.polls
    assert bench.domain.events.polled(0) == bench.port
    bench.vcpu.reset()
    assert bench.state.waiting == Waiting(down=True, initialised=False)
    assert bench.domain.events.polled(0) is None
    assert [name for name, _ in bench.timers.armed() if name.kind == "poll"] == []


def test_the_end_of_a_pause_wakes_a_vcpu_that_was_made_online(bench: Bench) -> None:
    """As Xen's vcpu_unpause: nobody else does, before it is taken down and brought up."""
    bench.vcpu.reset()
    bench.state.initialise(online=True)
    assert not bench.state.runnable
    bench.domain.pause()
    bench.domain.unpause()
    assert bench.state.runnable


def test_a_vcpu_that_yields_lets_others_run_before_it_goes_on() -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=1_000_000) as machine:
        for _ in range(2):
            create(machine, YIELDS)
        order = [domid for domid, name in calls(machine) if name == "sched_op.yield"]
    assert order == [1, 2] * 3


def test_a_vcpu_that_blocks_leaves_the_processor_at_once() -> None:
    with Machine(Machine.size_for(MEMORY), slice_instructions=1_000_000) as machine:
        domain = create(machine, BLOCKS)
        assert calls(machine) == [(1, "sched_op.block")]
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
        assert domain.alive


def test_a_vcpu_that_blocks_sleeps_until_it_is_woken(bench: Bench) -> None:
    bench.state.switch_in()
    bench.state.block()
    assert not bench.state.runnable
    bench.state.switch_out()
    assert bench.states.state is Runstate.blocked
    bench.fire()
    assert bench.state.runnable
    assert bench.states.state is Runstate.runnable


def test_an_upcall_that_is_due_wins_over_sleep(bench: Bench) -> None:
    bench.fire()
    bench.state.block()
    assert bench.state.runnable
    bench.state.poll([bench.port], 5)
    assert bench.state.runnable
    assert bench.state.waiting == Waiting()


def test_a_poll_ends_at_its_deadline(bench: Bench) -> None:
    bench.state.poll([bench.port], 1000)
    bench.timers.expire(999)
    assert not bench.state.runnable
    bench.timers.expire(1000)
    assert bench.state.runnable
    assert bench.domain.events.save_state().pollers == {}, "it polls no more"


def test_a_poll_ends_with_its_event_and_its_deadline_is_forgotten(bench: Bench) -> None:
    bench.state.poll([bench.port], 1000)
    bench.fire()
    assert bench.state.runnable
    assert bench.state.waiting == Waiting()
    assert not any(name.kind == "poll" for name, _ in bench.timers.armed())


def test_a_vcpu_goes_on_waiting_with_what_was_kept_of_it(bench: Bench) -> None:
    bench.state.poll([bench.port], 1000)
    kept = deepcopy(bench.state.waiting)
    restored = bench.resumed(kept)
    assert not restored.runnable
    bench.timers.expire(1000)
    assert restored.runnable
    assert restored.waiting == Waiting()


@pytest.mark.parametrize(
    "waiting",
    [
        Waiting(blocked=True, poll_deadline=5 * SECOND),
        Waiting(paused=True),
        Waiting(blocked=True, paused=True),
        Waiting(down=True),
        Waiting(down=True, initialised=False, paused=True),
        Waiting(ended=True),
    ],
)
def test_what_a_vcpu_waits_for_is_all_that_keeps_it_from_running(bench: Bench, waiting: Waiting) -> None:
    """Each reason by itself and together; when the last one is gone, it runs, and nothing is left of them."""
    state = bench.resumed(deepcopy(waiting))
    assert not state.runnable
    assert state.waiting == waiting
    state.wake()
    state.set_paused(False)
    if waiting.down and not waiting.initialised:
        assert not state.runnable
        state.initialise()
    state.bring_up()
    assert state.runnable is not waiting.ended
    if not waiting.ended:
        assert state.waiting == Waiting()
        bench.timers.expire(6 * SECOND)  # a deadline that is forgotten
        assert state.waiting == Waiting()


def test_down_is_down_until_brought_up_and_the_end_is_the_end(bench: Bench) -> None:
    state = bench.state
    state.take_down()
    assert state.down
    assert state.resting is Runstate.offline
    state.wake()
    assert not state.runnable
    state.bring_up()
    assert state.runnable
    state.end()
    state.bring_up()
    state.wake()
    assert not state.runnable
    assert state.resting is Runstate.offline


def test_yielding_lasts_for_the_slice(bench: Bench) -> None:
    bench.state.yield_()
    assert bench.state.yielded
    assert bench.state.runnable
    bench.state.begin_slice()
    assert not bench.state.yielded


def test_watchdogs_go_on_with_what_was_kept_of_them(bench: Bench) -> None:
    fired: list[str] = []
    before = Watchdogs(bench.platform, "d9", lambda: fired.append("before"))
    assert (before.set(0, 5), before.set(0, 9)) == (1, 2)
    with pytest.raises(Refusal) as refused:
        before.set(0, 5)
    assert refused.value.errno == Errno.ENOSPC
    kept = deepcopy(before.state)
    before.stop()
    after = Watchdogs(bench.platform, "d9", lambda: fired.append("after"), kept)
    assert after.set(1, 0) == 0
    bench.timers.expire(8 * SECOND)
    assert fired == []
    bench.timers.expire(9 * SECOND)
    assert fired == ["after"]
    with pytest.raises(Refusal) as refused:
        after.set(1, 5)
    assert refused.value.errno == Errno.EINVAL
