"""What runs a machine's domains: limits, deadlines, time, and who may call what meanwhile."""

from __future__ import annotations

import math
import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from paravane import (
    DomainConfig,
    Image,
    Machine,
    MachineBusyError,
    ShutdownReason,
    StopReason,
    VirtualClock,
    asm,
    guest_kernels,
    load_image,
)
from paravane.run_loop import INSTRUCTION_TIME
from paravane.trace import Kind, Record
from paravane.trace.text import line
from tests.support.boot import HOST_TIMEOUT
from tests.support.patience import until
from tests.support.small_machines import BLOCK, MEMORY, SPIN, image

pytestmark = pytest.mark.slow

SLEEP = """
    .include "runtime.inc"
    XEN_NOTES sleep
    .text
main:
    movl start_info, %ebx
    movl $VIRQ_TIMER, bind
    movl $EVTCHNOP_bind_virq, %ebx
    movl $bind, %ecx
    HYPERCALL event_channel_op
    movl $0xa3b5a800, %ebx          # 3,600 s in nanoseconds, low and high word
    movl $0x346, %ecx
    HYPERCALL set_timer_op
    movl $1, poll + SCHED_POLL_nr_ports
    movl $port, poll + SCHED_POLL_ports
    movl bind + EVTCHN_BIND_VIRQ_port, %eax
    movl %eax, port
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    PRINT "an hour later\\n"
    ret
    .data
bind: .skip EVTCHN_BIND_VIRQ_sizeof
poll: .skip SCHED_POLL_sizeof
port: .long 0
"""


def test_a_timeout_ends_a_guest_that_only_computes(machine: Machine) -> None:
    domain = machine.create(image(SPIN), DomainConfig(memory=MEMORY))
    assert machine.run(timeout=0.1).reason is StopReason.TIMEOUT
    assert domain.alive


def test_blocked_with_nothing_to_wait_for_is_told(machine: Machine) -> None:
    machine.create(image(BLOCK), DomainConfig(memory=MEMORY))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED


def test_who_only_looks_is_told_that_nothing_but_he_can_wake_a_guest(machine: Machine) -> None:
    reader, writer = os.pipe()
    told: list[str] = []
    machine.create(image(BLOCK), DomainConfig(memory=MEMORY))
    machine.add_input(reader, lambda: None, for_guests=False)

    def stalled() -> None:
        told.append("stalled")
        machine.remove_input(reader)

    machine.when_stalled(stalled)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
    assert told == ["stalled"]
    os.close(reader)
    os.close(writer)


def test_a_guest_that_an_input_can_wake_has_not_stalled(machine: Machine) -> None:
    pipes = [os.pipe() for _ in range(2)]
    told: list[str] = []
    machine.create(image(BLOCK), DomainConfig(memory=MEMORY))
    machine.add_input(pipes[0][0], lambda: None, for_guests=False)
    machine.add_input(pipes[1][0], machine.interrupt)
    machine.when_stalled(lambda: told.append("stalled"))
    os.write(pipes[1][1], b"x")
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    assert told == []
    for end in (end for pipe in pipes for end in pipe):
        os.close(end)


def test_virtual_time_jumps_over_an_hour_of_sleep() -> None:
    # By instructions: on a loaded host a whole slice could pass before the guest sleeps, and its 100 Hz tick
    # would then wake it.
    with Machine(Machine.size_for(MEMORY), slice_instructions=1_000_000) as machine:
        domain = machine.create(image(SLEEP), DomainConfig(memory=MEMORY))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.console_output() == b"an hour later\n"
        assert isinstance(machine.platform.clock, VirtualClock)
        assert machine.platform.clock.now() > 3600 * 10**9


NEW_CODE = """
    .include "runtime.inc"
    XEN_NOTES newcode
    .text
main:
    movl $code, %edi
again:
    movb $0xcf, (%edi)              # an iret where there was none
    pushfl
    pushl %cs
    pushl $next
    jmp *%edi
next:
    incl %edi
    cmpl $code + 64, %edi
    jne again
    ret
    .bss
code: .skip 64
"""


def test_time_passes_for_a_guest_whose_code_is_translated_again_and_again() -> None:
    with Machine(Machine.size_for(MEMORY), slice_instructions=1000) as machine:
        domain = machine.create(image(NEW_CODE), DomainConfig(memory=MEMORY))
        began = machine.platform.clock.now()
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.reason is ShutdownReason.poweroff
        assert machine.platform.clock.now() - began >= 64 * 1000 * INSTRUCTION_TIME, "a slice for each iret"


def test_a_number_of_traps_can_be_the_limit(machine: Machine, hello: Image) -> None:
    records: list[Record] = []
    machine.trace.subscribe(records.append, (Kind.HYPERCALL,))
    machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.run(max_traps=3).reason is StopReason.TRAPS
    assert len(records) == 3
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE


def test_two_deterministic_runs_leave_the_same_trace() -> None:
    traces: list[list[str]] = []
    source = Path(guest_kernels.__file__).parent / "rings" / "rings.S"
    kernel = load_image(asm.build([source]))
    for _ in range(2):
        records: list[Record] = []
        with Machine(Machine.size_for(MEMORY), slice_instructions=10_000) as machine:
            machine.trace.subscribe(records.append)
            machine.create(kernel, DomainConfig(memory=MEMORY))
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        traces.append([line(record) for record in records])
    assert traces[0] == traces[1]
    assert len(traces[0]) > 20


def test_an_ending_names_the_vcpu_that_was_running(machine: Machine) -> None:
    domain = machine.create(image(SPIN), DomainConfig(memory=MEMORY))
    # That time may be over before a guest runs at all, where the host has other things to do.
    until(lambda: machine.run(timeout=0.1).vcpu, lambda: None)
    ending = machine.run(timeout=0.1)
    assert ending.vcpu is domain.vcpus[0]
    assert ending.domain is domain
    assert str(ending) == "the time given was used up"


def test_one_deadline_can_hold_for_several_runs(machine: Machine) -> None:
    machine.create(image(SPIN), DomainConfig(memory=MEMORY))
    past = time.monotonic() - 1
    assert machine.run(deadline=past).reason is StopReason.TIMEOUT
    assert machine.run(timeout=3600, deadline=past).reason is StopReason.TIMEOUT
    assert machine.platform.traps == 0, "no guest ran"


def test_a_machine_that_runs_is_refused_to_other_threads(machine: Machine, hello: Image) -> None:
    domain = machine.create(image(SPIN), DomainConfig(memory=MEMORY))
    refused: list[str] = []

    def meddle() -> None:
        for act in (
            machine.run,
            machine.close,
            machine.audit,
            lambda: machine.destroy(domain),
            lambda: machine.create(hello, DomainConfig(memory=MEMORY)),
            lambda: machine.add_input(0, meddle),
            lambda: machine.remove_input(0),
        ):
            with pytest.raises(MachineBusyError) as error:
                act()
            refused.append(str(error.value))
        machine.interrupt()

    thread = threading.Thread(target=meddle)
    machine.post(thread.start)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    thread.join()
    assert len(refused) == 7
    assert all("thread" in sentence for sentence in refused)
    assert machine.domains == {1: domain}


def test_a_run_inside_a_run_is_refused(machine: Machine) -> None:
    machine.create(image(SPIN), DomainConfig(memory=MEMORY))
    machine.post(machine.run)
    with pytest.raises(MachineBusyError, match="by this thread"):
        machine.run(timeout=HOST_TIMEOUT)
    assert machine.run(timeout=0.05).reason is StopReason.TIMEOUT, "it can be run again"


def test_posts_are_delivered_in_order_in_the_running_thread(machine: Machine) -> None:
    seen: list[tuple[int, int]] = []
    machine.create(image(SPIN), DomainConfig(memory=MEMORY))

    def note(number: int) -> None:
        seen.append((number, threading.get_ident()))

    def post() -> None:
        for number in range(100):
            machine.post(partial(note, number))
        machine.post(machine.interrupt)

    thread = threading.Thread(target=post)
    thread.start()
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    thread.join()
    assert seen == [(number, threading.get_ident()) for number in range(100)]


def test_a_blocked_machine_waits_for_what_was_promised(machine: Machine) -> None:
    machine.create(image(BLOCK), DomainConfig(memory=MEMORY))
    keep = machine.promise()
    threading.Timer(0.05, keep, (machine.interrupt,)).start()
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED


@pytest.mark.parametrize("limit", [{"timeout": math.nan}, {"deadline": math.nan}, {"max_traps": -1}])
def test_a_limit_that_is_none_is_refused(machine: Machine, limit: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a limit of a run"):
        machine.run(**limit)  # type: ignore[arg-type]  # that is the point
